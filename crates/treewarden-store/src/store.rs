//! The store: one database in the state directory and the [tail](crate::tail) of its journal, which several processes
//! may open.
//!
//! # Which calls wait
//!
//! Calls are synchronous. With [`Durability::Process`] they are short and may be made from async code: a turn is
//! appended to the tail, which waits for nobody. Records, and questions about turns, go to the database: while *another
//! process* writes they wait for it, two seconds at most. With [`Durability::Power`] a write waits for the disk: async
//! code uses the variants that end in `_durable`, which wait without blocking the thread, on a runtime with a timer. After
//! thirty seconds nobody waits any more ([`StoreErrorKind::Unknown`]). Reads do not wait for that sync: they have a
//! connection of their own there.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use treewarden_proto::TurnId;

use crate::files::Files;
use crate::patience::Patience;
use crate::tail::{self, Newest, Tail};
use crate::writer::{self, Writer};
use crate::{Durability, StoreError, StoreErrorKind, dir, host_id, schema};

/// The options of a [`Store`].
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing until they open a store"]
pub struct StoreOptions {
    durability: Durability,
}

impl StoreOptions {
    /// Chooses what a stored value survives.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// `None` where the directory cannot keep one.
    host_id: Option<String>,
    keeps_turns: bool,
    /// Ends before what it writes to does.
    // The order of the drops: the writer stores what it was given, then the tail goes into the database, and
    // until both are through the lock in `files` keeps others from setting the database aside.
    writer: Option<Writer>,
    tail: Arc<Mutex<Tail>>,
    newest: Arc<Newest>,
    db: Mutex<Connection>,
    files: Files,
}

/// What outlives the process; a cheap clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Store {
    /// Opens the store of `dir`, which is made if it is missing; what others may read of it is closed to them.
    ///
    /// A damaged database is set aside, a new one is made, and [`Store::problems`] says so.
    ///
    /// It waits for other processes that are at the database, thirty seconds at most.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the directory cannot be made, or the database cannot be opened, is of a newer version, or is kept
    /// locked for longer than that ([`StoreErrorKind::Busy`]).
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        dir::prepare_dir(dir)?;
        let patience = Patience::of_an_opening();
        let opened = schema::open(dir, options.durability, patience)?;
        let power = options.durability == Durability::Power;
        let tail = patience.run(|| Tail::open(dir.to_owned(), &opened, power))?;
        let (newest, tail) = (tail.newest(), Arc::new(Mutex::new(tail)));
        let schema::Opened { db, path, lock } = opened;
        let files = Files::new(dir, &path, lock)?;
        let writer = if power {
            let writes = patience.run(|| schema::connect(&path, options.durability))?;
            Some(Writer::start(writes, Arc::clone(&tail))?)
        } else {
            None
        };
        let keeps_turns = options.durability != Durability::Nothing;
        // A full disk is no reason to refuse what can be read: the id is for people.
        let host_id = host_id::read_or_make(dir).ok();
        // Takes note of SQLite's log and shared memory, so that later looks notice when they are gone.
        files.look_again()?;
        let (dir, db) = (dir.to_owned(), Mutex::new(db));
        Ok(Self { inner: Arc::new(Inner { dir, host_id, keeps_turns, writer, tail, newest, db, files }) })
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Looks whether what is stored still goes to where the next process will look for it: if only a lock file, or the
    /// directory's id, was removed it is made anew, and its path returned.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the state directory, its database, or the part of the journal that is appended to was removed or
    /// replaced.
    pub fn look_again(&self) -> Result<Option<PathBuf>, StoreError> {
        let id = self.inner.host_id.as_deref();
        let put_id_back = || id.and_then(|id| host_id::put_back(&self.inner.dir, id));
        let made = self.inner.files.look_again().inspect_err(|_| {
            self.save();
            // By it the next start knows a directory that was used, and begins no name blank in what is left of it.
            let _none = put_id_back();
        })?;
        // Whoever holds the tail at this moment is appending, and `Tail::append` looks by itself.
        if let Ok(tail) = self.inner.tail.try_lock() {
            tail.look_again()?;
        }
        Ok(made.or_else(put_id_back))
    }

    /// Has the database take what was committed to a log that was removed, where nobody else will ever read it.
    fn save(&self) {
        if !self.inner.files.has_lost_the_log() {
            return;
        }
        if let Err(error) = self.db().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the database cannot be completed from its log");
        }
    }

    /// The random id of the state directory; `None` if it could keep none.
    pub fn host_id(&self) -> Option<&str> {
        self.inner.host_id.as_deref()
    }

    /// The connection for reads, and for writes that need no sync.
    // This lock and the tail's are never held together, so there is no order between them to keep.
    pub(crate) fn db(&self) -> MutexGuard<'_, Connection> {
        self.inner.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, with all of the journal in the database.
    pub(crate) fn journal(&self) -> Result<Journal<'_>, StoreError> {
        let db = self.db();
        match tail::fold(&db, self.dir()) {
            Ok(()) => Ok(Journal { db, for_now: false }),
            Err(error) if error.kind() == StoreErrorKind::DiskFull => {
                db.execute_batch("BEGIN")?;
                let journal = Journal { db, for_now: true };
                tail::fold_for_now(&journal, self.dir())?;
                Ok(journal)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells whether new turns are stored: not so with [`Durability::Nothing`].
    pub fn keeps_turns(&self) -> bool {
        self.inner.keeps_turns
    }

    /// Tells whether the database may hold a turn that the tail does not know; asks nobody.
    pub(crate) fn may_hold(&self, turn: TurnId) -> bool {
        self.inner.newest.may_hold(turn)
    }

    pub(crate) fn tail(&self) -> MutexGuard<'_, Tail> {
        writer::lock(&self.inner.tail)
    }

    /// Appends to the tail.
    pub(crate) fn append<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tail) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.inner.writer {
            Some(writer) => writer.append(op),
            None => op(&mut self.tail()),
        }
    }

    pub(crate) async fn append_durable<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tail) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.inner.writer {
            Some(writer) => writer.append_async(op).await,
            // Shorter than the way to another thread.
            None => op(&mut self.tail()),
        }
    }

    pub(crate) fn write<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.inner.writer {
            Some(writer) => writer.write(op),
            None => op(&self.db()),
        }
    }

    pub(crate) async fn write_durable<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.inner.writer {
            Some(writer) => writer.write_async(op).await,
            // Shorter than the way to another thread.
            None => op(&self.db()),
        }
    }
}

