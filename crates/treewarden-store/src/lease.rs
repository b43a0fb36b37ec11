//! One writer for each conversation.
//!
//! A lease is a lock of the operating system, free when its holder dies, however it dies. It keeps two holders apart; it
//! does not tell whether the holder's CLI is gone.
//!
//! A lease lies in the CLI's config directory, or where its `projects` is linked to: where the conversation lies, so that
//! whoever writes the conversation comes by it, whatever state directory, user or container it works from. [Why](../../../docs/design/one-writer.md).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use treewarden_proto::SessionId;

use crate::foreign::{Foreign, other_owner, own, told};
use crate::lock::{self, LockError, LockFile, OtherName, Try};
use crate::placed::NoFile;
use crate::{Held, Holder, lease_files, lease_place};

/// Why a lease was not given.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Another has it.
    #[error("held by {0}")]
    Held(Held),
    /// None can be made in this config directory; the text says why, and what to do.
    #[error("{message}")]
    Impossible {
        /// Why, and what to do.
        message: String,
    },
    /// The process or the system has too many open files, no memory, or no room on the disk; it may pass.
    #[error("{message}")]
    Shortage {
        /// What the system says.
        message: String,
    },
}

/// The right to write one conversation; dropping it gives it up.
#[derive(Debug)]
#[must_use = "dropping a lease gives it up"]
pub struct Lease {
    inner: Arc<Inner>,
}

/// A lease as others look at it, who do not hold it: see [`Lease::watch`].
#[derive(Debug, Clone)]
pub struct LeaseWatch {
    inner: Weak<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: SessionId,
    config_dir: PathBuf,
    state_dir: PathBuf,
    /// `None` once the lease is given up: who looks at it at that moment must not keep it.
    locks: Mutex<Option<Locks>>,
}

// The order of the drops: the reverse of that in which they are taken. A successor that gets the first one gets the other as
// well; refused that one, it would take the conversation for held.
#[derive(Debug)]
struct Locks {
    /// Where versions before the lease moved to the config directory look.
    earlier: LockFile,
    lock: LockFile,
    /// The session that `earlier` names is one that it did not name before, which the disk may not have.
    is_new: bool,
}

impl Lease {
    /// Takes the lease of a conversation, without waiting for its holder.
    ///
    /// `config_dir` is the CLI's, where the conversation is; `state_dir` is where earlier versions kept leases: theirs is
    /// taken as well.
    ///
    /// # Errors
    ///
    /// [`LeaseError`] if another holds it, or none can be made there.
    pub fn acquire(
        config_dir: &Path,
        state_dir: &Path,
        id: SessionId,
        holder: &Holder,
    ) -> Result<Self, LeaseError> {
        // The order of the two: the config directory's first. It alone keeps everybody apart; who has it and is refused the
        // other one met an older version, which knows that one only and so waits for nothing that we hold.
        let lock = in_config_dir(config_dir, id, holder, fs::File::try_lock)?;
        let is_new = lease_files::of(state_dir, id).name.as_ref() != Some(&holder.name);
        let earlier = in_state_dir(state_dir, id, holder)?;
        let locks = Mutex::new(Some(Locks { earlier, lock, is_new }));
        let (config_dir, state_dir) = (config_dir.to_owned(), state_dir.to_owned());
        Ok(Self { inner: Arc::new(Inner { id, config_dir, state_dir, locks }) })
    }

    /// Tells whether the conversation that it is for lies in this config directory.
    pub fn is_in(&self, config_dir: &Path) -> bool {
        self.inner.config_dir == config_dir
    }

    /// Looks whether the lease still keeps others away: if a file of it was removed it is made anew, and its path
    /// returned.
    ///
    /// # Errors
    ///
    /// [`LeaseError`] if another has it meanwhile, or it cannot be made.
    pub fn look_again(&self) -> Result<Option<PathBuf>, LeaseError> {
        self.inner.look_again()
    }

    /// A way to look at the lease that does not hold it.
    pub fn watch(&self) -> LeaseWatch {
        LeaseWatch { inner: Arc::downgrade(&self.inner) }
    }

