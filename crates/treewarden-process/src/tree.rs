//! A process tree and what is attached to it.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::net::unix::pipe;

use crate::cgroup::Cgroup;
use crate::leader::Leader;
use crate::lines::LineReader;
use crate::pid::{Pid, Process};
use crate::program::Cookie;
use crate::scan;
use crate::spawn::Spawned;
use crate::stderr::StderrTail;
use crate::stop;
use crate::writer::LineWriter;

/// How the processes of a tree are held together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Containment {
    /// By a cgroup: nothing can leave it.
    Cgroup,
    /// By their process group, and by the cookie in their environment.
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
    pid: Pid,
    containment: Containment,
    stdin: Option<LineWriter>,
    stdout: Option<LineReader>,
    stderr: StderrTail,
    stderr_task: tokio::task::AbortHandle,
}

/// The processes of a tree, as whoever ends them sees them.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) leader: Arc<Leader>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) cookie: Cookie,
}

impl Members {
    /// The live processes of the tree, the leader aside.
    pub(crate) fn others(&self) -> Vec<Process> {
        match &self.cgroup {
            Some(cgroup) => cgroup.processes(),
            None => scan::with_cookie(&self.cookie),
        }
    }

    /// Kills whatever is there at this moment.
    pub(crate) fn kill(&self) {
        self.leader.signal_group(Signal::KILL);
        let all_at_once = self.cgroup.as_ref().is_some_and(Cgroup::kill);
        if !all_at_once {
            self.others().into_iter().for_each(|process| process.signal(Signal::KILL));
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
        let missing = || io::Error::other("a pipe of the child is missing");
        let stdin = pipe::Sender::from_owned_fd(OwnedFd::from(stdin.ok_or_else(missing)?))?;
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout.ok_or_else(missing)?))?;
        let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr.ok_or_else(missing)?))?;
        let (stderr, stderr_task) = StderrTail::read(stderr);
        let members = members.disarm();
        Ok(Self {
            pid: members.leader.pid(),
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
        self.pid
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

    /// Waits until the leader is reaped.
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
