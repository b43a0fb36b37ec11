//! What is asked of a machine, and how this one answers.
//!
//! It is for questions, and judges none of the answers: what is a fault and what a warning is `mod.rs`'s. It must never change anything,
//! nor wait for a file that never ends.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use treewarden_store::placed;

/// The largest file that is read; the CLI is given none that is larger.
const LIMIT: u64 = 16 << 20;

/// What is at a path, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A folder.
    Folder,
    /// A regular file, which somebody may execute, or nobody.
    File {
        /// Whether its mode lets anybody execute it.
        executable: bool,
    },
    /// A pipe, a socket or a device.
    Other,
}

/// What [`check`](crate::config::check()) asks of a machine.
///
/// A program that checks files for another machine answers for that one.
///
/// # Examples
///
/// A machine on which nothing is there yet:
///
/// ```
/// use std::ffi::OsString;
/// use std::io;
/// use std::path::{Path, PathBuf};
///
/// use treewarden::config::{ChildTypes, Found, Look, check};
///
/// struct Bare;
///
/// impl Look for Bare {
///     fn at(&self, _: &Path) -> io::Result<Found> {
///         Err(io::ErrorKind::NotFound.into())
///     }
///
///     fn may_enter(&self, _: &Path) -> io::Result<()> {
///         Err(io::ErrorKind::NotFound.into())
///     }
///
///     fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
///         Err(io::ErrorKind::NotFound.into())
///     }
///
///     fn variables(&self) -> Vec<(OsString, OsString)> {
///         Vec::new()
///     }
///
///     fn folder(&self) -> Option<PathBuf> {
///         Some("/srv".into())
///     }
/// }
///
/// let dir = tempfile::tempdir()?;
/// let file = dir.path().join("treewarden.toml");
/// std::fs::write(&file, "[[child]]\nname = \"a\"\ncwd = \"/srv/chat\"")?;
/// let checked = check(&file, &ChildTypes::default(), &Bare)?;
/// assert!(checked.faults.is_none(), "what is absent may be there when the tree is started");
/// assert!(checked.warnings.to_string().contains("/srv/chat"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Look {
    /// What is at a path.
    ///
    /// # Errors
    ///
    /// Nothing is, or it cannot be looked at.
    fn at(&self, path: &Path) -> io::Result<Found>;

    /// Whether the user may enter a folder.
    ///
    /// # Errors
    ///
    /// What is said instead.
    fn may_enter(&self, folder: &Path) -> io::Result<()>;

    /// Reads a regular file, up to a limit.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is larger.
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;

    /// The variables that the tree would inherit.
    fn variables(&self) -> Vec<(OsString, OsString)>;

    /// The folder in which the tree would be started.
    fn folder(&self) -> Option<PathBuf>;
}

/// This machine, as this process sees it: its user, its variables, its folder.
#[derive(Debug, Clone, Copy, Default)]
pub struct Here;

impl Look for Here {
    fn at(&self, path: &Path) -> io::Result<Found> {
        let meta = path.metadata()?;
        Ok(match () {
            () if meta.is_dir() => Found::Folder,
            () if meta.is_file() => Found::File { executable: meta.permissions().mode() & 0o111 != 0 },
            () => Found::Other,
        })
    }

    fn may_enter(&self, folder: &Path) -> io::Result<()> {
        Ok(access(folder, Access::EXEC_OK)?)
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        placed::read_elsewhere(file, LIMIT)
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        std::env::vars_os().collect()
    }

    fn folder(&self) -> Option<PathBuf> {
        std::env::current_dir().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_tells_folders_from_files_and_programs() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("file");
        std::fs::write(&file, "text").expect("written");
        assert_eq!(Here.at(dir.path()).expect("there"), Found::Folder);
        assert_eq!(Here.at(&file).expect("there"), Found::File { executable: false });
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).expect("ours");
        assert_eq!(Here.at(&file).expect("there"), Found::File { executable: true });
        assert_eq!(Here.at(Path::new("/dev/null")).expect("there"), Found::Other);
        assert_eq!(Here.at(&dir.path().join("none")).expect_err("none").kind(), io::ErrorKind::NotFound);
        assert_eq!(Here.read(&file).expect("read"), b"text");
        assert!(Here.may_enter(dir.path()).is_ok() && Here.may_enter(&dir.path().join("none")).is_err());
    }
}
