//! Names whose record is gone with a database: such a name is known as lost, and is not begun blank.
//!
//! It is for what is noted when a database is begun in a directory that was used, or is found to be older than it was. It is not
//! for a row that is damaged, which the [quarantine](crate::quarantine) is for. It must never touch a name that has a record.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rusqlite::Connection;
use rusqlite::types::Value;
use treewarden_store::dir::companions;
use treewarden_store::{LostNames, ProblemKind, StateDir, lease_files, placed};
use uuid::Uuid;

use crate::error::Fault;
use crate::import;
use crate::meta;
use crate::problems;
use crate::quarantine::{lose_as, note};
use crate::row::name::NameRow;
use crate::transaction::Transaction;
use crate::witness::{self, Finding, Seen};

/// What shows that a store was open in the directory before.
pub(crate) fn mark_of_use(dir: &Path) -> io::Result<Option<PathBuf>> {
    let witness = witness::path(dir);
    if witness.try_exists()? {
        return Ok(Some(witness));
    }
    match StateDir::mark_of_use(dir)? {
        None => import::a_segment(dir),
        mark => Ok(mark),
    }
}

/// The database is missing, or empty.
pub(crate) fn is_gone(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.len() == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Moves the log of a database that is gone away: beside another database it would be taken for the log of that one, and it may
/// be needed if the one that is gone comes back.
pub(crate) fn put_log_aside(path: &Path) -> io::Result<()> {
    // Beside the file itself, should its name be a link.
    let path = placed::target(path)?;
    let of = |n: u32| path.with_extension(format!("db.removed-{n}"));
    let is_free = |aside: &PathBuf| companions(aside).iter().all(|log| !log.exists());
    let aside = (1..).map(of).find(is_free).expect("a number is free");
    for (from, to) in companions(&path).iter().zip(companions(&aside)) {
        match fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Notes in a database that is being made what went with the one that was removed, of which `mark` is left.
pub(crate) fn begin(to: &Transaction<'_>, mark: &Path) -> Result<(), Fault> {
    let path = crate::error::database(to.dir());
    follow(to, "the state database that held its record was removed", false)?;
    let why = format!(
        "the state database was removed, and {} shows that it held something: another one was begun, and each name that a \
         lease file names has lost its record{}; to have all back, end the program and put a copy back with `treewarden restore DIR --force`",
        mark.display(),
        in_words(&names(to.db())?)
    );
    note(to.db(), ProblemKind::Removed, &path.display().to_string(), &why, "")
}

/// The first of the lost names, for a person; nothing if none is known.
fn in_words(lost: &LostNames) -> String {
    const SHOWN: usize = 20;
    let names: Vec<_> = lost.names.iter().take(SHOWN).map(|(name, _)| name.as_str()).collect();
    match (names.is_empty(), lost.names.len() - names.len()) {
        (true, _) => String::new(),
        (false, 0) => format!(" ({})", names.join(", ")),
        (false, more) => format!(" ({} and {more} more)", names.join(", ")),
    }
}

/// Notes what went with a database that was damaged, in the one that is made in its place and has what could be read; `why` is
/// said of each name.
pub(crate) fn after_damage(
    db: &Connection,
    dir: &Path,
    why: &str,
    knows_all_names: bool,
) -> Result<(), Fault> {
    in_a_transaction(db, dir, |to| follow(to, why, knows_all_names))
}

/// Loses the names of the database before this one.
fn follow(to: &Transaction<'_>, why: &str, knows_all_names: bool) -> Result<(), Fault> {
    if let Some(Ok(Seen { generation, .. })) = witness::look(to.dir())? {
        meta::put(to.db(), meta::AFTER, generation.as_bytes().as_slice())?;
    }
    lose_named(to, why)?;
    let files = lease_files(to.dir())?;
    // Whose conversation a file is that names nobody is not known; and where there is no file, whether there was a name.
    if !knows_all_names && (files.is_empty() || files.iter().any(|file| file.name.is_none())) {
        meta::put(to.db(), meta::LOST, format!("{why}, and its lease files do not say which names it had"))?;
    }
    Ok(())
}

fn in_a_transaction(
    db: &Connection,
    dir: &Path,
    op: impl FnOnce(&Transaction<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let done = (|| {
        let to = Transaction::of(db, dir)?;
        op(&to)?;
        to.count()?;
        Ok(db.execute_batch("COMMIT")?)
    })();
    if done.is_err() && !db.is_autocommit() {
        db.execute_batch("ROLLBACK")?;
    }
    done
}

/// Each name that a lease file names, and that has no record, is lost.
fn lose_named(to: &Transaction<'_>, why: &str) -> Result<(), Fault> {
    to.leases()?.keys().try_for_each(|name| lose_as(to, name.clone(), why, None))
}

/// What a name is told that the database has no row of; `None` if it never had a record.
pub(crate) fn told_of_others(db: &Connection) -> Result<Option<String>, Fault> {
    Ok(match meta::get(db, meta::LOST)? {
        Some(Value::Text(why)) => Some(why),
        _ => None,
    })
}

/// All names that are known as lost.
pub(crate) fn names(db: &Connection) -> Result<LostNames, Fault> {
    let mut query = db.prepare_cached(&format!(
        "SELECT {} FROM names WHERE lost IS NOT NULL AND record IS NULL ORDER BY name",
        crate::row::name::COLUMNS
    ))?;
    let rows = query.query_map([], NameRow::read)?;
    let mut names = Vec::new();
    for row in rows {
        // One that is damaged is lost as well, and set aside by whoever asks for it.
        if let Ok(NameRow { name, lost: Some(_), lost_id, .. }) = row? {
            names.push((name, lost_id));
        }
    }
    Ok(LostNames { names, others: told_of_others(db)? })
}

/// Has all lost names begin anew, and all problems be over; returns how many names there were.
pub(crate) fn forgive(to: &Transaction<'_>) -> Result<usize, Fault> {
    let LostNames { names, .. } = names(to.db())?;
    for (name, _) in &names {
        if let Some(Ok(mut row)) = NameRow::find(to.db(), name)? {
            (row.lost, row.lost_id) = (None, None);
            row.put(to.db())?;
        }
    }
    meta::put(to.db(), meta::LOST, rusqlite::types::Null)?;
    problems::give_up(to)?;
    Ok(names.len())
}

/// Looks whether the database is the one of which the witness says how far it was, and notes what is missing.
pub(crate) fn compare(db: &Connection, dir: &Path, seen: Option<Result<Seen, Finding>>) -> Result<(), Fault> {
    let found = match &seen {
        None => None,
        Some(Err(finding)) => Some(*finding),
        Some(Ok(seen)) => {
            let (generation, commits) = (generation(db)?, meta::count(db, meta::COMMITS)?.unsigned_abs());
            let after = uuid(db, meta::AFTER)?;
            witness::judge(seen, generation, after, commits, witness::boot().as_deref())
        }
    };
    let Some(finding) = found else { return Ok(()) };
    let at = seen.and_then(Result::ok).map_or(0, |seen| seen.at);
    let (kind, why) = words(finding, at);
    in_a_transaction(db, dir, |to| {
        lose_named(to, "the state database has no record of it any more")?;
        let lost = names(db)?;
        let why = match lost.names.is_empty() {
            true => why,
            false => format!("{why}; names have lost their records{}", in_words(&lost)),
        };
        note(db, kind, &crate::error::database(dir).display().to_string(), &why, "")
    })
}

fn words(finding: Finding, at: u64) -> (ProblemKind, String) {
    let at = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at));
    match finding {
        Finding::Cut { missing: 0 } => (
            ProblemKind::Cut,
            format!("the machine went down some time after {at} while the state database was open; its newest commits may be missing"),
        ),
        Finding::Cut { missing } => (
            ProblemKind::Cut,
            format!(
                "the machine went down some time after {at} while the state database was open; {missing} commits that were made \
                 by then are missing, and later ones may be"
            ),
        ),
        Finding::Older { missing } => (
            ProblemKind::Older,
            format!(
                "the state database is an older copy, or its log was removed: {missing} commits that were stored by {at} are \
                 missing, so the newest turns may be"
            ),
        ),
        Finding::Another => (
            ProblemKind::Older,
            format!("the state database is another one than that which was in use at {at}; the newest turns of that may be missing"),
        ),
        Finding::Unreadable => (
            ProblemKind::Older,
            "what says beside the state database how far that was cannot be read; whether the newest turns are there is not known"
                .to_owned(),
        ),
    }
}

/// The generation of a database.
pub(crate) fn generation(db: &Connection) -> Result<Uuid, Fault> {
    // One that cannot be read is none that a witness can know.
    Ok(uuid(db, meta::GENERATION)?.unwrap_or_default())
}

fn uuid(db: &Connection, key: &str) -> Result<Option<Uuid>, Fault> {
    Ok(match meta::get(db, key)? {
        Some(Value::Blob(bytes)) => Uuid::from_slice(&bytes).ok(),
        _ => None,
    })
}
