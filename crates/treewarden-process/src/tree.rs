//! A process tree and what is attached to it.

use std::fmt;
use std::io;
use std::process::ExitStatus;

use tokio::net::unix::pipe;

use crate::ending::Ending;
use crate::lines::LineReader;
use crate::members::{ContainmentPolicy, Members};
use crate::pid::{Pid, Process};
use crate::program::{Cookie, Program};
use crate::spawn::{self, Spawned};
use crate::spawn_error::{SpawnError, SpawnErrorKind};
use crate::stderr::StderrTail;
use crate::writer::LineWriter;

/// How the processes of a tree are held together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Containment {
    /// By a cgroup, which nothing leaves by itself; what is moved out of it is found as below.
    Cgroup,
    /// By their process group and session, by the cookie in their environment, and by their descent.
    GroupAndCookie,
    /// By their process group alone.
    Group,
}

impl fmt::Display for Containment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cgroup => "cgroup",
            Self::GroupAndCookie => "group+cookie",
            Self::Group => "group",
        })
    }
}

/// The processes that descend from one leader; dropping it starts their end.
#[derive(Debug)]
pub struct ProcessTree {
    pub(crate) members: Option<Members>,
    leader: Process,
    containment: Containment,
    stdin: Option<LineWriter>,
    stdout: Option<LineReader>,
    stderr: StderrTail,
    stderr_task: tokio::task::AbortHandle,
}

/// Spawns `program` as the leader of a tree of its own: own session, own process group, own cgroup where one can be
/// made, pipes for its input and outputs, nothing else inherited.
///
/// Must be called within a tokio runtime. Neither the size of the host nor the system's load blocks its threads.
///
/// # Errors
///
/// [`SpawnError`], with the path that was to be executed.
///
/// # Cancel safety
///
/// A tree that is spawned after the future was dropped is ended again.
pub async fn spawn(
    program: Program,
    cookie: Cookie,
    policy: ContainmentPolicy,
) -> Result<ProcessTree, SpawnError> {
    let path = program.path.clone();
    let spawned = spawn::spawned(program, cookie, policy).await?;
    ProcessTree::new(spawned)
        .map_err(|error| SpawnError::new(SpawnErrorKind::NoResources, path, error.to_string()))
}

impl ProcessTree {
    /// Takes the tree over; if a pipe cannot be registered, the tree is ended.
    pub(crate) fn new(spawned: Spawned) -> io::Result<Self> {
        let Spawned { members, stdin, stdout, stderr } = spawned;
        let containment = match &members.get().cgroup {
            Some(_) => Containment::Cgroup,
            None if cfg!(target_os = "linux") => Containment::GroupAndCookie,
            None => Containment::Group,
        };
        let stdin = pipe::Sender::from_owned_fd(stdin)?;
        let stdout = pipe::Receiver::from_owned_fd(stdout)?;
        let stderr = pipe::Receiver::from_owned_fd(stderr)?;
        let (stderr, stderr_task) = StderrTail::read(stderr);
        let members = members.disarm();
        Ok(Self {
            leader: members.leader.process(),
            members: Some(members),
            containment,
            stdin: Some(LineWriter::new(stdin)),
            stdout: Some(LineReader::new(stdout)),
            stderr,
            stderr_task,
        })
    }

    /// The leader's process id.
    pub fn pid(&self) -> Pid {
        self.leader.pid
    }

    /// The leader, by id and start time.
    pub fn leader(&self) -> Process {
        self.leader
    }

    /// How the processes are held together.
    pub fn containment(&self) -> &Containment {
        &self.containment
    }

    /// Takes the leader's stdin; `None` the second time.
    pub fn take_stdin(&mut self) -> Option<LineWriter> {
        self.stdin.take()
    }

    /// Takes the leader's stdout; `None` the second time.
    pub fn take_stdout(&mut self) -> Option<LineReader> {
        self.stdout.take()
    }

    /// The tail of what the tree writes to stderr.
    pub fn stderr_tail(&self) -> StderrTail {
        self.stderr.clone()
    }

    /// Tells whether the leader has ended, as the system knows it at this moment.
    pub fn has_exited(&self) -> bool {
        self.members.as_ref().is_none_or(|members| members.leader.has_exited())
    }

    /// Waits until the leader ends by itself. Whatever it started may live on; [`ProcessTree::stop`] ends that.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn exited(&self) -> ExitStatus {
        let Some(members) = &self.members else { return std::future::pending().await };
        let mut status = members.leader.watch();
        let ended = status.wait_for(Option::is_some).await.map(|status| *status);
        match ended {
            Ok(status) => status.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for ProcessTree {
    fn drop(&mut self) {
        if let Some(members) = self.members.take() {
            drop(Ending::new(members));
        }
        self.stderr_task.abort();
    }
}
