//! Sets a damaged database aside, so that no moment has none under its name; the new one has what can be read of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use treewarden_store::ProblemKind;
use treewarden_store::dir::companions;

use super::{File, open_file, salvage};
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
    let numbered = |n: u32| path.with_extension(format!("db.corrupt-{n}"));
    let aside = (1..).map(numbered).find(|aside| !aside.exists()).expect("a number is free");
    let fresh = path.with_extension("db.new");
    for left in companions(&fresh).iter().chain([&fresh]) {
        fs::remove_file(left).or_else(if_there)?;
    }
    let File::Ready(db) = open_file(&fresh, options, Who::InPlaceOfDamaged)? else {
        unreachable!("nobody else knows the file")
    };
    let carried = salvage::carry_over(path, &db, options)?;
    quarantine::note(&db, ProblemKind::Database, &aside.to_string_lossy(), &format!("{why}; {carried}"), "")?;
    // After what could be read: a name that has its record is not lost.
    lost::after_damage(&db, path.parent().unwrap_or(path), carried.knows_all_names)?;
    // One file and no log, which would stay behind under another name.
    db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error)?;
    // First: a log that still stood there would be taken for that of the new database.
    for (from, to) in companions(path).iter().zip(companions(&aside)) {
        fs::rename(from, to).or_else(if_there)?;
    }
    // Where the file system has no second names, the name is free for a moment.
    fs::hard_link(path, &aside).or_else(|_| fs::rename(path, &aside))?;
    fs::rename(&fresh, path)?;
    // The note was of the one that is set aside.
    fs::remove_file(to_be_read(path)).or_else(if_there)?;
    Ok(aside)
}

/// What is not there is no failure.
pub(crate) fn if_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
