//! One writer for each conversation.
//!
//! A lease is a lock of the operating system, free when its holder dies, however it dies. It keeps two holders apart; it
//! does not tell whether the holder's CLI is gone.
//!
//! A lease lies in the CLI's config directory, where the conversation lies: whoever writes the conversation comes by it,
//! whatever state directory, user or container it works from. [Why](../../../docs/design/one-writer.md).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use treewarden_proto::SessionId;

use crate::lock::{self, LockError, LockFile, Try};
use crate::{Held, Holder};

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
    /// The process or the system has too many open files, or no memory; it may pass.
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

#[derive(Debug)]
struct Locks {
    lock: LockFile,
    /// Where versions before the lease moved to the config directory look.
    earlier: LockFile,
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
        let earlier = in_state_dir(state_dir, id, holder)?;
        let locks = Mutex::new(Some(Locks { lock, earlier }));
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
        locks.earlier.hand_over(holder)
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
}

impl Inner {
    fn locks(&self) -> MutexGuard<'_, Option<Locks>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_again(&self) -> Result<Option<PathBuf>, LeaseError> {
        let mut locks = self.locks();
        let Some(locks) = locks.as_mut() else { return Ok(None) };
        let mut made = None;
        if !locks.lock.is_in_place() {
            let holder = locks.lock.holder().clone();
            locks.lock = in_config_dir(&self.config_dir, self.id, &holder, fs::File::try_lock)?;
            made = Some(lease_file(&self.config_dir, self.id));
        }
        // A state directory that is gone is not made anew for this: that it is gone is said elsewhere.
        if !locks.earlier.is_in_place() && self.state_dir.exists() {
            let holder = locks.earlier.holder().clone();
            locks.earlier = in_state_dir(&self.state_dir, self.id, &holder)?;
            made = made.or_else(|| Some(earlier_file(&self.state_dir, self.id)));
        }
        Ok(made)
    }
}

/// The lease's file in a config directory.
fn lease_file(config_dir: &Path, id: SessionId) -> PathBuf {
    config_dir.join("treewarden").join("leases").join(format!("{id}.lock"))
}

fn earlier_file(state_dir: &Path, id: SessionId) -> PathBuf {
    state_dir.join("leases").join(format!("{id}.lock"))
}

fn in_config_dir(
    config_dir: &Path,
    id: SessionId,
    holder: &Holder,
    try_lock: Try,
) -> Result<LockFile, LeaseError> {
    let path = lease_file(config_dir, id);
    let ours = config_dir.join("treewarden");
    make_dir(config_dir).map_err(|error| refused(config_dir, &error))?;
    for folder in [&ours, &ours.join("leases")] {
        match own(folder, rustix::process::geteuid().as_raw()) {
            Ok(()) => {}
            Err(Foreign::Link) => return Err(not_followed(folder)),
            Err(Foreign::User(uid)) => return Err(of_another(&path, folder, uid)),
            Err(Foreign::Failed(error)) => return Err(refused(folder, &error)),
        }
    }
    LockFile::acquire_by(&path, holder, try_lock).map_err(|error| match error {
        LockError::Held(by) => LeaseError::Held(Held::by(by)),
        LockError::Meaningless => impossible(
            &path,
            "its file system gives one lock to everybody, so that nobody could be kept from writing the conversation \
             too",
        ),
        LockError::Failed(error) => match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => not_followed(&path),
            Ok(meta) if error.kind() == io::ErrorKind::PermissionDenied && !is_mine(&meta) => {
                LeaseError::Held(Held { owner: Some(meta.uid()), ..Held::default() })
            }
            _ => refused(&path, &error),
        },
    })
}

fn in_state_dir(state_dir: &Path, id: SessionId, holder: &Holder) -> Result<LockFile, LeaseError> {
    let leases = state_dir.join("leases");
    make_dir(&leases).map_err(|error| refused(&leases, &error))?;
    let path = earlier_file(state_dir, id);
    LockFile::acquire(&path, holder).map_err(|error| match error {
        LockError::Held(by) => LeaseError::Held(Held::by(by)),
        LockError::Meaningless => impossible(&path, "its file system gives one lock to everybody"),
        LockError::Failed(error) => refused(&path, &error),
    })
}

/// Why a folder is not ours alone.
enum Foreign {
    Link,
    User(u32),
    Failed(io::Error),
}

/// Makes a folder, or checks that the one that is there is ours, and closes it to others.
fn own(folder: &Path, me: u32) -> Result<(), Foreign> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Foreign::Failed(error)),
        _ => {}
    }
    let meta = fs::symlink_metadata(folder).map_err(Foreign::Failed)?;
    if meta.is_symlink() {
        return Err(Foreign::Link);
    }
    if !meta.is_dir() {
        return Err(Foreign::Failed(io::ErrorKind::NotADirectory.into()));
    }
    if meta.uid() != me {
        return Err(Foreign::User(meta.uid()));
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(Foreign::Failed)?;
    }
    Ok(())
}

/// The folder is another user's: its holder is named where we may look, as the super-user may.
fn of_another(path: &Path, folder: &Path, uid: u32) -> LeaseError {
    match lock::holder_of(path) {
        Ok(Some(by)) => LeaseError::Held(Held { by, owner: Some(uid), ..Held::default() }),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            LeaseError::Held(Held { owner: Some(uid), ..Held::default() })
        }
        _ => impossible(folder, &format!("it belongs to user {uid}")),
    }
}

fn is_mine(meta: &fs::Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

fn not_followed(path: &Path) -> LeaseError {
    impossible(path, "it is a symbolic link, which is not followed there; remove it")
}

fn refused(path: &Path, error: &io::Error) -> LeaseError {
    use rustix::io::Errno;
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    if error.raw_os_error().is_some_and(|code| short.contains(&code)) {
        return LeaseError::Shortage { message: format!("lock {}: {error}", path.display()) };
    }
    impossible(path, &error.to_string())
}

fn impossible(path: &Path, why: &str) -> LeaseError {
    let message = format!(
        "no lease can be made at {}: {why}; make the CLI's config directory writable, or set CLAUDE_CONFIG_DIR to one \
         that is on a disk of this machine and yours",
        path.display()
    );
    LeaseError::Impossible { message }
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
    fn a_want_of_descriptors_is_told_apart_and_may_pass() {
        let dir = tempfile::tempdir().expect("a folder");
        let short: Try = |_| Err(TryLockError::Error(rustix::io::Errno::MFILE.into()));
        let error = in_config_dir(dir.path(), SessionId::random(), &holder(), short).expect_err("refused");
        assert!(matches!(error, LeaseError::Shortage { .. }), "{error:?}");
    }

    #[test]
    fn a_folder_of_another_user_is_told_by_its_owner() {
        let dir = tempfile::tempdir().expect("a folder");
        let me = rustix::process::geteuid().as_raw();
        assert!(matches!(own(dir.path(), me + 1), Err(Foreign::User(uid)) if uid == me));
        assert!(own(dir.path(), me).is_ok());
    }
}
