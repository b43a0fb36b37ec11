//! One tree for each state directory.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::door::Door;
use crate::lock::{LockError, LockFile};
use crate::{Held, Holder, dir};

/// The right to run the tree of a state directory; dropping it gives it up.
#[derive(Debug)]
#[must_use = "dropping a tree lock gives it up"]
pub struct TreeLock {
    path: PathBuf,
    /// `None` once it is given up.
    held: Mutex<Option<(LockFile, Door)>>,
}

impl TreeLock {
    /// Takes the lock of the state directory `dir`, without waiting for its holder.
    ///
    /// # Errors
    ///
    /// [`Held`] if another tree holds it, in this process or another, or the lock cannot be tried.
    pub fn acquire(dir: &Path, holder: &Holder) -> Result<Self, Held> {
        dir::prepare_dir(dir).map_err(Held::unknown)?;
        let path = dir.join("tree.lock");
        let lock = LockFile::acquire(&path, holder).map_err(held)?;
        // The file may have been removed from under another tree, and then ours is another file.
        let door = Door::close(dir)?;
        Ok(Self { path, held: Mutex::new(Some((lock, door))) })
    }

    /// Looks whether the lock still keeps others away: if its file was removed it is made anew, and its path returned.
    ///
    /// # Errors
    ///
    /// [`Held`] if another has it meanwhile, or it cannot be made.
    pub fn look_again(&self) -> Result<Option<PathBuf>, Held> {
        match self.lock().as_mut() {
            Some((lock, door)) if !lock.is_in_place() => {
                door.sweep();
                lock.again().map_err(held)?;
                Ok(Some(self.path.clone()))
            }
            Some((_, door)) => {
                door.sweep();
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Gives it up, whoever else has the value.
    pub fn release(&self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<(LockFile, Door)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn held(error: LockError) -> Held {
    match error {
        LockError::Held(by) => Held::by(by),
        LockError::Meaningless => Held::unknown("its file system gives one lock to everybody"),
        LockError::Failed(error) => Held::unknown(error),
    }
}
