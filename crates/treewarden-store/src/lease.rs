//! One writer for each conversation, one tree for each state directory.
//!
//! Both are locks of the operating system, free when their holder dies, however it dies. They keep two holders apart;
//! they do not tell whether the holder's CLI is gone.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use treewarden_proto::{SessionId, SessionName};

use crate::lock::LockFile;

/// Who holds a lease or a tree lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// When the process started, in clock ticks since boot; 0 where the system does not say.
    pub started: u64,
    /// Its machine.
    pub host: String,
    /// The name of the session, or of the tree.
    pub name: SessionName,
}

impl Holder {
    /// This process, for the session or tree `name`.
    pub fn this_process(name: &SessionName) -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The command's name may hold spaces and parentheses; the fields begin after the last one.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let started = fields.split(' ').nth(19).and_then(|field| field.parse().ok()).unwrap_or(0);
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Self { pid: std::process::id(), started, host, name: name.clone() }
    }
}

/// A lease or tree lock that was refused; its text says who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The holder, if it could be read.
    pub by: Option<Holder>,
    /// Why the lock could not be tried, if it could not.
    pub error: Option<String>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.error, &self.by) {
            (Some(error), _) => write!(f, "nobody known (its lock cannot be tried: {error})"),
            (None, Some(by)) => write!(f, "{} of process {} on {}", by.name, by.pid, by.host),
            (None, None) => f.write_str("another process"),
        }
    }
}

impl std::error::Error for Held {}

/// The right to write one conversation; dropping it gives it up.
#[derive(Debug)]
#[must_use = "dropping a lease gives it up"]
pub struct Lease {
    lock: LockFile,
}

impl Lease {
    /// Takes the lease of a conversation, without waiting for its holder.
    ///
    /// # Errors
    ///
    /// [`Held`] if another process or session holds it, or the lock cannot be tried.
    pub fn acquire(dir: &Path, id: SessionId, holder: &Holder) -> Result<Self, Held> {
        let leases = dir.join("leases");
        make_dir(&leases)?;
        Ok(Self { lock: LockFile::acquire(&leases.join(format!("{id}.lock")), holder)? })
    }

    /// Writes another name into the lease: from now on `holder` has it.
    ///
    /// # Errors
    ///
    /// Whatever the system says to a write; the lease is held all the same.
    pub fn hand_over(&self, holder: &Holder) -> io::Result<()> {
        self.lock.write(holder)
    }

    /// Gives up the lease of a conversation that never was, and removes its file.
    pub fn forget(self) {
        self.lock.remove();
    }
}

/// The right to run the tree of a state directory; dropping it gives it up.
#[derive(Debug)]
#[must_use = "dropping a tree lock gives it up"]
pub struct TreeLock {
    _lock: LockFile,
}

impl TreeLock {
    /// Takes the lock of the state directory `dir`, without waiting for its holder.
    ///
    /// # Errors
    ///
    /// [`Held`] if another tree holds it, in this process or another, or the lock cannot be tried.
    pub fn acquire(dir: &Path, holder: &Holder) -> Result<Self, Held> {
        make_dir(dir)?;
        Ok(Self { _lock: LockFile::acquire(&dir.join("tree.lock"), holder)? })
    }
}

fn make_dir(dir: &Path) -> Result<(), Held> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Held { by: None, error: Some(error.to_string()) })
}
