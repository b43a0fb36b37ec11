//! The database file: opened, migrated, or set aside.
//!
//! | found | done |
//! |---|---|
//! | no file, or an empty one | schema 3 is made |
//! | … in a directory that was [used before](crate::mark) | [`StoreErrorKind::Removed`]; nothing is made |
//! | schema 1 | migrated to 2 in one transaction: `quarantine` is added, `turns` is indexed by name |
//! | schema 2 | migrated to 3 likewise: `folded` says up to where the database has the [tail](crate::tail) |
//! | schema 3 | used as it is |
//! | a newer schema | [`StoreErrorKind::NewerSchema`]; no file is touched |
//! | not a database, or a damaged one | set aside as `treewarden.db.corrupt-<n>` (with its log), a new one is made, and the [`Problem`](crate::Problem) says so |
//! | … while another process has it open | [`StoreErrorKind::Corrupt`]; nothing is moved under the other's feet |
//!
//! A field that a newer version added to a record within one schema is kept by [`SessionRecord::extra`](crate::SessionRecord).

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::dir::{companions, prepare_file};
use crate::patience::Patience;
use crate::problem::note_database;
use crate::{Durability, StoreError, StoreErrorKind, lock, mark, tail};

const SCHEMA: i64 = 3;

/// How long a call waits while another process writes.
pub(crate) const BUSY: Duration = Duration::from_secs(2);

const SCHEMA_1: &str = "
    CREATE TABLE IF NOT EXISTS sessions(name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS turns(seq INTEGER PRIMARY KEY AUTOINCREMENT, turn TEXT NOT NULL UNIQUE,
      name TEXT NOT NULL, session_id TEXT NOT NULL, prompt TEXT NOT NULL, at_most_once INTEGER NOT NULL,
      sent INTEGER NOT NULL DEFAULT 0, interruptions INTEGER NOT NULL DEFAULT 0, outcome TEXT,
      opened_at INTEGER NOT NULL, settled_at INTEGER);
    CREATE INDEX IF NOT EXISTS open_turns ON turns(name, seq) WHERE outcome IS NULL;
    CREATE INDEX IF NOT EXISTS turns_of ON turns(session_id);";

const SCHEMA_2: &str = "
    CREATE TABLE quarantine(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, reason TEXT NOT NULL,
      body TEXT NOT NULL, at INTEGER NOT NULL);
    CREATE INDEX turns_by_name ON turns(name);";

const SCHEMA_3: &str = "CREATE TABLE folded(segment INTEGER NOT NULL, place INTEGER NOT NULL);";

/// The open database, and the lock that keeps others from setting it aside.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) db: Connection,
    pub(crate) path: PathBuf,
    pub(crate) lock: File,
}

/// Opens the database of `dir`.
pub(crate) fn open(dir: &Path, durability: Durability, patience: Patience) -> Result<Opened, StoreError> {
    let path = dir.join("treewarden.db");
    let lock = lock::open(&lock_path(dir))?;
    share(&lock, patience)?;
    // Under the shared lock: while another process sets a damaged database aside the name may be free for a
    // moment, and a directory in full use would be refused as one that lost its database.
    mark::refuse_lost(dir, &path)?;
    let open = || patience.run(|| open_file(&path, durability));
    let damage = match open() {
        Err(error) if error.kind() == StoreErrorKind::Corrupt => error,
        opened => return Ok(Opened { db: opened?, path, lock }),
    };
    // Given up first, as the standard library leaves open what happens to a lock that is taken twice.
    lock.unlock()?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let why = format!("{damage}; it is not set aside while another process has it open");
            return Err(StoreError::new(StoreErrorKind::Corrupt, why));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    // Another process may have set it aside since.
    let db = match open() {
        Err(error) if error.kind() == StoreErrorKind::Corrupt => {
            let aside = set_aside(&path, durability, &error.to_string())?;
            tracing::error!(%error, aside = %aside.display(), "a damaged state database is set aside");
            open()?
        }
        opened => opened?,
    };
    lock.unlock()?;
    share(&lock, patience)?;
    Ok(Opened { db, path, lock })
}

/// The lock that keeps others from setting the database aside.
pub(crate) fn lock_path(dir: &Path) -> PathBuf {
    dir.join("treewarden.db.lock")
}

/// A further connection to a database that is open already.
pub(crate) fn connect(path: &Path, durability: Durability) -> Result<Connection, StoreError> {
    let db = Connection::open(path)?;
    tune(&db, durability)?;
    Ok(db)
}

pub(crate) fn share(lock: &File, patience: Patience) -> Result<(), StoreError> {
    patience.run(|| match lock.try_lock_shared() {
        Ok(()) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
        // Held for the moment that another process needs to set a damaged file aside.
        Err(TryLockError::WouldBlock) => {
            let why = "open the state database: another process is setting it aside; try again";
            Err(StoreError::new(StoreErrorKind::Busy, why))
        }
    })
}

