//! A file that one holder locks: what leases and the tree lock are made of.
//!
//! The lock is the operating system's (`flock`), so the holder's death frees it, however it dies. The file is
//! removed only with a lease that nobody else can ask for: with removal, two holders could lock two files of one name
//! if they did not look where the file is. It is closed on exec, so that no child keeps it.
//! A file system that keeps `flock` on one machine only, or not at all, is the caller's matter: `LockFile::acquire`
//! looks whether a second descriptor is refused, and cannot look whether another machine is.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Holder;
use crate::placed::{self, Links};

/// How often a holder that is just writing itself in is read again, a millisecond apart.
const READS: u32 = 20;

/// How often, and how far apart, a lock is tried that somebody only looks at.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// How long a lock is tried whose holder is dead, and how far apart.
const LEFT: Duration = Duration::from_secs(2);
const LEFT_PAUSE: Duration = Duration::from_millis(5);

/// So much of what stands in a lock file is read.
const MAX_TEXT: usize = 16 << 10;

/// How a lock is tried: the system's way, or a test's.
pub(crate) type Try = fn(&File) -> Result<(), TryLockError>;

/// Why a file could not be locked.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another has it.
    Held(Option<Box<Holder>>),
    /// Two descriptors could lock it at one time: a lock keeps nobody away here.
    Meaningless,
    /// The system refuses.
    Failed(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// A locked file; dropping it frees the lock.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
    place: Place,
    path: PathBuf,
    holder: Holder,
}

impl LockFile {
    /// Locks `path` without waiting for its holder, and writes `holder` into it.
    pub(crate) fn acquire(path: &Path, holder: &Holder) -> Result<Self, LockError> {
        Self::acquire_by(path, holder, File::try_lock)
    }

    pub(crate) fn acquire_by(path: &Path, holder: &Holder, try_lock: Try) -> Result<Self, LockError> {
        let (mut tries, mut left_until) = (0, None);
        loop {
            let file = open(path)?;
            match try_lock(&file) {
                Ok(()) => {}
                // Whoever looks at a lock has it shared for a moment, which is no holder.
                Err(TryLockError::WouldBlock) if tries < TRIES && is_only_looked_at(&file) => {
                    tries += 1;
                    drop(file);
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    let holder = read_holder(&file);
                    let is_left = holder.as_ref().is_some_and(|holder| holder.is_dead());
                    // A child that a killed holder was just starting has a copy of the lock until it executes. One whose
                    // copy stays is no child, and is waited for no longer.
                    if !is_left || Instant::now() >= *left_until.get_or_insert_with(|| Instant::now() + LEFT)
                    {
                        return Err(LockError::Held(holder));
                    }
                    drop(file);
                    std::thread::sleep(LEFT_PAUSE);
                    continue;
                }
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            // Somebody may have removed the file between the opening and the lock: a lock on it guards nothing.
            if !Place::of(&file.metadata()?).is_at(path) {
                continue;
            }
            let second = open(path)?;
            // Some file systems say yes to everybody; and a file that was removed just now is looked for once more.
            match (try_lock(&second), is_same(&file, &second)) {
                (_, false) => continue,
                (Ok(()), true) => return Err(LockError::Meaningless),
                (Err(_), true) => {}
            }
            let meta = file.metadata()?;
            if meta.nlink() > 1 && !is_of_a_holder(&file) {
                return Err(io::Error::other(OtherName).into());
            }
            let place = Place::of(&meta);
            let mut lock = Self { file, place, path: path.to_owned(), holder: holder.clone() };
            lock.hand_over(holder)?;
            return Ok(lock);
        }
    }

    /// The file is still where others look for it: a lock on another keeps nobody away.
    pub(crate) fn is_in_place(&self) -> bool {
        self.is_at(&self.path)
    }

    /// The file is what others find at `path`.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.place.is_at(path)
    }

    /// Makes the file anew, which was removed, and locks it; the lock on the old one keeps nobody away and is let go.
    pub(crate) fn again(&mut self) -> Result<(), LockError> {
        // The old value goes after the new one is had. Its drop writes `released`, and that must stand in the
        // file that is gone.
        *self = Self::acquire(&self.path, &self.holder)?;
        Ok(())
    }

    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Removes the file of a lock that is about to be freed, which whoever opened it meanwhile notices.
    pub(crate) fn remove(&self) {
        if self.is_in_place() {
            // A file that stays is one more lock that nobody holds.
            let _left = fs::remove_file(&self.path);
        }
    }

    pub(crate) fn hand_over(&mut self, holder: &Holder) -> io::Result<()> {
        self.holder = holder.clone();
        match self.write() {
            // The lock holds all the same; only its holder cannot be read.
            Err(error) if is_full(&error) => Ok(()),
            written => written,
        }
    }

