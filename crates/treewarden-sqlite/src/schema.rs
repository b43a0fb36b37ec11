//! The tables of schema 4, and what is done with a file of another.
//!
//! | found | done |
//! |---|---|
//! | no file, or an empty one | schema 4 is made |
//! | schema 4 | used as it is, once its tables are what [`TABLES`] says |
//! | an older schema | its rows are [carried over](crate::import) in one transaction |
//! | a newer schema | [`StoreErrorKind::NewerSchema`]; no file is touched |
//!
//! Texts that may be long stand behind what is looked for, so that the look for a row reads no page of a text.

use std::io::Read;
use std::path::Path;

use rusqlite::Connection;
use treewarden_store::{StoreErrorKind, placed};
use uuid::Uuid;

use crate::error::{Fault, database, refused};
use crate::transaction::Transaction;
use crate::{import, lost, meta};

pub(crate) const SCHEMA: i64 = 4;

/// Each as SQLite keeps it. Where one differs by a bit, rows would be looked for where they are not.
///
/// `names` has a number of its own for each row, and an index: a row whose name was damaged can still be found by its number, and
/// a name whose row is gone still stands in the index.
const TABLES: [&str; 10] = [
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value, sum INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE names(id INTEGER PRIMARY KEY, name TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, \
     last INTEGER NOT NULL, lost_id BLOB, watermark BLOB, sum INTEGER NOT NULL, lost TEXT, record TEXT)",
    "CREATE UNIQUE INDEX names_by_name ON names(name)",
    "CREATE TABLE turns(seq INTEGER PRIMARY KEY, turn BLOB NOT NULL, name TEXT NOT NULL, session_id BLOB NOT NULL, \
     at_most_once INTEGER NOT NULL, sent INTEGER NOT NULL, interruptions INTEGER NOT NULL, opened_at INTEGER NOT NULL, \
     settled_at INTEGER, sum INTEGER NOT NULL, prompt TEXT NOT NULL, outcome TEXT)",
    "CREATE UNIQUE INDEX turns_by_turn ON turns(turn)",
    "CREATE INDEX turns_by_name ON turns(name)",
    "CREATE INDEX turns_by_conversation ON turns(session_id)",
    "CREATE INDEX open_turns ON turns(name) WHERE settled_at IS NULL",
    "CREATE TABLE lines(conversation BLOB NOT NULL, subpath TEXT NOT NULL, seq INTEGER NOT NULL, sum INTEGER NOT NULL, \
     entries TEXT NOT NULL, PRIMARY KEY(conversation, subpath, seq)) WITHOUT ROWID",
    "CREATE TABLE expired_ids(turn BLOB PRIMARY KEY, digest BLOB NOT NULL, at INTEGER NOT NULL, sum INTEGER NOT NULL) \
     WITHOUT ROWID",
];

const QUARANTINE: &str = "CREATE TABLE quarantine(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, \
                          reason TEXT NOT NULL, body TEXT NOT NULL, at INTEGER NOT NULL, sum INTEGER NOT NULL)";

/// Refuses a newer file without touching it: SQLite would, so the file itself is asked.
pub(crate) fn refuse_newer_file(path: &Path) -> Result<(), Fault> {
    refuse_newer(path, version_in_header(path))
}

/// Refuses a newer database, whose log may know better than its file.
pub(crate) fn refuse_newer_database(db: &Connection, path: &Path) -> Result<(), Fault> {
    refuse_newer(path, version(db)?)
}

fn refuse_newer(path: &Path, version: i64) -> Result<(), Fault> {
    if version <= SCHEMA {
        return Ok(());
    }
    let why = format!("its schema {version} is newer than {SCHEMA}; use a newer treewarden");
    Err(refused(path, StoreErrorKind::NewerSchema, &why))
}

/// Tells whether a state directory has a database that an opening would carry over from an earlier version.
pub fn is_of_earlier_version(dir: &Path) -> bool {
    // The version may stand in SQLite's log alone, but then the journal's own log is there.
    (1..SCHEMA).contains(&version_in_header(&database(dir)))
        || import::a_segment(dir).is_ok_and(|segment| segment.is_some())
}

fn version_in_header(path: &Path) -> i64 {
    let mut header = [0; 64];
    match placed::open_elsewhere(path).and_then(|mut file| file.read_exact(&mut header)) {
        Ok(()) if header.starts_with(b"SQLite format 3\0") => {
            // `user_version` stands in bytes 60 to 63 of the header, the highest byte first.
            let [.., a, b, c, d] = header;
            i32::from_be_bytes([a, b, c, d]).into()
        }
        // What is no database is found out by SQLite.
        _ => 0,
    }
}

