//! What is known of CLI programs: which refused a flag that was tried on them, from which paths one has come up, and which
//! version they said they are.
//!
//! Whether a program knows a flag cannot be asked without starting it, and an older one ends at an unknown flag. So a
//! flag is tried with the start of a session's own CLI, once for each program file; what was refused is remembered for
//! as long as the host lives. A file that is replaced is another program, and is tried anew.
//!
//! A path from which a CLI has come up is the right one: what is not there now is being replaced, and is waited for.
//!
//! This is not the place for variables of the environment: a program that does not know one ignores it, so that none is
//! tried.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Makes a CLI wait for `initialize` before it goes on with a turn of its predecessor; unknown to 2.1.197.
pub(crate) const AWAIT_INITIALIZE: &str = "--await-initialize";

/// How many programs are remembered; a host that is given more of them tries a flag once more.
const REMEMBERED: usize = 256;

/// A program file, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Binary {
    path: PathBuf,
    len: u64,
    modified: Option<SystemTime>,
}

impl Binary {
    /// Looks at the file; `None` if there is none, which its start will say.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let meta = path.metadata().ok()?;
        // Where the file system keeps no times, the length alone tells one program from the next.
        Some(Self { path: path.to_owned(), len: meta.len(), modified: meta.modified().ok() })
    }
}

/// What is known of programs.
#[derive(Debug, Default)]
pub(crate) struct Binaries {
    /// Those that refused [`AWAIT_INITIALIZE`].
    refused: Mutex<HashSet<Binary>>,
    versions: Mutex<HashMap<Binary, String>>,
    seen: Mutex<HashSet<PathBuf>>,
}

impl Binaries {
    /// The program, if the flag may be tried on it.
    pub(crate) fn on_trial(&self, path: &Path) -> Option<Binary> {
        let binary = Binary::of(path)?;
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        (!refused.contains(&binary)).then_some(binary)
    }

    /// Notes that a CLI has come up from this path.
    pub(crate) fn came_up(&self, path: &Path) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(path) {
            return;
        }
        // What is forgotten is refused at once when it is away, as a path that was never seen.
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(path.to_owned());
    }

    /// Tells whether a CLI has come up from this path.
    pub(crate) fn has_come_up(&self, path: &Path) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// Notes that the program ended at the flag.
    pub(crate) fn refused(&self, binary: Binary) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        // All at once: what is forgotten is tried once more, and each trial costs one start.
        if refused.len() >= REMEMBERED {
            refused.clear();
        }
        refused.insert(binary);
    }

    /// The version that the program said it is.
    pub(crate) fn version(&self, binary: &Binary) -> Option<String> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(binary).cloned()
    }

    /// Notes what the program said.
    pub(crate) fn set_version(&self, binary: Binary, version: String) {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        // As above: what is forgotten is asked once more.
        if versions.len() >= REMEMBERED {
            versions.clear();
        }
        versions.insert(binary, version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_said_is_known_as_long_as_its_file_is_the_same() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("claude");
        let binaries = Binaries::default();
        std::fs::write(&path, "\x7fELF").expect("it can be written");
        let binary = Binary::of(&path).expect("it is there");
        binaries.set_version(binary.clone(), "2.1.332".to_owned());
        assert_eq!(binaries.version(&binary).as_deref(), Some("2.1.332"));
        std::fs::write(&path, "#!/bin/sh\n").expect("it can be written");
        let other = Binary::of(&path).expect("it is there");
        assert_eq!(binaries.version(&other), None);
    }

    #[test]
    fn a_program_that_refused_is_not_tried_again_until_its_file_is_another() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("claude");
        let binaries = Binaries::default();
        assert_eq!(binaries.on_trial(&path), None, "there is nothing to try");
        std::fs::write(&path, "old").expect("it can be written");
        let tried = binaries.on_trial(&path).expect("it was never tried");
        binaries.refused(tried);
        assert_eq!(binaries.on_trial(&path), None);
        std::fs::write(&path, "newer").expect("it can be written");
        assert!(binaries.on_trial(&path).is_some(), "another program lies there now");
    }
}