    /// What waits until the disk has what stands in it, under its name; it need not hold this meanwhile.
    pub(crate) fn to_be_synced(&self) -> io::Result<impl FnOnce() -> io::Result<()> + use<>> {
        let (file, folder) = (self.file.try_clone()?, self.path.parent().map(Path::to_owned));
        Ok(move || {
            file.sync_all()?;
            folder.map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        })
    }

    /// Written before the rest is cut off, so that a full disk does not take the old text away.
    fn write(&self) -> io::Result<()> {
        let mut text = serde_json::to_vec(&self.holder)?;
        text.push(b'\n');
        self.file.write_all_at(&text, 0)?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        self.holder.released = true;
        // Whether the holder lives is told by the lock alone: what stands in the file when this fails
        // misleads nobody but people.
        let _still_readable = self.write();
        // Unlocked by name and not only closed: a child that is being forked just now still has a copy of it.
        let _unlocked = self.file.unlock();
    }
}

/// Tells whether nobody holds the lock of a file that cannot be taken: a holder's lets no shared one stand beside it.
fn is_only_looked_at(file: &File) -> bool {
    // Given back at once: two who ask this would else keep each other away.
    file.try_lock_shared().is_ok() && file.unlock().is_ok()
}

/// Who holds a lock that this process may look at and not take; `None` if nobody does.
pub(crate) fn holder_of(path: &Path) -> io::Result<Option<Option<Box<Holder>>>> {
    let file = placed::open(path, File::options().read(true), Links::Refuse)?;
    // Shared, so that two who look at once do not take each other for the holder, and so that whoever wants the lock at this
    // moment can tell us from one. The system has no way to ask without taking it.
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&file))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process that holds a file's lock, where this one may see the file and not open it; `None` where none is to be seen, as on
/// systems that do not tell, or in another container.
pub(crate) fn process_with(path: &Path) -> Option<u32> {
    let meta = fs::symlink_metadata(path).ok()?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    fs::read_to_string("/proc/locks").ok()?.lines().find_map(|line| locked_by(line, &file))
}

/// The process in a line of `/proc/locks`, if it is about this file: number, kind, strictness, access, process, file, range.
fn locked_by(line: &str, file: &str) -> Option<u32> {
    let mut words = line.split_ascii_whitespace().skip(1);
    // One that waits has an arrow here.
    words.next().filter(|kind| *kind == "FLOCK")?;
    let mut words = words.skip(2);
    let pid = words.next()?.parse().ok()?;
    (words.next()? == file).then_some(pid)
}

/// Opens a lock file, which is made if it is missing; the standard library opens it close-on-exec.
///
/// # Errors
///
/// Whatever the system says, or what is in its place.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    placed::open(path, &mut options, Links::Refuse)
}

/// The file has another name, under which something else may be kept in it.
#[derive(Debug)]
pub(crate) struct OtherName;

impl fmt::Display for OtherName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file there has another name as well (a hard link), and would be overwritten; remove this name of it")
    }
}

impl std::error::Error for OtherName {}

/// Nothing else than a holder was ever written there; copies of a disk have lock files by two names as well.
fn is_of_a_holder(file: &File) -> bool {
    let mut text = vec![0; MAX_TEXT];
    let read = file.read_at(&mut text, 0);
    read.is_ok_and(|len| len == 0 || serde_json::from_slice::<Holder>(&text[..len]).is_ok())
}

/// Nothing more can be written: no space, or a limit that this process runs under.
pub fn is_full(error: &io::Error) -> bool {
    let limit = error.raw_os_error() == Some(rustix::io::Errno::FBIG.raw_os_error());
    limit || matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Which file it is, whatever its name: no other has the same while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64, u64);

impl Place {
    /// The file of these metadata.
    pub fn of(meta: &fs::Metadata) -> Self {
        Self(meta.dev(), meta.ino())
    }

    /// Tells whether the path names this file.
    pub fn is_at(self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|meta| Self::of(&meta) == self)
    }
}

fn is_same(one: &File, other: &File) -> bool {
    matches!((one.metadata(), other.metadata()), (Ok(a), Ok(b)) if Place::of(&a) == Place::of(&b))
}

