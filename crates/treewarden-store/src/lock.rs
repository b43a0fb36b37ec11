//! A file that one holder locks: what leases and the tree lock are made of.
//!
//! The lock is the operating system's (`flock`), so the holder's death frees it, however it dies. The file is
//! removed only with a lease that nobody else can ask for: with removal, two holders could lock two files of one name
//! if they did not look where the file is. It is closed on exec, so that no child keeps it.
//! It is not for network file systems that keep `flock` on one machine only.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Held, Holder};

/// How often a holder that is just writing itself in is read again, a millisecond apart.
const READS: u32 = 20;

/// A locked file; dropping it frees the lock.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Locks `path` without waiting for its holder, and writes `holder` into it.
    pub(crate) fn acquire(path: &Path, holder: &Holder) -> Result<Self, Held> {
        let failed = |error: io::Error| Held { by: None, error: Some(error.to_string()) };
        loop {
            let file = open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Held { by: read_holder(&file), error: None }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Somebody may have removed the file between the opening and the lock: a lock on it guards nothing.
            if !is_at(&file, path) {
                continue;
            }
            let lock = Self { file, path: path.to_owned() };
            lock.write(holder).map_err(failed)?;
            return Ok(lock);
        }
    }

    /// Frees the lock and removes its file, which whoever opened it meanwhile notices.
    pub(crate) fn remove(self) {
        let _left = fs::remove_file(&self.path);
    }

    pub(crate) fn write(&self, holder: &Holder) -> io::Result<()> {
        let mut text = serde_json::to_vec(holder)?;
        text.push(b'\n');
        self.file.set_len(0)?;
        self.file.write_all_at(&text, 0)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Unlocked by name and not only closed: a child that is being forked just now still has a copy of it.
        let _emptied = self.file.set_len(0);
        let _unlocked = self.file.unlock();
    }
}

/// Opens a lock file, which is made if it is missing; the standard library opens it close-on-exec.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let place = |meta: &fs::Metadata| (meta.dev(), meta.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if place(&a) == place(&b))
}

fn read_holder(file: &File) -> Option<Holder> {
    for _ in 0..READS {
        let mut text = vec![0; 4096];
        let len = file.read_at(&mut text, 0).ok()?;
        if let Ok(holder) = serde_json::from_slice(&text[..len]) {
            return Some(holder);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}
