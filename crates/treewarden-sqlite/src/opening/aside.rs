//! Sets a damaged database aside, so that no moment has none under its name; the new one has what can be read of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use treewarden_store::dir::companions;
use treewarden_store::{ProblemKind, placed};

use super::salvage::{self, Carried};
use super::{File, open_file};
use crate::error::Fault;
use crate::lost;
use crate::options::SqliteOptions;
use crate::place::to_be_read;
use crate::quarantine;
use crate::schema::Who;

/// Moves the database and its companions away, to the first free number, and puts a new one there, which says so.
///
/// The new one is whole before it has its name, and the name is never free: whoever is killed here must not leave a
/// directory whose database seems to have been removed.
pub(super) fn set_aside(path: &Path, options: &SqliteOptions, why: &str) -> Result<PathBuf, Fault> {
    // A link stays one: what it leads to may be on another disk, which has the room.
    let at = placed::target(path)?;
    let numbered = |n: u32| at.with_extension(format!("db.corrupt-{n}"));
    let aside = (1..).map(numbered).find(|aside| !aside.exists()).expect("a number is free");
    let fresh = at.with_extension("db.new");
    let (dir, key, who) = (path.parent().unwrap_or(path), &aside.to_string_lossy(), Who::InPlaceOfDamaged);
    let begun = Begun { dir, who, key, why, lost: LOST };
    carried_anew(&fresh, salvage::open_to_read(&at, options).ok(), options, &begun)?;
    // First: a log that still stood there would be taken for that of the new database.
    for (from, to) in companions(&at).iter().zip(companions(&aside)) {
        fs::rename(from, to).or_else(if_there)?;
    }
    // Where the file system has no second names, the name is free for a moment.
    fs::hard_link(&at, &aside).or_else(|_| fs::rename(&at, &aside))?;
    fs::rename(&fresh, &at)?;
    // The note was of the one that is set aside.
    fs::remove_file(to_be_read(path)).or_else(if_there)?;
    Ok(aside)
}

const LOST: &str = "the state database that held its record was damaged, and is set aside";

/// Why a database is begun with what can be read of a damaged one.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    /// The state directory.
    pub(crate) dir: &'a Path,
    /// In whose place.
    pub(crate) who: Who,
    /// What is damaged, and in which words.
    pub(crate) key: &'a str,
    pub(crate) why: &'a str,
    /// What is said of a name whose record is lost with it.
    pub(crate) lost: &'a str,
}

/// Makes a database, whole and in one file, with what can be read of a damaged one, if that can be opened.
pub(crate) fn carried_anew(
    fresh: &Path,
    damaged: Option<Connection>,
    options: &SqliteOptions,
    begun: &Begun<'_>,
) -> Result<Carried, Fault> {
    for left in companions(fresh).iter().map(PathBuf::as_path).chain([fresh]) {
        fs::remove_file(left).or_else(if_there)?;
    }
    let File::Ready(db) = open_file(fresh, options, begun.who)? else {
        unreachable!("nobody else knows the file")
    };
    let Begun { dir, key, why, lost, .. } = begun;
    let carried = salvage::carry_over(damaged, &db, dir)?;
    quarantine::note(
        &db,
        ProblemKind::Database,
        key,
        &format!("{why}; {carried}; what could be read is kept"),
        "",
    )?;
    // After what could be read: a name that has its record is not lost.
    lost::after_damage(&db, dir, lost, carried.knows_all_names)?;
    // One file and no log, which would stay behind under another name.
    db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)?;
    Ok(carried)
}

/// What is not there is no failure.
pub(crate) fn if_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