/// The connection while the journal is asked.
pub(crate) struct Journal<'a> {
    db: MutexGuard<'a, Connection>,
    /// The disk is full: what the tail holds is in a transaction that is not committed.
    for_now: bool,
}

impl Deref for Journal<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.db
    }
}

impl Drop for Journal<'_> {
    fn drop(&mut self) {
        if self.for_now && !self.db.is_autocommit() {
            let _rolled_back = self.db.execute_batch("ROLLBACK");
        }
    }
}

/// Runs several statements so that all or none take effect, within a transaction or without.
pub(crate) fn atomically<T>(
    db: &Connection,
    op: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Within the writer's transaction a savepoint: what fails takes itself back, and not the jobs of other
    // callers. `ROLLBACK TO` leaves the savepoint open, hence the release.
    let (begin, end, back) = if db.is_autocommit() {
        ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
    } else {
        ("SAVEPOINT op", "RELEASE op", "ROLLBACK TO op; RELEASE op")
    };
    db.execute_batch(begin)?;
    let result = op(db).and_then(|value| db.execute_batch(end).map(|()| value).map_err(StoreError::from));
    // The first error is the one that is told: it says what is wrong, and what cannot be taken back is only its consequence.
    if result.is_err()
        && !db.is_autocommit()
        && let Err(error) = db.execute_batch(back)
    {
        tracing::warn!(%error, "what was begun in the database cannot be taken back");
    }
    result
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_taken_back_does_not_hide_why_it_had_to_be() {
        let db = Connection::open_in_memory().expect("opened");
        db.execute_batch("BEGIN").expect("begun");
        let failed = atomically::<()>(&db, |db| {
            // Without its savepoint there is nothing to go back to.
            db.execute_batch("RELEASE op")?;
            Err(StoreError::new(StoreErrorKind::DiskFull, "the disk is full"))
        });
        assert_eq!(failed.expect_err("it failed").kind(), StoreErrorKind::DiskFull);
    }
}
