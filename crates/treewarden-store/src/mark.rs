//! Whether a state directory was used before: one that was, and has no database any more, is not begun anew in silence.
//!
//! What a session's name stands for is in the database alone. Without it each name would begin with a blank conversation.
//! The marks are made by a store that is open, and so only where the database was made before them: a first opening that is
//! cut short leaves none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::dir::companions;
use crate::{StoreError, StoreErrorKind, host_id, lease_place, tail};

/// Refuses a directory that was used before and whose database is missing or empty.
///
/// # Errors
///
/// [`StoreErrorKind::Removed`], or whatever the system says.
pub fn refuse_lost(dir: &Path, database: &Path) -> Result<(), StoreError> {
    // The mark first: another process may be making both just now, the database before the mark.
    let Some(mark) = of_earlier_use(dir)? else { return Ok(()) };
    let state = match fs::metadata(database) {
        Ok(meta) if meta.len() > 0 => return Ok(()),
        Ok(_) => "is empty",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "was removed",
        Err(error) => return Err(error.into()),
    };
    let log = companions(database).into_iter().find(|log| log.exists());
    // Replayed into an older copy, it would damage that.
    let of_log = log.map_or_else(String::new, |log| {
        format!(" ({} is of the one that is gone: keep it only if that very one comes back)", log.display())
    });
    let why = format!(
        "open {database}: it {state}, and {mark} shows that it held something: which conversation each session has, and the \
         turns; put a copy of it back{of_log}, or remove {dir} to begin with new conversations",
        database = database.display(),
        mark = mark.display(),
        dir = dir.display()
    );
    Err(StoreError::new(StoreErrorKind::Removed, why))
}

/// The first thing that is there which only a store that was open can have left.
///
/// # Errors
///
/// Whatever the system says.
pub fn of_earlier_use(dir: &Path) -> io::Result<Option<PathBuf>> {
    let id = host_id::path(dir);
    if id.try_exists()? {
        return Ok(Some(id));
    }
    // A cleaner may have taken the id too; a lease that is held is made anew by its holder.
    match fs::read_dir(lease_place::earlier_folder(dir)) {
        Ok(mut leases) => {
            if let Some(lease) = leases.next() {
                return Ok(Some(lease?.path()));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    tail::a_segment(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_found_and_an_empty_folder_is_none() {
        for mark in ["host-id", "leases/a.lock", "turns-3.log"] {
            let dir = tempfile::tempdir().expect("a folder");
            let (database, mark) = (dir.path().join("treewarden.db"), dir.path().join(mark));
            fs::create_dir(dir.path().join("leases")).expect("made");
            fs::write(dir.path().join("treewarden.db.lock"), "").expect("written");
            refuse_lost(dir.path(), &database).expect("a directory that was not used yet");
            fs::write(&mark, "").expect("written");
            let said = refuse_lost(dir.path(), &database).expect_err("refused").to_string();
            assert!(said.contains("was removed") && said.contains(&mark.display().to_string()), "{said}");
            fs::write(dir.path().join("treewarden.db-wal"), "").expect("written");
            let said = refuse_lost(dir.path(), &database).expect_err("refused").to_string();
            assert!(said.contains("treewarden.db-wal is of the one that is gone"), "{said}");
            fs::write(&database, "").expect("written");
            let said = refuse_lost(dir.path(), &database).expect_err("refused").to_string();
            assert!(said.contains("is empty"), "{said}");
            fs::write(&database, "something").expect("written");
            refuse_lost(dir.path(), &database).expect("it is there");
        }
    }
}