pub(crate) fn version(db: &Connection) -> Result<i64, Fault> {
    Ok(db.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

/// Has the database be of this schema.
pub(crate) fn prepare(db: &Connection, path: &Path, who: Who) -> Result<Prepared, Fault> {
    let from = version(db)?;
    if from == SCHEMA {
        return compare(db, path).map(|()| Prepared::Ready);
    }
    let dir = path.parent().unwrap_or(path);
    let is_alone = who != Who::AmongOthers;
    if from > 0 && !is_alone {
        return Ok(Prepared::MustBeAlone);
    }
    if from > 0 {
        // All of it is written in one transaction, which must not have to fit into the memory.
        db.pragma_update(None, "cache_spill", true)?;
    }
    db.execute_batch("BEGIN IMMEDIATE")?;
    let prepared = (|| {
        // Another process may have made it since.
        match version(db)? {
            SCHEMA => {}
            0 => match lost::mark_of_use(dir)? {
                Some(_) if !is_alone => return Ok(Prepared::MustBeAlone),
                mark => create(db, path, mark.as_deref(), who)?,
            },
            1..SCHEMA if !is_alone => return Ok(Prepared::MustBeAlone),
            older @ 1..SCHEMA => {
                // As those versions did: what is damaged is set aside, and not carried over.
                let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
                if found != "ok" {
                    return Err(Fault::corrupt(path, found));
                }
                import::carry_over(db, dir, older)?;
                db.pragma_update(None, "user_version", SCHEMA)?;
            }
            newer => refuse_newer(path, newer)?,
        }
        db.execute_batch("COMMIT")?;
        if from > 0 {
            tracing::info!(
                from,
                to = SCHEMA,
                database = %path.display(),
                "the state database of an earlier version was carried over, in the same file: what that version had is not kept \
                 beside it, and it cannot be used by that version any more"
            );
        }
        Ok(Prepared::Ready)
    })();
    if !db.is_autocommit() {
        db.execute_batch("ROLLBACK")?;
    }
    db.pragma_update(None, "cache_spill", false)?;
    if from == 0 && matches!(prepared, Ok(Prepared::Ready)) {
        // Once, whatever the durability: a machine that goes down right after the first start would else leave a witness, and
        // nothing of the database, which would be taken for one that was removed.
        db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    if matches!(prepared, Ok(Prepared::Ready)) {
        compare(db, path)?;
    }
    prepared
}

/// Refuses a database that is not of this schema.
pub(crate) fn refuse_other(db: &Connection, path: &Path) -> Result<(), Fault> {
    refuse_newer_database(db, path)?;
    let version = version(db)?;
    if version == 0 {
        let why = "it has nothing of a store: it is no copy of one, or one that was not finished";
        return Err(refused(path, StoreErrorKind::Other, why));
    }
    if version != SCHEMA {
        let why = format!(
            "its schema {version} is older than {SCHEMA}; start a tree on a copy of its folder, which imports it"
        );
        return Err(refused(path, StoreErrorKind::Other, &why));
    }
    compare(db, path)
}

/// Who may have the database open beside us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Anybody who shares its lock.
    AmongOthers,
    /// Nobody.
    Alone,
    /// Nobody, and it is made in the place of one that is set aside.
    InPlaceOfDamaged,
    /// Nobody, and it is made of a copy: what stands beside it belongs to another.
    OfCopy,
}

/// Whether a database can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepared {
    Ready,
    /// What is to be done is done while nobody else has it open; nothing was done.
    MustBeAlone,
}

/// Makes the tables in the transaction that is under way. `mark` is what is left of a database that was there before.
fn create(db: &Connection, path: &Path, mark: Option<&Path>, who: Who) -> Result<(), Fault> {
    // A version that was lost is no reason to begin anew among the tables of a database that was used.
    if db.prepare("SELECT 1 FROM sqlite_schema")?.exists([])? {
        return Err(Fault::corrupt(path, "it has tables, and the number of its schema is gone"));
    }
    make_tables(db)?;
    meta::put(db, meta::GENERATION, Uuid::new_v4().as_bytes().as_slice())?;
    let dir = path.parent().unwrap_or(path);
    let to = Transaction::of(db, dir)?;
    // Of one that is damaged it is found out first what can still be read.
    if let Some(mark) = mark.filter(|_| who == Who::Alone) {
        lost::begin(&to, mark)?;
    }
    // They belong to a database that is gone, and whatever they hold is taken.
    if who != Who::OfCopy && import::a_segment(dir)?.is_some() {
        import::take_all_segments(&to, dir)?;
    }
    to.count()?;
    Ok(db.pragma_update(None, "user_version", SCHEMA)?)
}

/// Makes the tables, their counts at nothing.
pub(crate) fn make_tables(db: &Connection) -> Result<(), Fault> {
    for table in TABLES.iter().chain([&QUARANTINE]) {
        db.execute_batch(table)?;
    }
    meta::put(db, meta::COMMITS, 0)?;
    meta::put(db, meta::NUMBERS, 0)
}

fn compare(db: &Connection, path: &Path) -> Result<(), Fault> {
    let mut query = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let there: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    match TABLES.iter().chain([&QUARANTINE]).find(|table| !there.iter().any(|text| text == **table)) {
        None => Ok(()),
        Some(missing) => {
            let name: String = missing.chars().take_while(|char| *char != '(').collect();
            Err(Fault::corrupt(path, format!("what it says of `{name}` is not what was written")))
        }
    }
}
