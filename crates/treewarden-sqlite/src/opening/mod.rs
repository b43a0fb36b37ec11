//! The database file: opened, looked at, or set aside.
//!
//! | found | done |
//! |---|---|
//! | a file of this schema | looked at: [`look`] says what for |
//! | one that cannot be used as it is | see [`schema`](crate::schema) |
//! | no file, or an empty one, in a directory that was used before | another one is begun, and its names are [lost](crate::lost); a [`Problem`](treewarden_store::Problem) says so |
//! | … while another process has the one that is gone open | [`StoreErrorKind::Removed`]; nothing is made |
//! | one of an older schema | [carried over](crate::import) |
//! | … while another process has it open, as an older program does | [`StoreErrorKind::Busy`]; nothing is touched |
//! | one that is older than it was | used as it is, and [`lost`](crate::lost) says what is missing |
//! | one that has [other names](names), by one of which it was used last | refused; nothing is touched |
//! | not a database, or a damaged one | set aside as `treewarden.db.corrupt-<n>` (with its log), a new one is made, and a [`Problem`](treewarden_store::Problem) says so |
//! | … while another process has it open | [`StoreErrorKind::Corrupt`]; nothing is moved under the other's feet |

mod aside;
mod look;
mod names;
mod salvage;

pub(crate) use aside::{Begun, carried_anew, if_there};
pub(crate) use look::{Found, find};
pub(crate) use names::refuse_another;
pub(crate) use salvage::{damaged_in_others, readable};

use std::fs::{self, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use treewarden_store::dir::prepare_file;
use treewarden_store::{StoreErrorKind, lock};

use crate::error::{Fault, database, refused};
use crate::options::SqliteOptions;
use crate::patience::Patience;
use crate::schema::{Prepared, Who};
use crate::{connection, import, lost, place, schema, witness};

/// How long it is waited for those who open the database at the same moment.
const ALONE: Duration = Duration::from_secs(3);

/// The open database, and the lock that keeps others from setting it aside.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) db: Connection,
    pub(crate) path: PathBuf,
    pub(crate) lock: fs::File,
}

/// Opens the database of `dir`.
pub(crate) fn open(dir: &Path, options: &SqliteOptions, patience: Patience) -> Result<Opened, Fault> {
    let opened = open_what_is_there(dir, options, patience)?;
    names::note(&opened.path, &opened.lock);
    Ok(opened)
}

fn open_what_is_there(dir: &Path, options: &SqliteOptions, patience: Patience) -> Result<Opened, Fault> {
    let (path, lock_path) = (database(dir), lock_path(dir));
    let lock = lock::open(&lock_path)?;
    share(&lock, &lock_path, patience)?;
    refuse_another(&path, &lock)?;
    // Before the database is asked how far it is: whoever has it open writes here after it has stored.
    let seen = witness::look(dir)?;
    let open = |who| patience.run(&path, || open_file(&path, options, who));
    // Under the shared lock: while another process sets a damaged database aside the name may be free for a moment.
    // The mark first: another process may be making both just now, the database before the mark.
    let why = if lost::mark_of_use(dir)?.is_some() && lost::is_gone(&path)? {
        Why::Gone
    } else {
        match open(Who::AmongOthers) {
            Ok(File::MustBeAlone) => Why::Older,
            Err(fault) if fault.kind() == StoreErrorKind::Corrupt => Why::Damaged(fault.to_string()),
            Ok(File::Ready(db)) => {
                lost::compare(&db, dir, seen)?;
                return Ok(Opened { db, path, lock });
            }
            Err(fault) => return Err(fault),
        }
    };
    be_alone(&lock, &path, &why)?;
    // Another process may have done by now what is to be done.
    if lost::is_gone(&path)? {
        lost::put_log_aside(&path)?;
    }
    let db = match open(Who::Alone) {
        Err(fault) if fault.kind() == StoreErrorKind::Corrupt => {
            let aside = aside::set_aside(&path, options, &fault.to_string())?;
            tracing::error!(%fault, aside = %aside.display(), "a damaged state database is set aside");
            open(Who::Alone)?
        }
        opened => opened?,
    };
    let File::Ready(db) = db else { unreachable!("whoever is alone need not be alone") };
    lost::compare(&db, dir, seen)?;
    lock.unlock()?;
    share(&lock, &lock_path, patience)?;
    Ok(Opened { db, path, lock })
}

/// Why an opening must be alone.
#[derive(Debug)]
enum Why {
    /// The database is gone.
    Gone,
    /// It is of an older schema.
    Older,
    Damaged(String),
}

/// Has nobody else hold the lock, who would have the database open.
fn be_alone(lock: &fs::File, path: &Path, why: &Why) -> Result<(), Fault> {
    // Given up first, as the standard library leaves open what happens to a lock that is taken twice.
    lock.unlock()?;
    // Others who open it have it for moments: an older program that runs has it for longer.
    Patience::until(Instant::now() + ALONE).run(path, || match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
        Err(TryLockError::WouldBlock) => Err(refused(
            path,
            StoreErrorKind::Busy,
            "another program has it open, as an older treewarden does that still runs; this version carries what it holds over to \
             its own schema, which it does not do under the other's feet: end that, and start again",
        )),
    })
    .map_err(|fault| match (why, fault.kind()) {
        (Why::Gone, StoreErrorKind::Busy) => refused(
            path,
            StoreErrorKind::Removed,
            "it was removed, and another program has it open still; end that, put a copy back with `treewarden restore DIR --force`, and start again",
        ),
        (Why::Damaged(damage), StoreErrorKind::Busy) => {
            let why = format!("{damage}; it is not set aside while another process has it open");
            refused(path, StoreErrorKind::Corrupt, &why)
        }
        _ => fault,
    })
}

/// The lock that keeps others from setting the database aside.
pub(crate) fn lock_path(dir: &Path) -> PathBuf {
    dir.join("treewarden.db.lock")
}

pub(crate) fn share(lock: &fs::File, path: &Path, patience: Patience) -> Result<(), Fault> {
    patience.run(path, || match lock.try_lock_shared() {
        Ok(()) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
        // Held for the moment that another process needs to set a damaged file aside.
        Err(TryLockError::WouldBlock) => {
            let why =
                "another process holds it, as one does that sets a damaged state database aside; try again";
            Err(refused(path, StoreErrorKind::Busy, why))
        }
    })
}

/// A database file that was opened.
#[derive(Debug)]
enum File {
    Ready(Connection),
    /// See [`Prepared::MustBeAlone`].
    MustBeAlone,
}

fn open_file(path: &Path, options: &SqliteOptions, who: Who) -> Result<File, Fault> {
    schema::refuse_newer_file(path)?;
    prepare_file(path)?;
    let db = connection::open(path, options)?;
    // Until the version is known: closing the last connection writes the log into the file and removes it,
    // and a newer version's files are not to be touched.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    schema::refuse_newer_database(&db, path)?;
    if fs::metadata(path)?.len() == 0 {
        db.pragma_update(None, "page_size", connection::PAGE)?;
        // Only a database that has nothing yet can be made so that pages which become free can be given back in steps.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection::tune(&db, path, options.durability)?;
    if schema::prepare(&db, path, who)? == Prepared::MustBeAlone {
        return Ok(File::MustBeAlone);
    }
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    if let Some(dir) = path.parent() {
        import::finish(&db, dir, path)?;
    }
    let noted = place::to_be_read(path);
    let all = noted.exists();
    look::look(&db, path, all)?;
    if all {
        // It was read through, and nothing is left to be set aside.
        fs::remove_file(&noted).or_else(if_there)?;
    }
    Ok(File::Ready(db))
}
