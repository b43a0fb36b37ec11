//! The control socket: one owner, for the user's eyes only, and never left behind.
//!
//! It is bound in a private folder and then renamed to its place, so that at no moment anybody else can connect. A
//! lock beside it says who owns it; a socket without an owner is stale, and is replaced.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::net::{UnixListener, UnixStream};

use crate::exit::{Exit, Failure};

/// The longest path of a socket that every system takes.
const MAX_PATH: usize = 103;

/// A listening socket; dropping it removes it.
#[derive(Debug)]
pub(super) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: only the socket that we made is removed.
    identity: (u64, u64),
    _lock: File,
}

impl ControlSocket {
    /// Binds the socket, in place of a stale one.
    pub(super) fn bind(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        let parent = path.parent().context("the socket has no folder")?;
        let name = path.file_name().context("the socket has no name")?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
        let private = parent.join(format!(".tw{}", std::process::id()));
        if path.as_os_str().len() > MAX_PATH || private.as_os_str().len() + 2 > MAX_PATH {
            let text = format!(
                "the socket's path is longer than {MAX_PATH} bytes: {}; choose a shorter one with --socket",
                path.display()
            );
            return Err(Failure::new(Exit::Usage, text).into());
        }
        let mut lock_name = name.to_owned();
        lock_name.push(".lock");
        let lock = lock(&parent.join(lock_name), &path)?;
        refuse_others(&path)?;
        let listener =
            Private::new(private)?.bind(&path).with_context(|| format!("cannot bind {}", path.display()))?;
        let meta = fs::symlink_metadata(&path)?;
        Ok(Self { listener, identity: (meta.dev(), meta.ino()), path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next client; cancelling loses none.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // The lock is held until after this, so nobody else puts a socket there in between.
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// A folder that only we can look into; dropping it removes it.
struct Private(PathBuf);

impl Private {
    fn new(path: PathBuf) -> io::Result<Self> {
        // Left over from an earlier process with our pid, which is dead.
        drop(fs::remove_dir_all(&path));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn bind(&self, target: &Path) -> io::Result<UnixListener> {
        let inside = self.0.join("s");
        let listener = UnixListener::bind(&inside)?;
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o600))?;
        fs::rename(&inside, target)?;
        Ok(listener)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn lock(path: &Path, socket: &Path) -> anyhow::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path).with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
            return Err(held(socket, pid).into());
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
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
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(stream) => Err(held(path, peer(&stream)).into()),
        Err(_) => Ok(()),
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

fn held(path: &Path, pid: Option<u32>) -> Failure {
    let by = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    let text = format!(
        "{by} listens on {}; stop that one, or choose another place with --state-dir or --socket",
        path.display()
    );
    Failure::new(Exit::Held, text)
}
