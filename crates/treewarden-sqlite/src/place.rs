//! Where the open database lies, looked at again: whatever was removed keeps nobody away and is read by nobody.
//!
//! It is for whether what is stored goes to where the next start will look for it. It makes nothing anew but a lock file and
//! the [witness](crate::witness).

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use treewarden_store::dir::companions;
use treewarden_store::{Problem, ProblemKind, StoreError, StoreErrorKind, lock, now};

use crate::error::{Fault, log_removed, removed};
use crate::findings::Findings;
use crate::opening::{lock_path, share};
use crate::patience::Patience;
use crate::witness::Witness;

/// The files of a database that is open.
// The locks here are held for a look at the files, never with another one, and never over an await.
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    path: PathBuf,
    place: lock::Place,
    /// SQLite's log and shared memory, once they were seen. While the database is open they are never replaced: what was
    /// committed to a log that is gone is read by nobody, and two that share no memory write one log at once.
    companions: Mutex<[(PathBuf, Option<lock::Place>); 2]>,
    /// Keeps others from setting the database aside.
    shared: Mutex<(File, lock::Place)>,
    /// Damage was found and noted.
    noted: AtomicBool,
    /// Says beside the database how far that is; `None` where none can be written.
    witness: Mutex<Option<Witness>>,
    findings: Findings,
}

/// SQLite's log and shared memory of a database, where SQLite has them: beside the file itself, should its name be a link.
fn logs(database: &Path) -> [PathBuf; 2] {
    companions(&fs::canonicalize(database).unwrap_or_else(|_| database.to_owned()))
}

impl Place {
    pub(crate) fn new(
        dir: &Path,
        database: &Path,
        shared: File,
        witness: Option<Witness>,
    ) -> Result<Self, Fault> {
        let place = lock::Place::of(&fs::symlink_metadata(database)?);
        let shared_place = lock::Place::of(&shared.metadata()?);
        let made = Self {
            dir: dir.to_owned(),
            path: database.to_owned(),
            place,
            companions: Mutex::new(logs(database).map(|path| (path, None))),
            shared: Mutex::new((shared, shared_place)),
            noted: AtomicBool::new(false),
            witness: Mutex::new(witness),
            findings: Findings::new(),
        };
        // Takes note of SQLite's log and shared memory, so that later looks notice when they are gone.
        made.is_there()?;
        Ok(made)
    }

    /// The state directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The database.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was found since it was opened.
    pub(crate) fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Refuses once the database, its log or its shared memory is not where it was.
    pub(crate) fn is_there(&self) -> Result<(), StoreError> {
        if !self.place.is_at(&self.path) {
            return Err(removed(if self.dir.exists() { &self.path } else { &self.dir }));
        }
        for (path, place) in held(&self.companions).iter_mut() {
            match place {
                Some(place) if !place.is_at(path) => return Err(log_removed(path)),
                Some(_) => {}
                None => *place = fs::symlink_metadata(&*path).ok().map(|meta| lock::Place::of(&meta)),
            }
        }
        Ok(())
    }

    /// SQLite's log was removed, and nothing else.
    pub(crate) fn has_lost_the_log(&self) -> bool {
        let [(log, log_place), (memory, memory_place)] = &*held(&self.companions);
        let is_there =
            |path: &PathBuf, place: &Option<lock::Place>| place.is_some_and(|place| place.is_at(path));
        self.place.is_at(&self.path)
            && log_place.is_some()
            && !is_there(log, log_place)
            && is_there(memory, memory_place)
    }

    /// Looks at all files; a lock file that was removed is made anew, and its path returned.
    pub(crate) fn look_again(&self) -> Result<Option<PathBuf>, StoreError> {
        self.is_there()?;
        let path = lock_path(&self.dir);
        let mut shared = held(&self.shared);
        if shared.1.is_at(&path) {
            drop(shared);
            return Ok(self.put_witness_back());
        }
        let anew = || -> Result<_, Fault> {
            // Whoever finds the removed lock's path free could set the database aside while it is used here: so it is made
            // anew and shared at once.
            let file = lock::open(&path)?;
            share(&file, &path, Patience::of_an_open_store())?;
            let place = lock::Place::of(&file.metadata()?);
            Ok((file, place))
        };
        *shared = anew().map_err(|fault| fault.tell(&path))?;
        drop(shared);
        let _made = self.put_witness_back();
        Ok(Some(path))
    }

    /// Notes beside the database that so many commits are stored.
    pub(crate) fn note(&self, commits: u64) {
        if let Some(witness) = &*held(&self.witness) {
            witness.note(commits);
        }
    }

    fn put_witness_back(&self) -> Option<PathBuf> {
        let mut witness = held(&self.witness);
        let witness = witness.as_mut().filter(|witness| !witness.is_in_place())?;
        // What fails here is tried again at the next look.
        witness.again().ok().map(|()| witness.path().to_owned())
    }

    /// Notes damage beside the database, so that the next opening reads all of it, and sets it aside if it must.
    pub(crate) fn found(&self, error: &StoreError) {
        if error.kind() == StoreErrorKind::Corrupt && !self.noted.swap(true, Ordering::Relaxed) {
            // Whoever asked is told; this is for whoever looks after the machine.
            tracing::error!(%error, "the state database is damaged: the next start reads all of it, and sets aside what it must");
            let mut options = File::options();
            let noted = options.create(true).append(true).mode(0o600).open(to_be_read(&self.path));
            if let Err(error) = noted {
                tracing::warn!(%error, "it cannot be noted that the state database is damaged");
            }
            // Into the database it cannot be written.
            let reason = format!(
                "failed to {error}; the next start reads all of the database, and sets aside what it must"
            );
            let key = self.path.display().to_string();
            self.findings.keep(Problem::new(ProblemKind::Database, key, reason, now()));
        }
    }
}

impl Place {
    /// Notes a clean end beside the database, once the connections are closed: whoever closed the last one has put SQLite's log
    /// into the file and synced it.
    pub(crate) fn end(&self) {
        let [log, _] = logs(&self.path);
        let (shared, _) = &*held(&self.shared);
        let is_alone = shared.unlock().is_ok() && shared.try_lock().is_ok();
        if let Some(witness) = &*held(&self.witness)
            && is_alone
            && self.place.is_at(&self.path)
            && !log.exists()
        {
            witness.done();
        }
        // Whoever still has a handle keeps nobody else away.
        let _unlocked = shared.unlock();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end();
    }
}

/// The note that a database is to be read through at the next opening.
pub(crate) fn to_be_read(database: &Path) -> PathBuf {
    database.with_extension("db.damaged")
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
