//! A database of several names: one file, which is used by one name alone.
//!
//! A folder that was copied by hard links (`cp -al`, rsnapshot) has the same database by another name. SQLite keeps the log beside
//! the name by which it opens a database: by another name there is another log, or one of the day of the copy, of which the
//! pages would be put over newer ones. Two trees at one time meet at the lock files, which have two names as well. This is against the one
//! after the other, and against folders that share the database alone. What is noted for it stands in the lock file beside the
//! database; a database of one name is never refused.
//!
//! ```text
//! database=<inode> folder=<inode>
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use treewarden_store::StoreErrorKind;

use crate::error::{Fault, refused};

/// The longest note.
const LENGTH: usize = 64;

/// In which folder a database was opened. Names of one file are on one filesystem, where a folder's number says which it is,
/// after a move or at another mount too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    database: u64,
    folder: u64,
}

impl Note {
    fn read(lock: &File) -> Option<Self> {
        let mut bytes = [0; LENGTH];
        let length = lock.read_at(&mut bytes, 0).ok()?;
        let (database, folder) = std::str::from_utf8(&bytes[..length]).ok()?.trim_end().split_once(' ')?;
        Some(Self {
            database: database.strip_prefix("database=")?.parse().ok()?,
            folder: folder.strip_prefix("folder=")?.parse().ok()?,
        })
    }

    fn write(self, lock: &File) -> io::Result<()> {
        let Self { database, folder } = self;
        let text = format!("database={database} folder={folder}\n");
        lock.write_all_at(text.as_bytes(), 0)?;
        lock.set_len(text.len() as u64)
    }
}

/// Refuses a database of several names that was last opened in another folder.
///
/// `lock` is the open lock file beside it, on which the caller has a lock.
pub(crate) fn refuse_another(path: &Path, lock: &File) -> Result<(), Fault> {
    let Some((here, names)) = here(path).filter(|(_, names)| *names > 1) else { return Ok(()) };
    if Note::read(lock).is_some_and(|noted| noted.database == here.database && noted != here) {
        let why = format!(
            "it is one file of {names} names (hard links, as `cp -al` and rsnapshot make them), and was used by another of them \
             last: here an older log may lie beside it, which would be put over what was stored since. Use the folder in which it \
             was used last. A copy is made by `treewarden backup`, or of the whole folder by `cp -a` while no tree runs"
        );
        return Err(refused(path, StoreErrorKind::Other, &why));
    }
    tracing::warn!(
        path = %path.display(),
        "the state database has another name (a hard link, as `cp -al` and rsnapshot make them), which is no copy of it: what \
         changes here changes there; `treewarden backup` makes one"
    );
    Ok(())
}

/// Notes that a database is used here, once it is open: before that there may be none, and what has one name may get others at any
/// time.
pub(crate) fn note(path: &Path, lock: &File) {
    let Some((here, _)) = here(path).filter(|(here, _)| Note::read(lock) != Some(*here)) else { return };
    if let Err(error) = here.write(lock) {
        // A full disk is no reason to refuse what can be read.
        tracing::debug!(%error, "it cannot be noted where the state database is used");
    }
}

/// Which database is at a path, where, and how many names it has; `None` where there is none.
fn here(path: &Path) -> Option<(Note, u64)> {
    // Where its log is: beside the file itself, should the name be a link.
    let real = fs::canonicalize(path).ok()?;
    let (meta, folder) = (fs::metadata(&real).ok()?, fs::metadata(real.parent()?).ok()?);
    Some((Note { database: meta.ino(), folder: folder.ino() }, meta.nlink()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_several_names_is_used_in_the_folder_in_which_it_was_used_last() {
        let dir = tempfile::tempdir().expect("a folder");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        for folder in [&one, &two] {
            fs::create_dir(folder).expect("made");
        }
        let lock = |folder: &Path| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            options.open(folder.join("lock")).expect("opened")
        };
        let (first, second) = (one.join("treewarden.db"), two.join("treewarden.db"));
        let opened = |path: &Path| {
            let lock = lock(path.parent().expect("a folder"));
            refuse_another(path, &lock).map(|()| note(path, &lock))
        };
        opened(&first).expect("there is none yet");
        fs::write(&first, "").expect("written");
        opened(&first).expect("it has one name");
        fs::hard_link(&first, &second).expect("linked");
        fs::hard_link(one.join("lock"), two.join("lock")).expect("linked");
        let said = opened(&second).expect_err("refused").to_string();
        assert!(said.contains("one file of 2 names") && said.contains("two/treewarden.db"), "{said}");
        opened(&first).expect("as before");
        // Also where the folder has another path by now.
        let moved = dir.path().join("moved");
        fs::rename(&one, &moved).expect("moved");
        let first = moved.join("treewarden.db");
        opened(&first).expect("as before");
        // A real copy is another file.
        let copy = dir.path().join("copy");
        fs::copy(&second, &copy).expect("copied");
        fs::rename(&copy, &second).expect("moved");
        opened(&second).expect("a file of its own");
        // The note in the lock that both have is of the other database, and says nothing of this one.
        fs::hard_link(&first, dir.path().join("third")).expect("linked");
        opened(&first).expect("as before");
    }
}
