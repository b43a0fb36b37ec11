//! The control socket: one owner, for the user's eyes only, and never left behind.
//!
//! It is bound at its own path, since the kernel lists a socket under the path at which it was bound, and cleaners of
//! temporary folders remove one that is not in that list. It gets its mode before it listens, so that at no moment anybody
//! else can connect. A lock beside it says who owns it; a socket without an owner is stale, and is replaced. One that is
//! removed under the daemon is bound again.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, test_kill_process};
use tokio::net::{UnixListener, UnixStream};
use treewarden_store::dir::make_dir;

use crate::exit::{Exit, Failure};
use crate::place::SocketPlace;

/// The longest path of a socket that every system takes.
const MAX_PATH: usize = 103;

/// How many clients may knock before they are let in.
const BACKLOG: i32 = 1024;

/// How much of what stands in the lock is read; it is one line.
const MAX_LOCK: u64 = 256;

/// How long a holder that is dead is waited for, and how far apart it is looked: a child that it was just starting when it was
/// killed has copies of its lock and its listener until it executes.
const LEFT: Duration = Duration::from_secs(2);
const LEFT_PAUSE: Duration = Duration::from_millis(5);

/// Device and inode of a file.
type Identity = (u64, u64);

/// A listening socket; dropping it removes it.
#[derive(Debug)]
pub(super) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Only the socket that we made is removed.
    identity: Identity,
    lock: File,
}

impl ControlSocket {
    /// Binds the socket, in place of a stale one.
    pub(super) fn bind(place: &SocketPlace) -> anyhow::Result<Self> {
        Self::bind_at(place.path()).map_err(|error| place.tell(error))
    }