fn read_holder(file: &File) -> Option<Box<Holder>> {
    for _ in 0..READS {
        let mut text = vec![0; MAX_TEXT];
        let len = file.read_at(&mut text, 0).ok()?;
        // Until the new holder has written itself in, the last one stands there as `released`: such a text is
        // read again.
        if let Ok(holder) = serde_json::from_slice::<Holder>(&text[..len])
            && !holder.released
        {
            return Some(Box::new(holder));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

#[cfg(test)]
mod tests {
    use treewarden_proto::SessionName;

    use super::*;

    fn holder() -> Holder {
        Holder::this_process(&SessionName::new("one").expect("a valid name"))
    }

    thread_local! {
        /// Somebody who has the lock until it was tried once.
        static LOOKS: std::cell::RefCell<Option<File>> = const { std::cell::RefCell::new(None) };
    }

    #[test]
    fn whoever_only_looks_is_not_taken_for_the_holder() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.lock");
        let looks = open(&path).expect("made");
        looks.try_lock_shared().expect("free");
        LOOKS.set(Some(looks));
        let until_tried: Try = |file| {
            let tried = file.try_lock();
            drop(LOOKS.take());
            tried
        };
        let lock = LockFile::acquire_by(&path, &holder(), until_tried).expect("nobody holds it");
        // A holder is told as before.
        let refused = LockFile::acquire(&path, &holder()).expect_err("held");
        assert!(matches!(refused, LockError::Held(Some(_))), "{refused:?}");
        drop(lock);
        // One who looks for ever keeps nobody waiting for ever.
        let looks = open(&path).expect("opened");
        looks.try_lock_shared().expect("free");
        let refused = LockFile::acquire(&path, &holder()).expect_err("it cannot be had");
        assert!(matches!(refused, LockError::Held(None)), "{refused:?}");
    }

    #[test]
    fn the_lock_of_a_killed_holder_is_waited_for_while_a_child_has_a_copy_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.lock");
        let mut child = std::process::Command::new("true").spawn().expect("started");
        child.wait().expect("reaped");
        let dead = Holder { pid: child.id(), ..holder() };
        fs::write(&path, serde_json::to_vec(&dead).expect("JSON")).expect("written");
        let copy = open(&path).expect("opened");
        copy.try_lock().expect("free");
        LOOKS.set(Some(copy));
        let until_tried: Try = |file| {
            let tried = file.try_lock();
            drop(LOOKS.take());
            tried
        };
        drop(LockFile::acquire_by(&path, &holder(), until_tried).expect("it is free soon"));
        // One who keeps the copy keeps nobody waiting for ever.
        fs::write(&path, serde_json::to_vec(&dead).expect("JSON")).expect("written");
        let copy = open(&path).expect("opened");
        copy.try_lock().expect("free");
        let refused = LockFile::acquire(&path, &holder()).expect_err("it cannot be had");
        assert!(matches!(&refused, LockError::Held(Some(holder)) if holder.pid == dead.pid), "{refused:?}");
    }

    #[test]
    fn a_file_system_where_everybody_gets_the_lock_is_found_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.lock");
        let everybody: Try = |_| Ok(());
        let refused = LockFile::acquire_by(&path, &holder(), everybody).expect_err("refused");
        assert!(matches!(refused, LockError::Meaningless), "{refused:?}");
    }

    #[test]
    fn a_file_system_without_locks_is_an_error_and_no_holder() {
        let dir = tempfile::tempdir().expect("a folder");
        let none: Try = |_| Err(TryLockError::Error(io::ErrorKind::Unsupported.into()));
        let refused = LockFile::acquire_by(&dir.path().join("a.lock"), &holder(), none).expect_err("refused");
        assert!(matches!(refused, LockError::Failed(_)), "{refused:?}");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (target, path) = (dir.path().join("precious"), dir.path().join("a.lock"));
        fs::write(&target, "precious").expect("written");
        std::os::unix::fs::symlink(&target, &path).expect("linked");
        LockFile::acquire(&path, &holder()).expect_err("refused");
        assert_eq!(fs::read_to_string(&target).expect("still there"), "precious");
    }

    #[test]
    fn a_file_that_has_another_name_is_not_overwritten_unless_it_is_a_locks_anyhow() {
        let dir = tempfile::tempdir().expect("a folder");
        let (target, path) = (dir.path().join("precious"), dir.path().join("a.lock"));
        fs::write(&target, "precious").expect("written");
        fs::hard_link(&target, &path).expect("linked");
        let refused = LockFile::acquire(&path, &holder()).expect_err("refused");
        assert!(matches!(&refused, LockError::Failed(error) if error.to_string().contains("hard link")));
        assert_eq!(fs::read_to_string(&target).expect("still there"), "precious");
        fs::remove_file(&path).expect("removed");
        drop(LockFile::acquire(&path, &holder()).expect("locked"));
        fs::hard_link(&path, dir.path().join("backup")).expect("linked");
        drop(LockFile::acquire(&path, &holder()).expect("a copy of the folder keeps nobody away"));
    }

    #[test]
    fn a_named_pipe_is_no_lock_and_is_waited_for_by_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.lock");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
        let refused = LockFile::acquire(&path, &holder()).expect_err("refused");
        assert!(matches!(&refused, LockError::Failed(error) if error.to_string().contains("a named pipe")));
        holder_of(&path).expect_err("nobody's");
    }

    #[test]
    fn a_lock_whose_file_was_removed_or_replaced_is_not_in_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.lock");
        let lock = LockFile::acquire(&path, &holder()).expect("locked");
        assert!(lock.is_in_place());
        fs::remove_file(&path).expect("removed");
        assert!(!lock.is_in_place());
        fs::write(&path, "").expect("replaced");
        assert!(!lock.is_in_place());
        drop(lock);
        assert_eq!(fs::read_to_string(&path).expect("read"), "", "what is not ours is not written to");
    }
}
