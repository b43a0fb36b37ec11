//! One writer for each conversation: an OS lock that its holder's death frees, however it dies.
//!
//! The lock file is never removed, so two holders can never lock two files of one name.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use treewarden_proto::{SessionId, SessionName};

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// When the process started, in clock ticks since boot; 0 where the system does not say.
    pub started: u64,
    /// Its machine.
    pub host: String,
    /// The session's name there.
    pub name: SessionName,
}

impl Holder {
    /// This process, for the session `name`.
    pub fn this_process(name: &SessionName) -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The command's name may hold spaces and parentheses; the fields begin after the last one.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let started = fields.split(' ').nth(19).and_then(|field| field.parse().ok()).unwrap_or(0);
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        Self { pid: std::process::id(), started, host, name: name.clone() }
    }
}

/// A lease that was refused.
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
            (None, Some(by)) => write!(f, "session {} of process {} on {}", by.name, by.pid, by.host),
            (None, None) => f.write_str("another process"),
        }
    }
}

impl std::error::Error for Held {}

/// The right to write one conversation; dropping it gives it up.
#[derive(Debug)]
#[must_use = "dropping a lease gives it up"]
pub struct Lease {
    _file: File,
}

impl Lease {
    /// Takes the lease of a conversation, without waiting.
    ///
    /// # Errors
    ///
    /// [`Held`] if another process or session holds it, or the lock cannot be tried.
    pub fn acquire(dir: &Path, id: SessionId, holder: &Holder) -> Result<Self, Held> {
        let failed = |error: std::io::Error| Held { by: None, error: Some(error.to_string()) };
        let leases = dir.join("leases");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&leases).map_err(failed)?;
        let path = leases.join(format!("{id}.lock"));
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                let by = file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str(&text).ok());
                return Err(Held { by, error: None });
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        let text = serde_json::to_vec(holder).map_err(|error| failed(error.into()))?;
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&text)).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
