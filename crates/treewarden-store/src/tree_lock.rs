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
    held: Mutex<Option<Locks>>,
}

// The order of the drops: the reverse of that in which they are taken. A successor that gets the file gets the door as well;
// refused that, it would take the directory for held.
#[derive(Debug)]
struct Locks {
    door: Door,
    file: LockFile,
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
        let file = LockFile::acquire(&path, holder).map_err(held)?;
        // The file may have been removed from under another tree, and then ours is another file.
        let door = Door::close(dir)?;
        Ok(Self { path, held: Mutex::new(Some(Locks { door, file })) })
    }

    /// Looks whether the lock still keeps others away: if its file was removed it is made anew, and its path returned.
    ///
    /// # Errors
    ///
    /// [`Held`] if another has it meanwhile, or it cannot be made.
    pub fn look_again(&self) -> Result<Option<PathBuf>, Held> {
        match self.lock().as_mut() {
            Some(Locks { door, file }) if !file.is_in_place() => {
                door.sweep();
                file.again().map_err(held)?;
                Ok(Some(self.path.clone()))
            }
            Some(Locks { door, .. }) => {
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

    fn lock(&self) -> MutexGuard<'_, Option<Locks>> {
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

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::{Duration, Instant};

    use treewarden_proto::SessionName;

    use super::*;

    #[test]
    fn whoever_gets_the_file_of_a_holder_that_leaves_gets_its_names_as_well() {
        let dir = tempfile::tempdir().expect("a folder");
        let holder = Holder::this_process(&SessionName::new("one").expect("a valid name"));
        for round in 0..100 {
            let tree = TreeLock::acquire(dir.path(), &holder).expect("free");
            let at_it = Barrier::new(2);
            std::thread::scope(|scope| {
                let successor = scope.spawn(|| {
                    let file = crate::lock::open(&dir.path().join("tree.lock")).expect("opened");
                    at_it.wait();
                    file.lock().expect("locked");
                    Door::close(dir.path()).map(drop)
                });
                at_it.wait();
                drop(tree);
                let closed = successor.join().expect("no panic");
                assert!(closed.is_ok(), "refused in round {round}: {closed:?}");
            });
            // A name that was held for a moment only is free a moment later.
            let until = Instant::now() + Duration::from_secs(60);
            while let Err(held) = TreeLock::acquire(dir.path(), &holder).map(drop) {
                assert!(Instant::now() < until, "{held}");
            }
        }
    }
}