    /// Writes another name into the lease: from now on `holder` has it.
    ///
    /// # Errors
    ///
    /// Whatever the system says to a write; the lease is held all the same.
    pub fn hand_over(&self, holder: &Holder) -> io::Result<()> {
        let mut locks = self.inner.locks();
        let Some(locks) = locks.as_mut() else { return Ok(()) };
        locks.lock.hand_over(holder)?;
        locks.is_new |= locks.earlier.holder().name != holder.name;
        locks.earlier.hand_over(holder)
    }

    /// Tells whether the disk may not have yet which session the conversation is of: see [`LeaseWatch::sync`].
    pub fn is_to_be_synced(&self) -> bool {
        self.inner.locks().as_ref().is_some_and(|locks| locks.is_new)
    }

    /// Gives up the lease of a conversation that never was, and removes its files.
    pub fn forget(self) {
        if let Some(locks) = self.inner.locks().as_ref() {
            locks.earlier.remove();
            locks.lock.remove();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // By word: a watch that looks just now has the `Arc` as well, and would keep the lease for longer
        // than its holder.
        drop(self.inner.locks().take());
    }
}

impl LeaseWatch {
    /// What [`Lease::look_again`] does; of a lease that was given up there is nothing to be said.
    ///
    /// # Errors
    ///
    /// [`LeaseError`] if another has it meanwhile, or it cannot be made.
    pub fn look_again(&self) -> Result<Option<PathBuf>, LeaseError> {
        self.inner.upgrade().map_or(Ok(None), |inner| inner.look_again())
    }

    /// Waits until the disk has which session the conversation is of, if it may not have it yet: where a machine that goes down
    /// takes the session's record along, the session is known by this, and is lost instead of begun blank.
    ///
    /// # Errors
    ///
    /// Whatever the system says; the lease is held all the same.
    pub fn sync(&self) -> io::Result<()> {
        let Some(inner) = self.inner.upgrade() else { return Ok(()) };
        let sync = {
            let mut locks = inner.locks();
            let Some(locks) = locks.as_mut().filter(|locks| locks.is_new) else { return Ok(()) };
            let sync = locks.earlier.to_be_synced()?;
            // Noted as done first: a name that is handed over meanwhile is a new one again.
            locks.is_new = false;
            sync
        };
        // Without the lock, which is asked for before each turn.
        sync()
    }
}

impl Inner {
    fn locks(&self) -> MutexGuard<'_, Option<Locks>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_again(&self) -> Result<Option<PathBuf>, LeaseError> {
        let mut locks = self.locks();
        let Some(locks) = locks.as_mut() else { return Ok(None) };
        let mut made = None;
        // Asked anew each time: `projects` may have become a link, and others look at its end then.
        let file = lease_place::file(&lease_place::home(&self.config_dir), self.id);
        if !locks.lock.is_at(&file) {
            let holder = locks.lock.holder().clone();
            locks.lock = in_config_dir(&self.config_dir, self.id, &holder, fs::File::try_lock)?;
            made = Some(file);
        }
        // A state directory that is gone is not made anew for this: that it is gone is said elsewhere.
        if !locks.earlier.is_in_place() && self.state_dir.exists() {
            let holder = locks.earlier.holder().clone();
            locks.earlier = in_state_dir(&self.state_dir, self.id, &holder)?;
            made = made.or_else(|| Some(lease_place::earlier_file(&self.state_dir, self.id)));
        }
        Ok(made)
    }
}

