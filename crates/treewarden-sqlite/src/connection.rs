//! A connection to the database, set as this store needs it.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use treewarden_store::{Durability, StoreErrorKind};

use crate::error::{Fault, refused};
use crate::options::SqliteOptions;

/// How long SQLite asks for a lock before we look whether somebody still waits.
const BUSY: Duration = Duration::from_millis(250);

/// How many bytes a page of a new database has; one of an earlier version keeps what it has.
///
/// A commit writes each page that it touches whole, and those of a turn are few bytes each: half of SQLite's 4,096 halves what
/// it costs.
pub(crate) const PAGE: u32 = 2048;

/// Opens the file; nothing of it is read or changed yet.
pub(crate) fn open(path: &Path, options: &SqliteOptions) -> Result<Connection, Fault> {
    // Without a mutex: each connection has one thread.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    db.busy_timeout(BUSY)?;
    Ok(db)
}

/// Sets a connection to a database of this schema.
pub(crate) fn tune(db: &Connection, path: &Path, durability: Durability) -> Result<(), Fault> {
    db.set_prepared_statement_cache_capacity(64);
    // Or else a statement that a partial index serves is planned anew for each value that it is given.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    use_log(db, path)?;
    // NORMAL syncs at checkpoints only: a power loss may take the newest commits, never the whole file.
    let synchronous = if durability == Durability::Power { "FULL" } else { "NORMAL" };
    db.pragma_update(None, "synchronous", synchronous)?;
    // A checkpoint syncs, and whoever commits then waits for it: four times as seldom as by default.
    db.pragma_update(None, "wal_autocheckpoint", 4000)?;
    // A log that was long once is cut when it begins anew.
    db.pragma_update(None, "journal_size_limit", 32 << 20)?;
    // What is not committed must need no disk: it is found out at the commit that there is no room, for all of it at once.
    db.pragma_update(None, "cache_spill", false)?;
    Ok(())
}

/// A further connection for questions.
pub(crate) fn reader(path: &Path, options: &SqliteOptions) -> Result<Connection, Fault> {
    let db = open(path, options)?;
    tune(&db, path, options.durability)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

/// Has SQLite write to a log beside the database: without one readers and writers would keep each other waiting, and a commit
/// would need two syncs.
fn use_log(db: &Connection, path: &Path) -> Result<(), Fault> {
    let no_log = |why: &str| {
        let why = format!(
            "its filesystem cannot have the log that SQLite needs ({why}); keep the state directory on a local disk: \
             `--state-dir`, or `state_dir`"
        );
        refused(path, StoreErrorKind::Other, &why)
    };
    // By trying: no system tells it of a filesystem.
    match db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
        Ok(mode) if mode == "wal" => Ok(()),
        Ok(mode) => Err(no_log(&format!("its journal is {mode:?}"))),
        Err(error) if is_of_shared_memory(&error) => Err(no_log(&error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn is_of_shared_memory(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi;
    // A full disk is told by the size of it, and is no property of the filesystem.
    error.sqlite_error().is_some_and(|error| {
        [ffi::SQLITE_IOERR_SHMMAP, ffi::SQLITE_IOERR_SHMOPEN, ffi::SQLITE_IOERR_SHMLOCK]
            .contains(&error.extended_code)
    })
}
