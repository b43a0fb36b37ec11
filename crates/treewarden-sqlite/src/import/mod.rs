//! What earlier versions left is carried over, once: a database of schema 1 to 3, and the segments `turns-<n>.log` of the journal
//! that stood in front of it.
//!
//! It reads what those versions wrote and writes nothing that they could read. It must never remove a segment before the database
//! that has it is on the disk.
//!
//! # In what order
//!
//! 1. One transaction, under the exclusive `treewarden.db.lock`, so that no older program has the directory open: the segments go
//!    into the old table, all old rows into the new tables, and `meta` says up to which segment ([`IMPORTED`](meta::IMPORTED)).
//! 2. The database is written anew without the old tables, and through to the disk.
//! 3. The segments are removed.
//!
//! Whoever is killed before the end of 1 has changed nothing; after that, the next opening goes on at 2. A newer segment than
//! `meta` names was left by nobody that this version can be open beside, and is left alone.

mod carry;
mod fact;
mod fold;
mod segment;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::Value;
use uuid::Uuid;

use self::fold::Folded;
use crate::error::Fault;
use crate::transaction::Transaction;
use crate::{meta, schema};

const OLD_TURNS: &str = "
    CREATE TABLE old_turns(seq INTEGER PRIMARY KEY, turn TEXT NOT NULL UNIQUE, name TEXT NOT NULL, session_id TEXT NOT NULL,
      prompt TEXT NOT NULL, at_most_once INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0,
      interruptions INTEGER NOT NULL DEFAULT 0, outcome TEXT, opened_at INTEGER NOT NULL, settled_at INTEGER)";

/// A segment of the journal of an earlier version, if the directory has any.
pub(crate) fn a_segment(dir: &Path) -> io::Result<Option<PathBuf>> {
    Ok(segment::numbers(dir)?.first().map(|number| segment::path(dir, *number)))
}

/// Makes a database of an earlier schema one of this, in the transaction that is under way.
pub(crate) fn carry_over(db: &Connection, dir: &Path, from: i64) -> Result<(), Fault> {
    db.execute_batch(
        "DROP INDEX IF EXISTS open_turns; DROP INDEX IF EXISTS turns_of; DROP INDEX IF EXISTS turns_by_name;
         ALTER TABLE sessions RENAME TO old_sessions; ALTER TABLE turns RENAME TO old_turns;",
    )?;
    if from >= 2 {
        db.execute_batch("ALTER TABLE quarantine RENAME TO old_quarantine")?;
    }
    let folded = if from >= 3 { folded(db)? } else { None };
    step(1);
    schema::make_tables(db)?;
    meta::put(db, meta::GENERATION, Uuid::new_v4().as_bytes().as_slice())?;
    let to = Transaction::of(db, dir)?;
    carry::records(&to, dir)?;
    if from >= 2 {
        // After the records: one that was put in the place of one that is set aside is not lost.
        carry::quarantine(&to)?;
        db.execute_batch("DROP TABLE old_quarantine")?;
    }
    db.execute_batch("DROP TABLE old_sessions")?;
    step(2);
    take_segments(&to, dir, folded)?;
    to.count()
}

/// Takes the segments into a database that was begun anew; whatever they hold is taken.
pub(crate) fn take_all_segments(to: &Transaction<'_>, dir: &Path) -> Result<(), Fault> {
    to.db().execute_batch(OLD_TURNS)?;
    take_segments(to, dir, None)
}

fn take_segments(to: &Transaction<'_>, dir: &Path, folded: Option<Folded>) -> Result<(), Fault> {
    let first = segment::numbers(dir)?.first().copied().unwrap_or(1);
    let last = fold::fold(to.db(), dir, folded.unwrap_or(Folded { segment: first, place: 0 }))?;
    step(3);
    carry::turns(to)?;
    to.db().execute_batch("DROP TABLE old_turns")?;
    meta::put(to.db(), meta::IMPORTED, last.cast_signed())?;
    step(4);
    Ok(())
}

fn folded(db: &Connection) -> Result<Option<Folded>, Fault> {
    let place = |row: &rusqlite::Row<'_>| {
        let (segment, place): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Folded { segment: segment.unsigned_abs(), place: place.unsigned_abs() })
    };
    let folded = db.query_row("SELECT segment, place FROM folded", [], place);
    db.execute_batch("DROP TABLE folded")?;
    match folded {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        folded => Ok(Some(folded?)),
    }
}

/// Ends what was begun: removes the segments that the database has, once it is on the disk.
pub(crate) fn finish(db: &Connection, dir: &Path, path: &Path) -> Result<(), Fault> {
    let Some(Value::Integer(last)) = meta::get(db, meta::IMPORTED)? else { return Ok(()) };
    if let Err(error) = give_back(db) {
        // Nothing but room is lost by that, and the next opening tries it again.
        tracing::warn!(%error, "the room that an earlier version's tables took cannot be given back yet");
    }
    let mut done = segment::numbers(dir)?;
    done.retain(|number| *number <= last.unsigned_abs());
    if done.is_empty() {
        return Ok(());
    }
    step(5);
    sync(db, path)?;
    step(6);
    for number in done {
        segment::remove(dir, number)?;
        step(7);
    }
    Ok(())
}

/// Has the database give pages back that become free, which an earlier version had made so that it cannot.
fn give_back(db: &Connection) -> rusqlite::Result<()> {
    if db.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0))? != 0 {
        return Ok(());
    }
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.pragma_update(None, "cache_spill", true)?;
    let done = db.execute_batch("VACUUM");
    db.pragma_update(None, "cache_spill", false)?;
    done
}

/// Has all that is committed on the disk.
fn sync(db: &Connection, path: &Path) -> Result<(), Fault> {
    let synchronous: i64 = db.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // Syncs the log before it is copied into the file, and the file after that.
    let moved = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    db.pragma_update(None, "synchronous", synchronous)?;
    moved?;
    File::open(path)?.sync_all()?;
    let [log, _] = treewarden_store::dir::companions(path);
    match File::open(log) {
        Ok(log) => log.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    // A file survives with its folder.
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Where a test kills this process.
#[cfg(test)]
fn step(number: u32) {
    tests::step(number);
}

#[cfg(not(test))]
fn step(_number: u32) {}
