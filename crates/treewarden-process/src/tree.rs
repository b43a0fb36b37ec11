//! A process tree and what is attached to it.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::net::unix::pipe;

use crate::leader::Leader;
use crate::lines::LineReader;
use crate::os::Cgroup;
use crate::pid::{Pid, Process};
use crate::program::{Cookie, TreeId};
use crate::scan::{self, Found};
use crate::spawn::Spawned;
use crate::stderr::StderrTail;
use crate::stop;
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

/// Which containment is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ContainmentPolicy {
    /// The best that the system offers.
    #[default]
    Best,
    /// No cgroup, also where one could be made.
    GroupAndCookie,
}

/// The processes that descend from one leader; dropping it starts their end.
#[derive(Debug)]
pub struct Tree {
    pub(crate) members: Option<Members>,
    leader: Process,
    containment: Containment,
    stdin: Option<LineWriter>,
    stdout: Option<LineReader>,
    stderr: StderrTail,
    stderr_task: tokio::task::AbortHandle,
}

/// Where a tree is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In its cgroup, if it has one: what a crash left is ended there at once, and the rest is looked for beside.
    Contained,
    /// Everywhere.
    Everything,
}

/// The processes of a tree, as whoever ends them sees them.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) leader: Arc<Leader>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) id: TreeId,
    pub(crate) cookie: Cookie,
}

impl Members {
    /// The live processes of the tree, as far as that scope shows them.
    pub(crate) fn look(&self, scope: Scope) -> io::Result<Found> {
        if let Some(cgroup) = &self.cgroup {
            let contained = Found::contained(cgroup.remains()?);
            // What is outside is looked for when nothing is left inside: looking at all processes takes longer.
            if scope != Scope::Everything || !contained.is_nothing() {
                return Ok(contained);
            }
        }
        self.look_everywhere()
    }

    /// The live processes of the tree, by every proof.
    pub(crate) fn look_everywhere(&self) -> io::Result<Found> {
        scan::of_tree(&self.id, self.leader.held(), self.cgroup.as_ref())
    }

    /// Kills whatever can be killed without looking.
    pub(crate) fn kill(&self) {
        self.leader.signal_group(Signal::KILL);
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
    }
}

impl Tree {
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

    /// Waits until the leader ends by itself. Whatever it started may live on; [`Tree::stop`] ends that.
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

impl Drop for Tree {
    fn drop(&mut self) {
        if let Some(members) = self.members.take() {
            drop(stop::Ending::new(members));
        }
        self.stderr_task.abort();
    }
}
