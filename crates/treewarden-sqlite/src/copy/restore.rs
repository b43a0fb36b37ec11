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
use treewarden_store::{StoreError, StoreErrorKind, lock};
use uuid::Uuid;

use super::{copy, remove_left, source, sync_folder_of};
use crate::error::{Fault, database};
use crate::opening::{if_there, lock_path, refuse_another};
use crate::transaction::Transaction;
use crate::{meta, schema};

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
    /// The folder is no copy of a store that can be put back, or the copy cannot be written.
    #[error("{0}")]
    Failed(#[from] StoreError),
}

/// Puts the copy of a store in the place of the store of `dir`; returns where the one that was there is now.
///
/// It blocks. Nobody may have the store of `dir` open. Unless `replace` is set a store that is there is left, and the copy is not
/// put back. Turns that were settled after the copy was made are not known afterwards; nor are names that were made later, but
/// those that lease files in `dir` name are known as lost.
///
/// # Errors
///
/// [`RestoreError`].
pub fn restore(backup: &Path, dir: &Path, replace: bool) -> Result<Option<PathBuf>, RestoreError> {
    let told = |fault: Fault| told(&fault, backup, dir);
    prepare_dir(dir).map_err(|error| told(error.into()))?;
    let lock = lock::open(&lock_path(dir)).map_err(|error| told(error.into()))?;
    // It is held to the end: nobody opens what is being replaced.
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(RestoreError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => return Err(told(error.into())),
    }
    let path = database(dir);
    let is_there = of_store(dir).map_err(|error| told(error.into()))?;
    if !is_there.is_empty() && !replace {
        return Err(RestoreError::Occupied(dir.to_owned()));
    }
    let fresh = path.with_extension("db.restored");
    // What is set aside is completed from the log beside it, which is another one where the database was used by another name.
    refuse_another(&path, &lock).map_err(told)?;
    let prepared = prepare(backup, &fresh).and_then(|()| Ok(put(&path, &fresh, &is_there)?));
    if prepared.is_err() {
        let _left = remove_left(&fresh);
    }
    prepared.map_err(told)
}

/// What a store is in a directory: its database with its log, and the log of an earlier version.
fn of_store(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let path = database(dir);
    let mut found: Vec<PathBuf> = companions(&path).into_iter().filter(|path| path.exists()).collect();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("turns-") && name.ends_with(".log")) {
            found.push(dir.join(name));
        }
    }
    if path.exists() {
        found.push(path);
    }
    Ok(found)
}

/// Writes the copy beside the database, looks at all of it, and has it be a database of its own.
fn prepare(backup: &Path, fresh: &Path) -> Result<(), Fault> {
    let from = database(backup);
    if !from.exists() {
        let why = "there is no database in it: name a folder that `treewarden backup` made";
        return Err(
            StoreError::new(StoreErrorKind::Other, format!("restore {}: {why}", backup.display())).into()
        );
    }
    schema::refuse_newer_file(&from)?;
    remove_left(fresh)?;
    copy(&source(&from)?, fresh)?;
    let db = Connection::open(fresh)?;
    let found: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(Fault::corrupt(&from, format!("it is damaged ({found}); restore another copy")));
    }
    schema::refuse_other(&db, &from)?;
    db.execute_batch("BEGIN IMMEDIATE")?;
    let to = Transaction::of(&db)?;
    meta::put(&db, meta::GENERATION, Uuid::new_v4().as_bytes().as_slice())?;
    to.count()?;
    db.execute_batch("COMMIT")?;
    db.close().map_err(|(_, error)| error)?;
    Ok(fs::File::open(fresh)?.sync_all()?)
}

/// Puts it in its place, and what was there under a number.
fn put(path: &Path, fresh: &Path, is_there: &[PathBuf]) -> io::Result<Option<PathBuf>> {
    let aside = match is_there {
        [] => None,
        _ => {
            let numbered = |n: u32| path.with_file_name(format!("replaced-{n}"));
            let aside = (1..).map(numbered).find(|aside| !aside.exists()).expect("a number is free");
            prepare_dir(&aside)?;
            Some(aside)
        }
    };
    if let Some(aside) = &aside {
        // So that it is whole without its log, whoever is killed here; one that is damaged is set aside as it is.
        if let Err(error) = fold_log(path) {
            tracing::warn!(%error, "the database that is replaced cannot be completed from its log");
        }
        // The logs first: one that still stood there would be taken for that of the copy.
        for from in is_there.iter().filter(|from| *from != path) {
            fs::rename(from, aside.join(from.file_name().unwrap_or_default())).or_else(if_there)?;
        }
        // By a second name: the first is never free, and a directory whose database was removed is another thing.
        let to = database(aside);
        fs::hard_link(path, &to).or_else(|_| fs::rename(path, &to)).or_else(if_there)?;
        sync_folder_of(&to)?;
    }
    fs::rename(fresh, path)?;
    sync_folder_of(path)?;
    Ok(aside)
}

/// Has a database take what is in its log: whoever closes it as the last one does.
fn fold_log(path: &Path) -> Result<(), Fault> {
    if !path.exists() {
        return Ok(());
    }
    schema::refuse_newer_file(path)?;
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn told(fault: &Fault, backup: &Path, dir: &Path) -> RestoreError {
    let error = match fault {
        Fault::Told(error) => error.clone(),
        fault => {
            let (kind, to) = (fault.kind(), dir.display());
            let what = match kind {
                StoreErrorKind::DiskFull => format!("; make room at {to}"),
                StoreErrorKind::ReadOnly => {
                    format!("; look at the rights of {to}, and whether its filesystem is mounted read-only")
                }
                _ => String::new(),
            };
            StoreError::new(kind, format!("restore {} into {to}: {fault}{what}", backup.display()))
        }
    };
    RestoreError::Failed(error)
}
