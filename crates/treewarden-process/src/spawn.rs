//! Spawns a program as the leader of a tree.
//!
//! One thread spawns everything and never ends. `PR_SET_PDEATHSIG` is bound to the thread that forked: from a pool's
//! thread it would fire when that thread is retired, and take a healthy CLI along.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::cgroup::Cgroup;
use crate::leader::Leader;
use crate::pid::{Pid, Process};
use crate::program::{COOKIE, Cookie, HOST, Program};
use crate::stop::Ending;
use crate::tree::{ContainmentPolicy, Members, Tree};

/// So many spawns wait for the thread at most; one more waits for its place.
const QUEUE: usize = 64;

/// A program that could not be spawned.
#[derive(Debug, thiserror::Error)]
#[error("spawn {}: {message}", path.display())]
pub struct SpawnError {
    kind: SpawnErrorKind,
    path: PathBuf,
    message: String,
}

/// The kinds of [`SpawnError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpawnErrorKind {
    /// There is no file at the path.
    NotFound,
    /// The file cannot be executed.
    NotExecutable,
    /// The working directory is gone.
    CwdMissing,
    /// There is no memory, descriptor or process left; it may work later.
    NoResources,
    /// Anything else.
    Other,
}

impl SpawnError {
    /// The kind of failure.
    pub fn kind(&self) -> SpawnErrorKind {
        self.kind
    }

    /// Tells whether the same call may well succeed later.
    pub fn is_retryable(&self) -> bool {
        self.kind == SpawnErrorKind::NoResources
    }

    fn new(program: &Program, error: &io::Error) -> Self {
        let path = program.path.clone();
        if !program.cwd.is_dir() {
            let message = format!("its working directory {} is gone", program.cwd.display());
            return Self { kind: SpawnErrorKind::CwdMissing, path, message };
        }
        let kind = match error.kind() {
            io::ErrorKind::NotFound => SpawnErrorKind::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ExecutableFileBusy => {
                SpawnErrorKind::NotExecutable
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => SpawnErrorKind::NoResources,
            _ => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(rustix::io::Errno::NOEXEC) => SpawnErrorKind::NotExecutable,
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => SpawnErrorKind::NoResources,
                _ => SpawnErrorKind::Other,
            },
        };
        Self { kind, path, message: error.to_string() }
    }
}

struct Job {
    program: Program,
    cookie: Cookie,
    policy: ContainmentPolicy,
    reply: oneshot::Sender<Result<Spawned, SpawnError>>,
}

/// A leader and its pipes, on their way to whoever asked for them.
pub(crate) struct Spawned {
    pub(crate) members: Ending,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

impl Spawned {
    fn new(mut child: Child, cgroup: Option<Cgroup>, cookie: Cookie) -> io::Result<Self> {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let leader = Leader::new(child)?;
        Ok(Self { members: Ending::new(Members { leader, cgroup, cookie }), stdin, stdout, stderr })
    }
}

/// Spawns `program` as the leader of a tree of its own: own session, own process group, own cgroup where one can be
/// made, pipes for its input and outputs.
///
/// # Errors
///
/// [`SpawnError`], with the path that was to be executed.
///
/// # Cancel safety
///
/// A tree that is spawned after the future was dropped is ended again.
pub async fn spawn(program: Program, cookie: Cookie, policy: ContainmentPolicy) -> Result<Tree, SpawnError> {
    let (reply, spawned) = oneshot::channel();
    let refused = |message: &str| SpawnError {
        kind: SpawnErrorKind::NoResources,
        path: program.path.clone(),
        message: message.to_owned(),
    };
    let gone = refused("the spawner thread is gone");
    let full = refused("too many programs are being spawned at once");
    let job = Job { program, cookie, policy, reply };
    match spawner().try_send(job) {
        Ok(()) => {}
        Err(mpsc::TrySendError::Full(_)) => return Err(full),
        Err(mpsc::TrySendError::Disconnected(_)) => return Err(gone),
    }
    let path = gone.path.clone();
    let spawned = spawned.await.map_err(|_| gone)??;
    Tree::new(spawned).map_err(|error| SpawnError {
        kind: SpawnErrorKind::NoResources,
        path,
        message: error.to_string(),
    })
}

fn spawner() -> &'static mpsc::SyncSender<Job> {
    static SPAWNER: OnceLock<mpsc::SyncSender<Job>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE);
        let body = move || {
            for job in queue {
                work(job);
            }
        };
        // Without the thread the queue is closed, and each spawn says so.
        if let Err(error) = std::thread::Builder::new().name("treewarden-spawn".into()).spawn(body) {
            tracing::error!(%error, "failed to start the spawner thread");
        }
        jobs
    })
}

fn work(job: Job) {
    if job.reply.is_closed() {
        return;
    }
    let spawned = start(&job.program, &job.cookie, job.policy);
    // If whoever wanted it is gone, the value that comes back ends it.
    let _unwanted = job.reply.send(spawned);
}

fn start(program: &Program, cookie: &Cookie, policy: ContainmentPolicy) -> Result<Spawned, SpawnError> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let cgroup = match policy {
        ContainmentPolicy::Best => Cgroup::create(cookie, serial),
        ContainmentPolicy::GroupAndCookie => None,
    };
    let door = cgroup.as_ref().and_then(|cgroup| cgroup.door().ok());
    let mut command = Command::new(&program.path);
    command
        .args(&program.args)
        .env_clear()
        .envs(&program.env)
        .env(COOKIE, cookie.as_str())
        .env(HOST, host())
        .current_dir(&program.cwd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let parent = rustix::process::getpid();
    let entered = door.is_some();
    let before_exec = move || {
        if let Some(door) = &door {
            io::Write::write_all(&mut &*door, b"0")?;
        }
        rustix::process::setsid()?;
        die_with(parent)
    };
    #[expect(unsafe_code, reason = "what a child does to itself before it executes cannot be said otherwise")]
    // SAFETY: between fork and exec the closure makes system calls only: write, setsid, prctl, getppid. It neither
    // allocates nor takes a lock: errors are raw codes, and the file was opened before the fork.
    unsafe {
        command.pre_exec(before_exec);
    }
    match command.spawn() {
        Ok(child) => {
            Spawned::new(child, cgroup, cookie.clone()).map_err(|error| SpawnError::new(program, &error))
        }
        Err(error) => {
            tracing::debug!(path = %program.path.display(), entered, %error, "failed to spawn");
            Err(SpawnError::new(program, &error))
        }
    }
}

/// Has the kernel send SIGTERM when the host dies.
#[cfg(target_os = "linux")]
fn die_with(parent: rustix::process::Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    // The host may have died before the kernel was told.
    if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(3)) }
}

#[cfg(not(target_os = "linux"))]
fn die_with(_parent: rustix::process::Pid) -> io::Result<()> {
    Ok(())
}

/// This host, by process id and start time.
pub(crate) fn host() -> &'static str {
    static OWN: OnceLock<String> = OnceLock::new();
    OWN.get_or_init(|| {
        let pid = std::process::id();
        let start_time = Pid::new(pid).and_then(Process::find).map_or(0, |process| process.start_time);
        format!("{pid}:{start_time}")
    })
}