fn in_config_dir(
    config_dir: &Path,
    id: SessionId,
    holder: &Holder,
    try_lock: Try,
) -> Result<LockFile, LeaseError> {
    make_dir(config_dir).map_err(|error| refused(config_dir, &error, Of::Config))?;
    let home = lease_place::home(config_dir);
    let (ours, path) = (lease_place::folder(&home), lease_place::file(&home, id));
    for folder in [&ours, &ours.join("leases")] {
        match own(folder, rustix::process::geteuid().as_raw()) {
            Ok(()) => {}
            Err(Foreign::Link) => return Err(not_followed(folder)),
            Err(Foreign::User(uid)) => return Err(of_another(&path, folder, uid)),
            Err(Foreign::Failed(error)) => return Err(refused(folder, &error, Of::Config)),
        }
    }
    LockFile::acquire_by(&path, holder, try_lock).map_err(|error| match error {
        LockError::Held(by) => LeaseError::Held(Held::by(by)),
        LockError::Meaningless => impossible(
            &path,
            "its file system gives one lock to everybody, so that nobody could be kept from writing the conversation \
             too",
            Of::Config,
        ),
        LockError::Failed(error) => match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => not_followed(&path),
            _ => refused(&path, &error, Of::Config),
        },
    })
}

fn in_state_dir(state_dir: &Path, id: SessionId, holder: &Holder) -> Result<LockFile, LeaseError> {
    let leases = lease_place::earlier_folder(state_dir);
    make_dir(&leases).map_err(|error| refused(&leases, &error, Of::State))?;
    let path = lease_place::earlier_file(state_dir, id);
    LockFile::acquire(&path, holder).map_err(|error| match error {
        LockError::Held(by) => LeaseError::Held(Held::by(by)),
        LockError::Meaningless => impossible(&path, "its file system gives one lock to everybody", Of::State),
        LockError::Failed(error) => refused(&path, &error, Of::State),
    })
}

/// The folder is another user's: who holds the lock is told where we may look, as the super-user may, and its process where the
/// system tells. Where nothing is to be seen nobody is said to hold it: most often nobody does, as after one run with `sudo`.
fn of_another(path: &Path, folder: &Path, uid: u32) -> LeaseError {
    match lock::holder_of(path) {
        Ok(Some(by)) => LeaseError::Held(Held { by, owner: Some(uid), ..Held::default() }),
        Ok(None) => LeaseError::Impossible { message: told(folder, uid) },
        // The file may not be opened (it has mode 0600): what is left is what the kernel tells of its locks.
        Err(_) => unseen(path, folder, uid),
    }
}

/// The lock cannot be tried: the system may still tell who holds it.
fn unseen(path: &Path, whose: &Path, uid: u32) -> LeaseError {
    match lock::process_with(path) {
        Some(pid) => LeaseError::Held(Held { pid: Some(pid), owner: Some(uid), ..Held::default() }),
        None => LeaseError::Impossible { message: told(whose, uid) },
    }
}

fn not_followed(path: &Path) -> LeaseError {
    mend(path, "it is a symbolic link, which is not followed there; remove it")
}

/// Which directory a lease could not be made in.
#[derive(Debug, Clone, Copy)]
enum Of {
    Config,
    State,
}

fn refused(path: &Path, error: &io::Error, of: Of) -> LeaseError {
    use rustix::io::Errno;
    let short =
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
    if error.raw_os_error().is_some_and(|code| short.contains(&code)) {
        return LeaseError::Shortage { message: format!("lock {}: {error}", path.display()) };
    }
    // What stands in the way is said with the error, and what to do about it; no other directory is needed for that.
    if error.get_ref().is_some_and(|why| why.is::<NoFile>() || why.is::<OtherName>()) {
        return mend(path, &error.to_string());
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        if let Some((at, uid)) = in_the_way(path) {
            return unseen(path, at, uid);
        }
        if let Some(mode) = mode_of_file(path).filter(|mode| mode & 0o600 != 0o600) {
            return mend(
                path,
                &format!("its mode ({mode:03o}) keeps its own user out; remove it, or chmod 600"),
            );
        }
    }
    impossible(path, &error.to_string(), of)
}

fn mode_of_file(path: &Path) -> Option<u32> {
    fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file).map(|meta| meta.mode() & 0o777)
}

/// What is at the path, or the nearest folder above it that can be looked at, if it is another user's.
fn in_the_way(path: &Path) -> Option<(&Path, u32)> {
    let seen = path.ancestors().find_map(|at| fs::symlink_metadata(at).ok().map(|meta| (at, meta)));
    let (at, meta) = seen?;
    Some((at, other_owner(&meta)?))
}

