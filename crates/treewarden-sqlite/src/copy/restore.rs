//! Puts a copy in the place of a state directory's database.
//!
//! The copy begins a new generation: whoever remembers how far the database was before does not take it for that one, and says
//! what may be missing. It is whole, checked and on the disk before it has its name; whoever is killed here leaves the database
//! that was there, or the copy.

use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use treewarden_store::dir::{companions, prepare_dir};
use treewarden_store::{StoreError, StoreErrorKind, lock, placed};
use uuid::Uuid;

use super::{PATIENCE, remove_left, step, sync_folder_of, unwritten, whole};
use crate::error::{Fault, database};
use crate::opening::{if_there, lock_path, refuse_another};
use crate::transaction::Transaction;
use crate::{locker, meta, schema};

/// What may be done with what is there, and with a copy that is damaged; by default neither.
#[derive(Debug, Clone, Copy, Default)]
pub struct Restore {
    /// A store that is there is set aside.
    pub replace: bool,
    /// Of a damaged copy is put back what can be read.
    pub damaged: bool,
}

/// What became of a state directory into which a copy was put.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Restored {
    /// Where the store is now that was there.
    pub aside: Option<PathBuf>,
    /// Which other programs have that open, in words, as far as the system tells.
    pub in_use_by: Option<String>,
    /// What of the copy was damaged and is not put back, in words.
    pub damaged: Option<String>,
}

/// Why a copy was not put back; what was there stands as it was.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A program has the store of the directory open.
    #[error("restore into {}: a program has its store open; stop it first", .0.display())]
    InUse(PathBuf),
    /// The directory has a store, and that is not to be set aside.
    #[error("restore into {}: it holds a store already", .0.display())]
    Occupied(PathBuf),
    /// The copy is damaged, and no part of it is to be put back.
    #[error("restore {}: the copy is damaged: {why}", .copy.display())]
    Damaged {
        /// The folder with the copy.
        copy: PathBuf,
        /// How much of it is damaged, and whose it is.
        why: String,
    },
    /// The folder is no copy of a store that can be put back, or the copy cannot be written.
    #[error("{0}")]
    Failed(#[from] StoreError),
}

/// Puts the copy of a store in the place of the store of `dir`; a link there stays one, and what it leads to is replaced.
///
/// It blocks: for other programs that keep the copy, or the store that is there, locked, ten seconds at most. Nobody may have the
/// store of `dir` open. Turns that were settled after the copy was made are not known afterwards; nor are names that were made
/// later, but those that lease files in `dir` name are known as lost.
///
/// Every row of the copy is read before that. With [`Restore::damaged`] a row whose checksum does not fit is set aside in what is
/// put back, as an opening does it, and of a database with damaged pages the rows that can be read are carried over; a name whose
/// record is not among them is lost. The copy is not changed.
///
/// # Errors
///
/// [`RestoreError`].
pub fn restore(backup: &Path, dir: &Path, how: Restore) -> Result<Restored, RestoreError> {
    let path = database(dir);
    let failed = |fault: Fault| told(&fault, backup, dir, &path);
    prepare_dir(dir).map_err(|error| failed(error.into()))?;
    let lock = lock::open(&lock_path(dir)).map_err(|error| failed(error.into()))?;
    // It is held to the end: nobody opens what is being replaced.
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(RestoreError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => return Err(failed(error.into())),
    }
    let there = There::look(dir).map_err(|error| failed(error.into()))?;
    let failed = |fault: Fault| told(&fault, backup, dir, &there.path);
    if !there.is_empty() && !how.replace {
        return Err(RestoreError::Occupied(dir.to_owned()));
    }
    let fresh = there.path.with_extension("db.restored");
    // What is set aside is completed from the log beside it, which is another one where the database was used by another name.
    refuse_another(&there.path, &lock).map_err(failed)?;
    let done = prepare(backup, &fresh, dir, how.damaged)
        .and_then(|damaged| Ok(Restored { damaged, ..there.replace(&fresh).map_err(failed)? }));
    if done.is_err() {
        let _left = remove_left(&fresh);
    }
    done
}

/// Writes the copy beside the database, looks at all of it, and has it be a database of its own; returns what of it is damaged.
fn prepare(backup: &Path, fresh: &Path, dir: &Path, damaged: bool) -> Result<Option<String>, RestoreError> {
    let failed = |fault: Fault| told(&fault, backup, dir, fresh);
    // What is found is told once, by whoever asked for this: nothing was set aside yet where it would be said so.
    let quiet = tracing::Dispatch::none();
    let found =
        tracing::dispatcher::with_default(&quiet, || whole::prepare(backup, fresh, dir)).map_err(failed)?;
    if let Some(why) = found.clone().filter(|_| !damaged) {
        return Err(RestoreError::Damaged { copy: backup.to_owned(), why });
    }
    begin_generation(fresh, dir).map_err(failed)?;
    step("prepared");
    Ok(found)
}

