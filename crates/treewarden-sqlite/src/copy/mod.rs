//! Copies of a store: made while it is in use, and put back in its place.
//!
//! A copy is a folder with the database, whole and in one file, and nothing else: it opens as a state directory. The id of the
//! directory is not copied, since by it locks and leases know who holds them, and two directories with one id would pass for
//! each other; leases are not, since they say who writes a conversation now. Nothing here may write to what is copied.

mod backup;
mod restore;
#[cfg(test)]
mod tests;
mod unwritten;
mod whole;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use treewarden_store::dir::{companions, prepare_file};

use crate::error::Fault;

pub use restore::{Restore, RestoreError, Restored, restore};
pub use whole::damage;

/// How long another program is waited for that keeps a database locked: that of a copy, and that which is replaced.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens a database that is to be copied.
fn source(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(path, flags)?)
}

/// Writes all of a database, as it is at one moment, into a file that is made; it is on the disk when this returns.
fn copy(db: &Connection, to: &Path) -> Result<(), Fault> {
    let name = to.to_str().ok_or_else(|| {
        let why = format!("write a copy to {}: its path is no UTF-8", to.display());
        treewarden_store::StoreError::new(treewarden_store::StoreErrorKind::Other, why)
    })?;
    // Made first, for its owner alone: SQLite would make it for all who may read.
    prepare_file(to)?;
    db.execute("VACUUM INTO ?", [name])?;
    // SQLite syncs what it keeps, and not what it writes for others.
    File::open(to)?.sync_all()?;
    sync_folder_of(to)?;
    Ok(())
}

/// What SQLite writes beside a database that it makes, until all of that is there.
fn journal(database: &Path) -> PathBuf {
    let mut journal = database.as_os_str().to_owned();
    journal.push("-journal");
    journal.into()
}

/// A file that has a new name keeps it when the machine goes down.
fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Removes a database that is not finished, with what SQLite has beside one while it is written.
fn remove_left(path: &Path) -> std::io::Result<()> {
    let [log, memory] = companions(path);
    for left in [log.as_path(), &memory, &journal(path), path] {
        fs::remove_file(left).or_else(crate::opening::if_there)?;
    }
    Ok(())
}

/// Where a test kills this process.
#[cfg(test)]
fn step(name: &str) {
    tests::step(name);
}

#[cfg(not(test))]
fn step(_name: &str) {}
