//! The store: one database in the state directory, which several processes may open.
//!
//! # Which calls wait
//!
//! Calls are synchronous. With [`Durability::Process`] they are short and may be made from async code: one in some
//! hundreds also moves the log into the database, which waits for the disk once, and while *another process* writes
//! they wait for it, two seconds at most. With [`Durability::Power`] a write waits
//! for the disk: async code uses the variants that end in `_durable`, which wait without blocking the thread.
//! Reads do not wait for that sync: they have a connection of their own there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use crate::writer::Writer;
use crate::{StoreError, dir, schema};

/// What a stored value survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process, `kill -9` included.
    #[default]
    Process,
    /// The death of the machine: every commit is synced, and callers at one time share a sync.
    Power,
}

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
    /// Ends before the connection and the lock do.
    writer: Option<Writer>,
    db: Mutex<Connection>,
    _lock: File,
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
    /// # Errors
    ///
    /// [`StoreError`] if the directory cannot be made, or the database cannot be opened or is of a newer version.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        dir::prepare_dir(dir)?;
        let schema::Opened { db, path, lock } = schema::open(dir, options.durability)?;
        let writer = match options.durability {
            Durability::Process => None,
            Durability::Power => Some(Writer::start(schema::connect(&path, options.durability)?)?),
        };
        Ok(Self { inner: Arc::new(Inner { dir: dir.to_owned(), writer, db: Mutex::new(db), _lock: lock }) })
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// The connection for reads, and for writes that need no sync.
    pub(crate) fn db(&self) -> MutexGuard<'_, Connection> {
        self.inner.db.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Runs several statements so that all or none take effect, within a transaction or without.
pub(crate) fn atomically<T>(
    db: &Connection,
    op: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let (begin, end, back) = if db.is_autocommit() {
        ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
    } else {
        ("SAVEPOINT op", "RELEASE op", "ROLLBACK TO op; RELEASE op")
    };
    db.execute_batch(begin)?;
    let result = op(db).and_then(|value| db.execute_batch(end).map(|()| value).map_err(StoreError::from));
    if result.is_err() && !db.is_autocommit() {
        db.execute_batch(back)?;
    }
    result
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
