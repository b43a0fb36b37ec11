//! What is spawned, and the mark by which its processes are found again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::host::Host;

/// The variable that carries the session's cookie to every process of its tree.
pub(crate) const COOKIE: &str = "TREEWARDEN_SESSION";

/// The variable that names the host, by process id and start time.
pub(crate) const HOST: &str = "TREEWARDEN_HOST";

/// The variable that names one tree of one host: a session may have another by the time this one is ended.
pub(crate) const TREE: &str = "TREEWARDEN_TREE";

/// A program to spawn.
///
/// Its environment is exactly `env` and the marks of the tree; nothing is inherited. `Debug` shows no values.
#[derive(Clone)]
pub struct Program {
    /// The file to execute; a name without a slash is searched in the `PATH` of `env`.
    pub path: PathBuf,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: BTreeMap<OsString, OsString>,
    /// Its working directory.
    pub cwd: PathBuf,
}

impl Program {
    /// The file that `path` means; `None` if it is a name that is not on the `PATH`.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        if self.path.as_os_str().as_encoded_bytes().contains(&b'/') {
            return Some(self.path.clone());
        }
        let path = self.env.get(OsStr::new("PATH"))?;
        std::env::split_paths(path)
            .map(|dir| self.cwd.join(dir).join(&self.path))
            .find(|file| is_executable(file))
    }
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&OsStr> = self.env.keys().map(OsString::as_os_str).collect();
        f.debug_struct("Program")
            .field("path", &self.path)
            .field("args", &self.args.len())
            .field("env", &names)
            .field("cwd", &self.cwd)
            .finish()
    }
}

/// The mark of one session's processes: whatever carries it belongs to the tree, wherever it went.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cookie(String);

impl Cookie {
    /// Makes the cookie of a session; `id` must be unique to it.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The cookie as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The mark of one tree, which no other tree of any host has.
#[derive(Debug)]
pub(crate) struct TreeId(String);

impl TreeId {
    /// Makes the mark of the next tree of this host.
    pub(crate) fn next() -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        // `Relaxed`: the number must only be given once, and nothing is published by it.
        let id = format!("{}:{}", Host::own(), SERIAL.fetch_add(1, Ordering::Relaxed));
        // Before any process can carry the mark: in a look at this moment it would be the mark of no live
        // tree, and its bearer anybody's orphan.
        live().insert(id.clone());
        Self(id)
    }

    /// Tells whether a tree of this host has this mark, and is not known to be gone.
    pub(crate) fn is_live(mark: &str) -> bool {
        live().contains(mark)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Drop for TreeId {
    fn drop(&mut self) {
        live().remove(&self.0);
    }
}

/// The marks of the trees of this host.
fn live() -> MutexGuard<'static, BTreeSet<String>> {
    static LIVE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}
