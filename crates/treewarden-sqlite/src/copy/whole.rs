//! Makes a database of a copy, and looks whether all of it is whole before that has a name.
//!
//! Every row is read and its checksum compared: SQLite finds no bit that flipped in a text. What of a damaged copy can be read is
//! put back by the means of an [opening](crate::opening), and said in the same words. It must never write to the copy.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use treewarden_store::dir::companions;
use treewarden_store::{StoreError, StoreErrorKind, placed};

use super::backup::part;
use super::{PATIENCE, copy, journal, remove_left, source};
use crate::error::{Fault, database};
use crate::opening::{Begun, Found, carried_anew, damaged_in_others, find, readable};
use crate::options::SqliteOptions;
use crate::schema::{self, Who};
use crate::{meta, problems};

/// So much that is damaged is named; of more it is said how many there are.
const NAMED: usize = 8;

/// Makes the database `fresh` of the copy, for the state directory `dir`; returns what of the copy is damaged and not in it, in
/// words.
pub(super) fn prepare(backup: &Path, fresh: &Path, dir: &Path) -> Result<Option<String>, Fault> {
    // Beside the file itself lies its log, should its name be a link.
    let from = placed::target(&database(backup))?;
    refuse_other_files(backup, &from)?;
    schema::refuse_newer_file(&from)?;
    remove_left(fresh)?;
    match rows(&from, fresh, dir) {
        Err(fault) if fault.kind() == StoreErrorKind::Corrupt => pages(&from, fresh, dir, &fault).map(Some),
        damaged => damaged,
    }
}

/// Refuses what is no copy, or none that was finished.
fn refuse_other_files(backup: &Path, from: &Path) -> Result<(), Fault> {
    let refuse = |why: &str| -> Result<(), Fault> {
        let text = format!("restore {}: {why}", backup.display());
        Err(StoreError::new(StoreErrorKind::Other, text).into())
    };
    if backup.exists() && !backup.is_dir() {
        return refuse("it is no folder: name the one that `treewarden backup` made");
    }
    for file in companions(from).iter().chain([&journal(from)]).map(PathBuf::as_path).chain([from]) {
        if let Err(error) = placed::refuse_other_kinds(file) {
            return refuse(&error.to_string());
        }
    }
    let is_begun = fs::metadata(journal(from)).is_ok_and(|meta| meta.len() > 0);
    if is_begun || !from.exists() && part(backup).exists() {
        return refuse("the copy in it was begun and not finished: restore another");
    }
    if !from.exists() {
        return refuse("there is no database in it: name a folder that `treewarden backup` made");
    }
    if from.metadata()?.len() == 0 && !companions(from)[0].exists() {
        return refuse("its database is empty: the copy was not finished; restore another");
    }
    Ok(())
}

/// Copies row by row; what of the rows is damaged is set aside in the copy, for the state directory `dir`.
fn rows(from: &Path, fresh: &Path, dir: &Path) -> Result<Option<String>, Fault> {
    copy(&open(from)?, fresh)?;
    let db = Connection::open(fresh)?;
    schema::refuse_other(&db, from)?;
    // Before anything is set aside, which is a row of its own there.
    let told = problems::last_number(&db)?.unsigned_abs();
    let (found, said) = look(&db, from)?;
    found.mend(&db, dir)?;
    let Some(said) = said else { return Ok(None) };
    let mut each: Vec<String> = problems::problems(&db, told)?
        .into_iter()
        .filter(|problem| problem.is_new)
        .map(|problem| problem.reason)
        .collect();
    let more = each.len().saturating_sub(NAMED);
    each.truncate(NAMED);
    if more > 0 {
        each.push(format!("and {more} more"));
    }
    let each = each.iter().map(|each| format!("; {each}")).collect::<String>();
    Ok(Some(format!("{said}{each}")))
}

/// Reads every row; returns what cannot be read, and how much of all rows that is, in words.
fn look(db: &Connection, from: &Path) -> Result<(Found, Option<String>), Fault> {
    let others = damaged_in_others(db)?;
    let (all_names, all_turns) = (count(db, "names")?, count(db, "turns")?);
    let found = find(db, from, true)?;
    let (names, turns) = found.damaged();
    if (names, turns) == (0, 0) && others.is_empty() {
        return Ok((found, None));
    }
    let mut said = vec![format!("{names} of {all_names} names and {turns} of {all_turns} turns")];
    said.extend(others);
    Ok((found, Some(format!("{} are damaged", said.join(", ")))))
}

/// Says how much of a copy is damaged, in words; `None` if all of it is whole.
///
/// It blocks, for as long as every row of the copy is read with its checksum, as [`restore`](super::restore()) does. Nothing is
/// written.
///
/// # Errors
///
/// [`StoreError`] if the folder is no copy, or the copy cannot be read.
pub fn damage(backup: &Path) -> Result<Option<String>, StoreError> {
    let from = database(backup);
    let looked = (|| {
        let from = placed::target(&from)?;
        refuse_other_files(backup, &from)?;
        match look(&open(&from)?, &from) {
            Err(fault) if fault.kind() == StoreErrorKind::Corrupt => Ok(Some(fault.to_string())),
            looked => Ok(looked?.1),
        }
    })();
    looked.map_err(|fault: Fault| fault.tell(&from))
}

fn count(db: &Connection, table: &str) -> Result<u64, Fault> {
    let rows: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    Ok(rows.unsigned_abs())
}

/// Carries over what can be read of a database with damaged pages.
fn pages(from: &Path, fresh: &Path, dir: &Path, fault: &Fault) -> Result<String, Fault> {
    remove_left(fresh)?;
    let damaged = open(from).and_then(readable).ok();
    let why = format!("put back from a damaged copy ({fault}), and later turns may be missing");
    let lost = "the copy that was put back was damaged where its record was";
    let key = from.to_string_lossy();
    let begun = Begun { dir, who: Who::OfCopy, key: &key, why: &why, lost };
    let carried = carried_anew(fresh, damaged, &SqliteOptions::default(), &begun)?;
    if carried.is_nothing() {
        return Err(Fault::corrupt(
            from,
            format!("{fault}; nothing of it can be read: restore another copy"),
        ));
    }
    // What was in use here before the copy is no part of it: the next start says what may be missing.
    let db = Connection::open(fresh)?;
    meta::put(&db, meta::AFTER, rusqlite::types::Null)?;
    db.close().map_err(|(_, error)| error)?;
    Ok(format!("{fault}: {carried}"))
}

/// Opens the database of a copy, of which nothing may be changed.
fn open(path: &Path) -> Result<Connection, Fault> {
    // One without a log is read as it stands: SQLite would make a log beside a database that had one once, in a folder that may be
    // another's, or cannot be written.
    let db = if companions(path)[0].exists() { source(path)? } else { as_it_stands(path)? };
    db.busy_timeout(PATIENCE)?;
    Ok(db)
}

fn as_it_stands(path: &Path) -> Result<Connection, Fault> {
    let path = std::path::absolute(path)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(byte);
    let encode = |byte: &u8| if plain(byte) { char::from(*byte).into() } else { format!("%{byte:02x}") };
    let encoded: String = path.as_os_str().as_bytes().iter().map(encode).collect();
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Ok(Connection::open_with_flags(format!("file:{encoded}?immutable=1"), flags)?)
}