    fn bind_at(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        if path.as_os_str().len() > MAX_PATH {
            let text = format!(
                "the socket's path is longer than {MAX_PATH} bytes: {}; choose a shorter one with --socket",
                path.display()
            );
            return Err(Failure::new(Exit::Usage, text).into());
        }
        let parent = path.parent().context("the socket has no folder")?;
        make_dir(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        // The lock comes before the look and the bind: of two daemons that start at once, each would take the
        // other's socket for a stale one.
        let lock = lock(&lock_path(&path), &path)?;
        refuse_others(&path)?;
        let listener = listen(&path).with_context(|| format!("cannot bind {}", path.display()))?;
        Ok(Self { listener, identity: identity(&path)?, path, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next client of our user, or of the super-user; cancelling loses none.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept().await?;
        // A second look: the mode of the socket keeps others out, as long as nobody changes it.
        let uid = stream.peer_cred()?.uid();
        if may_speak(uid) {
            Ok(stream)
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {uid} is not served")))
        }
    }

    /// Looks whether the socket and its lock are where clients and other daemons look for them, and puts back what was
    /// removed. Clients that are connected stay so.
    ///
    /// Says what was put back; an error if something else is in its place.
    pub(super) fn look_again(&mut self) -> anyhow::Result<Option<String>> {
        let mut mended = None;
        let lock_path = lock_path(&self.path);
        // Compared by device and inode: a lock file that was removed and made anew by somebody is another
        // lock.
        if identity(&lock_path).ok() != self.lock.metadata().ok().map(|meta| (meta.dev(), meta.ino())) {
            make_dir(self.path.parent().context("the socket has no folder")?)?;
            self.lock = lock(&lock_path, &self.path)?;
            mended = Some(lock_path.display().to_string());
        }
        if identity(&self.path).ok() != Some(self.identity) {
            // A folder that was put in the place of ours, as by a link that leads elsewhere now, may have the socket of a daemon
            // that is gone. What somebody serves, or is no socket, stays.
            refuse_others(&self.path)?;
            // The listener alone is replaced: clients that are connected stay so.
            self.listener = listen(&self.path)?;
            self.identity = identity(&self.path)?;
            mended = Some(self.path.display().to_string());
        }
        Ok(mended.map(|what| format!("{what} was removed, and is there again")))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // The lock is held until after this, so that nobody else puts a socket there in between. A socket of
        // another identity was put there by somebody after this one was removed.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Whether a peer of this user is trusted: it could do all that we can anyhow.
pub(crate) fn may_speak(uid: u32) -> bool {
    uid == rustix::process::geteuid().as_raw() || uid == 0
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Binds and listens; what is at the path must be a stale socket of ours, or nothing.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // No child may keep it: it would be listened on by nobody, and look alive.
    #[cfg(target_os = "linux")]
    let flags = SocketFlags::CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = SocketFlags::empty();
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    #[cfg(not(target_os = "linux"))]
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    let ours = Mode::RUSR | Mode::WUSR;
    // Linux gives the file the mode of the socket; elsewhere the file gets it before anybody can connect.
    #[cfg(target_os = "linux")]
    rustix::fs::fchmod(&socket, ours)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::chmod(path, ours)?;
    // `listen` comes last: until then nobody can connect, whatever the mode is.
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

fn lock(path: &Path, socket: &Path) -> anyhow::Result<File> {
    let until = Instant::now() + LEFT;
    let mut file = open_lock(path)?;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The holder's name is for the message, and for the look whether it lives: without it less is said.
                let _unread = (&file).take(MAX_LOCK).read_to_string(&mut text);
                let holder = Holder::read(&text);
                let is_left = holder.as_ref().is_some_and(Holder::is_dead);
                if !is_left || Instant::now() >= until {
                    // One that is dead holds nothing: somebody else has what was its own.
                    let holder = holder.filter(|_| !is_left);
                    let has_another_name = file.metadata().is_ok_and(|meta| meta.nlink() > 1);
                    return Err(held(socket, holder.as_ref().map(Holder::in_words), has_another_name).into());
                }
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        std::thread::sleep(LEFT_PAUSE);
        // Opened anew: it may have been replaced meanwhile, and is read from its beginning.
        file = open_lock(path)?;
    }
    // The file is rewritten only by who has the lock: one who is refused must not wipe out the holder's name.
    match write_holder(&mut file) {
        // It is for a message: what stands on a full disk can be served all the same.
        Err(error) if error.kind() != io::ErrorKind::StorageFull => {
            Err(error).with_context(|| format!("cannot write {}", path.display()))
        }
        _ => Ok(file),
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    let line = format!("{} {}\n", std::process::id(), pid_namespace().unwrap_or_default());
    file.set_len(0)?;
    file.rewind()?;
    // In one piece: whoever reads half of it would take it for somebody's file.
    file.write_all(line.as_bytes())
}

/// Opens the lock's file, which is made if it is missing; in a shared folder another user may have placed it.
fn open_lock(path: &Path) -> anyhow::Result<File> {
    let refused = |what: &str| Failure::new(Exit::Failed, format!("{} {what}", path.display()));
    // Looked at before it is opened: to open a device may do something.
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_symlink()) {
        return Err(refused("is no regular file; remove it, or choose another socket with --socket").into());
    }
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    // Through a link a file of ours would be overwritten, and a named pipe would be waited at.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed());
    let file = options.open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let meta = file.metadata()?;
    // A hard link may be of a file that somebody needs, which the holder's line would overwrite. A copy of the folder by links
    // (`cp -al`) has this lock by another name: it is one lock, by whichever of them it is asked for.
    if !meta.is_file() || (meta.nlink() > 1 && !is_of_a_holder(&file)) {
        let text = "is no file of one name, and would be overwritten; remove it, or choose another socket with --socket";
        return Err(refused(text).into());
    }
    if !may_speak(meta.uid()) {
        let uid = meta.uid();
        let text =
            format!("belongs to user {uid}, who could keep it locked; choose another socket with --socket");
        return Err(refused(&text).into());
    }
    Ok(file)
}

/// Nothing else than a holder was ever written there.
fn is_of_a_holder(file: &File) -> bool {
    let mut text = [0; MAX_LOCK as usize];
    file.read_at(&mut text, 0).is_ok_and(|length| is_holder(&text[..length]))
}

/// Whether this is the line of a holder, or nothing.
fn is_holder(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let line = text.strip_suffix('\n').and_then(|line| line.split_once(' '));
    // A number alone is what other programs write into files of their own.
    text.is_empty()
        || line.is_some_and(|(pid, namespace)| {
            let inner = namespace.strip_prefix("pid:[").and_then(|rest| rest.strip_suffix(']'));
            is_number(pid) && (namespace.is_empty() || inner.is_some_and(is_number))
        })
}

/// Whoever holds the lock, or held it last.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    pid: u32,
    /// Its number is not one of ours.
    is_of_another_namespace: bool,
}

impl Holder {
    fn read(written: &str) -> Option<Self> {
        let mut words = written.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        let of_another = |namespace| pid_namespace().is_some_and(|own| own != namespace);
        Some(Self { pid, is_of_another_namespace: words.next().is_some_and(of_another) })
    }

    fn in_words(&self) -> String {
        let whose = if self.is_of_another_namespace { " (as another container counts)" } else { "" };
        format!("process {}{whose}", self.pid)
    }

    /// Whether it is known to be dead; one of another namespace may live.
    fn is_dead(&self) -> bool {
        !self.is_of_another_namespace && is_dead(self.pid)
    }
}

/// Whether a process has ended, also one that keeps its id until its parent asks for it.
fn is_dead(pid: u32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold parentheses of its own; the state follows it.
    let state = stat.rsplit(|byte| *byte == b')').next().and_then(|rest| rest.trim_ascii_start().first());
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    state.is_some_and(|state| matches!(state, b'Z' | b'X'))
        || pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

/// Which processes ids are told from each other by, where there is more than one kind of them.
fn pid_namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_str()?.to_owned())
}

/// Refuses to replace what is no stale socket.
fn refuse_others(path: &Path) -> anyhow::Result<()> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        let text = format!(
            "{} is there and is no socket; remove it, or choose another with --socket",
            path.display()
        );
        return Err(Failure::new(Exit::Usage, text).into());
    }
    let until = Instant::now() + LEFT;
    loop {
        let asking = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        // Otherwise it waits for as long as whoever listens lets others wait.
        rustix::io::ioctl_fionbio(&asking, true)?;
        match rustix::net::connect(&asking, &SocketAddrUnix::new(path)?) {
            Ok(()) => {
                let peer = peer(&asking.into());
                let is_left = peer.is_some_and(is_dead);
                if !is_left || Instant::now() >= until {
                    let peer = peer.filter(|_| !is_left);
                    return Err(held(path, peer.map(|pid| format!("process {pid}")), false).into());
                }
            }
            // The queue of a listener is full: somebody listens, and takes nobody at the moment.
            Err(Errno::AGAIN) => return Err(held(path, None, false).into()),
            Err(_) => return Ok(()),
        }
        std::thread::sleep(LEFT_PAUSE);
    }
}

#[cfg(target_os = "linux")]
fn peer(stream: &std::os::unix::net::UnixStream) -> Option<u32> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

#[cfg(not(target_os = "linux"))]
fn peer(_stream: &std::os::unix::net::UnixStream) -> Option<u32> {
    None
}

fn held(path: &Path, by: Option<String>, has_another_name: bool) -> Failure {
    let by = by.unwrap_or_else(|| "another process".to_owned());
    let or_where = if has_another_name {
        ", or in a folder that has the same files by hard links, as `cp -al` makes them"
    } else {
        ""
    };
    let text = format!(
        "{by} listens on {}{or_where}; stop that one, or choose another state directory (--state-dir, or state_dir in the file)",
        path.display()
    );
    Failure::new(Exit::Held, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_accepts_nobody_is_told_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("control.sock");
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("made");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
        rustix::net::listen(&listener, 0).expect("listens");
        // More than it has a place for.
        for _ in 0..4 {
            assert!(refuse_others(&path).expect_err("held").to_string().contains("listens on"));
        }
        drop(listener);
        refuse_others(&path).expect("stale");
    }

    #[test]
    fn a_lock_is_a_file_of_one_name_and_of_ours() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, precious) = (dir.path().join("control.sock.lock"), dir.path().join("precious"));
        fs::write(&precious, "precious").expect("written");
        fs::hard_link(&precious, &path).expect("linked");
        let said = lock(&path, &path).expect_err("refused").to_string();
        assert!(said.contains("would be overwritten"), "{said}");
        assert_eq!(fs::read_to_string(&precious).expect("still there"), "precious");
        for (text, is_ours) in
            [("", true), ("12 pid:[34]\n", true), ("12 \n", true), ("12\n", false), ("12 pid:[]\n", false)]
        {
            assert_eq!(is_holder(text.as_bytes()), is_ours, "{text:?}");
        }
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("made");
        assert!(lock(&path, &path).expect_err("refused").to_string().contains("no regular file"));
        fs::remove_dir(&path).expect("removed");
        let held = lock(&path, &path).expect("free");
        assert!(lock(&path, &path).expect_err("held").to_string().contains("process"));
        drop(held);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(1235), None).expect("given away");
            let said = lock(&path, &path).expect_err("refused").to_string();
            assert!(said.contains("belongs to user 1235"), "{said}");
        }
    }

    #[test]
    fn a_lock_that_a_copy_by_links_has_as_well_is_one_lock_by_both_names() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, copy) = (dir.path().join("control.sock.lock"), dir.path().join("copy"));
        drop(lock(&path, &path).expect("free"));
        fs::hard_link(&path, &copy).expect("linked");
        for (one, other) in [(&path, &copy), (&copy, &path)] {
            let held = lock(one, one).expect("a copy keeps nobody away");
            let said = lock(other, other).expect_err("held").to_string();
            assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
            assert!(said.contains("by hard links"), "{said}");
            drop(held);
        }
    }

    #[test]
    fn a_lock_that_a_child_of_a_killed_holder_has_for_a_moment_is_waited_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("control.sock.lock");
        let mut child = std::process::Command::new("true").spawn().expect("started");
        child.wait().expect("reaped");
        let text = format!("{} {}\n", child.id(), pid_namespace().unwrap_or_default());
        fs::write(&path, &text).expect("written");
        let copy = File::options().read(true).write(true).open(&path).expect("opened");
        copy.try_lock().expect("free");
        // One who keeps it is not waited for for ever, and is not said to be the dead one.
        let said = lock(&path, &path).expect_err("held").to_string();
        assert!(said.starts_with("another process listens"), "{said}");
        let waits = std::thread::scope(|scope| {
            let waits = scope.spawn(|| lock(&path, &path));
            // Whichever comes first, it is had: the wait is for two seconds, and the lock is let go at once.
            drop(copy);
            waits.join().expect("no panic")
        });
        drop(waits.expect("it is free soon"));
        let mut zombie = std::process::Command::new("true").spawn().expect("started");
        let until = Instant::now() + Duration::from_secs(120);
        while !is_dead(zombie.id()) {
            assert!(Instant::now() < until, "it ends, and nobody asks for it");
            std::thread::yield_now();
        }
        zombie.wait().expect("reaped");
        let live = Holder { pid: std::process::id(), is_of_another_namespace: false };
        assert!(!live.is_dead());
        assert!(!Holder { pid: child.id(), is_of_another_namespace: true }.is_dead(), "it may live");
    }

    #[test]
    fn a_process_of_another_container_is_named_as_such() {
        let own = pid_namespace().unwrap_or_default();
        let holder = |written: &str| Holder::read(written).map(|holder| holder.in_words());
        assert_eq!(holder(&format!("12 {own}\n")).as_deref(), Some("process 12"));
        assert_eq!(holder("12\n").as_deref(), Some("process 12"), "as an earlier version wrote it");
        assert_eq!(holder(""), None);
        if !own.is_empty() {
            let named = holder("12 pid:[1]\n");
            assert_eq!(named.as_deref(), Some("process 12 (as another container counts)"));
        }
    }
}