fn begin_generation(fresh: &Path, dir: &Path) -> Result<(), Fault> {
    let db = Connection::open(fresh)?;
    db.execute_batch("BEGIN IMMEDIATE")?;
    let to = Transaction::of(&db, dir)?;
    meta::put(&db, meta::GENERATION, Uuid::new_v4().as_bytes().as_slice())?;
    to.count()?;
    db.execute_batch("COMMIT")?;
    db.close().map_err(|(_, error)| error)?;
    Ok(fs::File::open(fresh)?.sync_all()?)
}

/// What a store is in a directory: its database with its log, wherever a link leads, and the log of an earlier version.
#[derive(Debug)]
struct There {
    dir: PathBuf,
    /// Where the database lies.
    path: PathBuf,
    has_database: bool,
    logs: Vec<PathBuf>,
    segments: Vec<PathBuf>,
}

impl There {
    fn look(dir: &Path) -> io::Result<Self> {
        let path = placed::target(&database(dir))?;
        for file in companions(&path).iter().chain([&path]) {
            // Neither is opened that may keep whoever does, nor set aside as a part of a store.
            placed::refuse_other_kinds(file)?;
        }
        let logs = companions(&path).into_iter().filter(|log| log.exists()).collect();
        let mut segments = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(|name| name.starts_with("turns-") && name.ends_with(".log")) {
                segments.push(dir.join(name));
            }
        }
        Ok(Self { dir: dir.to_owned(), has_database: path.exists(), path, logs, segments })
    }

    fn is_empty(&self) -> bool {
        !self.has_database && self.logs.is_empty() && self.segments.is_empty()
    }

    /// Puts the new database in its place, and what was there under a number beside it.
    fn replace(&self, fresh: &Path) -> Result<Restored, Fault> {
        let mut done = Restored { aside: None, in_use_by: None, damaged: None };
        if !self.is_empty() {
            let numbered = |n: u32| self.path.with_file_name(format!("replaced-{n}"));
            let aside = (1..).map(numbered).find(|aside| !aside.exists()).expect("a number is free");
            prepare_dir(&aside)?;
            done.in_use_by = self.set_aside(&aside)?;
            done.aside = Some(aside);
        }
        step("aside");
        fs::rename(fresh, &self.path)?;
        step("named");
        sync_folder_of(&self.path)?;
        Ok(done)
    }

    /// Moves all of it into a folder; returns who has the database open.
    fn set_aside(&self, aside: &Path) -> Result<Option<String>, Fault> {
        // So that it is whole without its log, whoever is killed here; one that is damaged is set aside as it is.
        if let Err(error) = fold_log(&self.path) {
            tracing::warn!(%error, "the database that is replaced cannot be completed from its log");
        }
        let by = locker::of(&self.path);
        let to = database(aside);
        // The logs first: one that still stood there would be taken for that of the copy.
        for (from, to) in companions(&self.path).iter().zip(companions(&to)) {
            fs::rename(from, to).or_else(if_there)?;
        }
        step("logs");
        for segment in &self.segments {
            let to = aside.join(segment.file_name().unwrap_or_default());
            rename_anywhere(segment, &to).or_else(if_there)?;
        }
        // By a second name: the first is never free, and a directory whose database was removed is another thing.
        fs::hard_link(&self.path, &to).or_else(|_| fs::rename(&self.path, &to)).or_else(if_there)?;
        sync_folder_of(&to)?;
        if !self.segments.is_empty() {
            fs::File::open(&self.dir)?.sync_all()?;
        }
        Ok(by)
    }
}

/// Gives a file another name, on another filesystem too.
fn rename_anywhere(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to)?;
            fs::File::open(to)?.sync_all()?;
            fs::remove_file(from)
        }
        renamed => renamed,
    }
}

/// Has a database take what is in its log: whoever closes it as the last one does.
fn fold_log(path: &Path) -> Result<(), Fault> {
    if !path.exists() {
        return Ok(());
    }
    schema::refuse_newer_file(path)?;
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.busy_timeout(PATIENCE)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// In words; `file` is what was to be written.
fn told(fault: &Fault, backup: &Path, dir: &Path, file: &Path) -> RestoreError {
    let (copy, to) = (backup.display(), dir.display());
    let error = match fault {
        Fault::Told(error) => error.clone(),
        fault if fault.kind() == StoreErrorKind::Busy => {
            let from = database(backup);
            let by = locker::of(&from).map_or_else(String::new, |who| format!(" ({who})"));
            let why = format!(
                "another program{by} has kept {} locked for {} s ({fault}); end that program",
                from.display(),
                PATIENCE.as_secs()
            );
            StoreError::new(StoreErrorKind::Busy, format!("restore {copy}: {why}"))
        }
        fault => {
            let bytes = fs::metadata(database(backup)).map_or(0, |meta| meta.len());
            let (kind, why) = unwritten::at(file, bytes, fault);
            StoreError::new(kind, format!("restore {copy} into {to}: {why}"))
        }
    };
    RestoreError::Failed(error)
}
