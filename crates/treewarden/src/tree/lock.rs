//! One tree for each state directory: an OS lock that its holder's death frees, however it dies.
//!
//! The lock file is never removed, so that two trees can never lock two files of one name.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::error::TreeError;

/// The right to run a tree on a state directory; dropping it gives it up.
#[derive(Debug)]
#[must_use = "dropping the lock gives it up"]
pub(super) struct TreeLock {
    _file: File,
}

impl TreeLock {
    /// Takes the lock without waiting, and makes the directory if it is missing.
    pub(super) fn take(dir: &Path) -> Result<Self, TreeError> {
        let failed = |error: std::io::Error| TreeError::state(format!("lock {}: {error}", dir.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(dir.join("tree.lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(TreeError::held(dir, pid));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let pid = format!("{}\n", std::process::id());
        let write =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes()));
        write.map_err(failed)?;
        Ok(Self { _file: file })
    }
}