fn open_file(path: &Path, durability: Durability) -> Result<Connection, StoreError> {
    // Asked of the file itself, since SQLite would touch it; and below once more, as its log may know better.
    refuse_newer(path, version_in_header(path)?)?;
    prepare_file(path)?;
    let db = Connection::open(path)?;
    // Until the version is known: closing the last connection writes the log into the file and removes it,
    // and a newer version's files are not to be touched.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.busy_timeout(BUSY)?;
    refuse_newer(path, version(&db)?)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    tune(&db, durability)?;
    migrate(&db, path)?;
    check(&db, path)?;
    Ok(db)
}

fn tune(db: &Connection, durability: Durability) -> Result<(), StoreError> {
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(32);
    // Or else a statement that a partial index serves is planned anew for each value that it is given.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // NORMAL syncs at checkpoints only: a power loss may take the newest commits, never the whole file.
    let synchronous = if durability == Durability::Power { "FULL" } else { "NORMAL" };
    db.pragma_update(None, "synchronous", synchronous)?;
    // A checkpoint syncs, and whoever commits then waits for it: four times as seldom as by default.
    db.pragma_update(None, "wal_autocheckpoint", 4000)?;
    // A transaction that is not committed must need no disk: see `Store::journal`.
    db.pragma_update(None, "cache_spill", false)?;
    Ok(())
}

fn migrate(db: &Connection, path: &Path) -> Result<(), StoreError> {
    if version(db)? == SCHEMA {
        return Ok(());
    }
    db.execute_batch("BEGIN IMMEDIATE")?;
    let migrated = (|| {
        // Another process may have migrated it since.
        let from = version(db)?;
        refuse_newer(path, from)?;
        if from < 1 {
            db.execute_batch(SCHEMA_1)?;
        }
        if from < 2 {
            db.execute_batch(SCHEMA_2)?;
        }
        if from < 3 {
            db.execute_batch(SCHEMA_3)?;
            // A tail that is there belongs to a database that was set aside: whatever it holds is taken.
            let first = tail::first_segment(path.parent().unwrap_or(path))?;
            db.execute("INSERT INTO folded VALUES (?, 0)", [first.cast_signed()])?;
        }
        db.pragma_update(None, "user_version", SCHEMA)?;
        db.execute_batch("COMMIT")?;
        Ok(())
    })();
    if migrated.is_err() && !db.is_autocommit() {
        db.execute_batch("ROLLBACK")?;
    }
    migrated
}

/// Looks for damage; it reads each page once, so that opening takes time in proportion to the file.
fn check(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    let why = format!("use the state database {}: {found}", path.display());
    Err(StoreError::new(StoreErrorKind::Corrupt, why))
}

fn version(db: &Connection) -> Result<i64, StoreError> {
    Ok(db.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

fn version_in_header(path: &Path) -> Result<i64, StoreError> {
    let mut header = [0; 64];
    match File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        Ok(()) if header.starts_with(b"SQLite format 3\0") => {
            // `user_version` stands in bytes 60 to 63 of the header, the highest byte first.
            let [.., a, b, c, d] = header;
            Ok(i32::from_be_bytes([a, b, c, d]).into())
        }
        // What is no database is found out by SQLite.
        _ => Ok(0),
    }
}

fn refuse_newer(path: &Path, version: i64) -> Result<(), StoreError> {
    if version <= SCHEMA {
        return Ok(());
    }
    let why = format!(
        "open {}: its schema {version} is newer than {SCHEMA}; use a newer treewarden",
        path.display()
    );
    Err(StoreError::new(StoreErrorKind::NewerSchema, why))
}

/// Moves the database and its companions away, to the first free number, and puts a new one there, which says so.
///
/// The new one is whole before it has its name, and the name is never free: whoever is killed here must not leave a
/// directory whose database seems to have been removed.
fn set_aside(path: &Path, durability: Durability, why: &str) -> Result<PathBuf, StoreError> {
    let numbered = |n: u32| path.with_extension(format!("db.corrupt-{n}"));
    let aside = (1..).map(numbered).find(|aside| !aside.exists()).expect("a number is free");
    let fresh = path.with_extension("db.new");
    for left in companions(&fresh).iter().chain([&fresh]) {
        if_there(fs::remove_file(left))?;
    }
    let db = open_file(&fresh, durability)?;
    note_database(&db, &aside, why)?;
    // One file and no log, which would stay behind under another name.
    db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)?;
    // First: a log that still stood there would be taken for that of the new database.
    for (from, to) in companions(path).iter().zip(companions(&aside)) {
        if_there(fs::rename(from, to))?;
    }
    // Where the file system has no second names, the name is free for a moment.
    fs::hard_link(path, &aside).or_else(|_| fs::rename(path, &aside))?;
    fs::rename(&fresh, path)?;
    Ok(aside)
}

fn if_there(done: std::io::Result<()>) -> std::io::Result<()> {
    done.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