fn impossible(path: &Path, why: &str, of: Of) -> LeaseError {
    let what_to_do = match of {
        Of::Config => {
            "make the folder writable, or set CLAUDE_CONFIG_DIR to one that is on a disk of this machine and yours"
        }
        Of::State => "make it writable, or choose another state directory, on a disk of this machine",
    };
    mend(path, &format!("{why}; {what_to_do}"))
}

fn mend(path: &Path, why: &str) -> LeaseError {
    LeaseError::Impossible { message: format!("no lease can be made at {}: {why}", path.display()) }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use std::fs::TryLockError;

    use treewarden_proto::SessionName;

    use super::*;

    fn holder() -> Holder {
        Holder::this_process(&SessionName::new("one").expect("a valid name"))
    }

    fn why(error: LeaseError) -> String {
        match error {
            LeaseError::Impossible { message } => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_system_where_a_lock_means_nothing_is_no_place_for_a_lease() {
        let dir = tempfile::tempdir().expect("a folder");
        let (id, holder) = (SessionId::random(), holder());
        let said = why(in_config_dir(dir.path(), id, &holder, |_| Ok(())).expect_err("refused"));
        assert!(said.contains("to everybody") && said.contains("CLAUDE_CONFIG_DIR"), "{said}");
        let none: Try = |_| Err(TryLockError::Error(rustix::io::Errno::NOLCK.into()));
        let said = why(in_config_dir(dir.path(), id, &holder, none).expect_err("refused"));
        assert!(said.contains("No locks available"), "{said}");
    }

    #[test]
    fn what_stands_in_the_way_of_a_lease_is_what_is_to_be_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (config, state) = (dir.path().join("config"), dir.path().join("state"));
        let (id, holder) = (SessionId::random(), holder());
        let acquire = || Lease::acquire(&config, &state, id, &holder);
        drop(acquire().expect("free"));
        let ours = lease_place::file(&lease_place::home(&config), id);
        for path in [ours, lease_place::earlier_file(&state, id)] {
            fs::remove_file(&path).expect("removed");
            fs::create_dir(&path).expect("made");
            let said = why(acquire().expect_err("refused"));
            assert!(said.contains("a folder is in its place; remove that"), "{said}");
            assert!(said.contains(&*path.to_string_lossy()) && !said.contains("CLAUDE_CONFIG_DIR"), "{said}");
            fs::remove_dir(&path).expect("removed");
        }
        let leases = lease_place::earlier_folder(&state);
        fs::remove_dir_all(&leases).expect("removed");
        fs::write(&leases, "").expect("written");
        let said = why(acquire().expect_err("refused"));
        assert!(said.contains("another state directory") && !said.contains("CLAUDE_CONFIG_DIR"), "{said}");
    }

    #[test]
    fn whoever_gets_the_first_lock_of_a_holder_that_leaves_gets_the_other_as_well() {
        let dir = tempfile::tempdir().expect("a folder");
        let (config, state) = (dir.path().join("config"), dir.path().join("state"));
        let (id, holder) = (SessionId::random(), holder());
        let first = lease_place::file(&lease_place::home(&config), id);
        let second = lease_place::earlier_file(&state, id);
        for round in 0..200 {
            let lease = Lease::acquire(&config, &state, id, &holder).expect("free");
            let at_it = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                let successor = scope.spawn(|| {
                    let open = |path: &Path| lock::open(path).expect("opened");
                    let (first, second) = (open(&first), open(&second));
                    at_it.wait();
                    first.lock().expect("locked");
                    second.try_lock().is_ok()
                });
                at_it.wait();
                drop(lease);
                assert!(successor.join().expect("no panic"), "refused in round {round}");
            });
        }
    }

    #[test]
    fn a_want_of_descriptors_is_told_apart_and_may_pass() {
        let dir = tempfile::tempdir().expect("a folder");
        let short: Try = |_| Err(TryLockError::Error(rustix::io::Errno::MFILE.into()));
        let error = in_config_dir(dir.path(), SessionId::random(), &holder(), short).expect_err("refused");
        assert!(matches!(error, LeaseError::Shortage { .. }), "{error:?}");
    }
}
