//! What differs between the systems, behind one set of functions.
//!
//! Each system gives: `launch`, which starts a program; `pids`, `stat`, `environ`, `user` and `adopted`, which look at
//! processes; `realm`, which tells whose numbers are meant; `HostLock`, by which others see that a host lives; `Cgroup`; and
//! `own_share`, `limit`, `kernel_kills`, `pids_in`, `make_room` and `controllers`, for what a tree may take; and
//! `when_ended`, which waits for the end of a child. What begins with `HostLock` cannot be had on macOS.
//! It decides nothing: what is a member of a tree, and when a tree is gone, is said elsewhere.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::pid::Pid;

#[cfg(target_os = "linux")]
pub(crate) use linux::{
    Cgroup, HostLock, adopted, cgroups, controllers, environ, is_held, is_in_another_tree, kernel_kills,
    launch, limit, make_room, name, net_namespace, own_session, own_share, pids, pids_in, realm, stat, user,
    when_ended,
};
#[cfg(target_os = "macos")]
pub(crate) use macos::{
    Cgroup, HostLock, adopted, cgroups, controllers, environ, is_held, is_in_another_tree, kernel_kills,
    launch, limit, make_room, name, net_namespace, own_session, own_share, pids, pids_in, realm, stat, user,
    when_ended,
};

/// What the system says of a process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// When it started, in a unit of the system's.
    pub(crate) start_time: u64,
    /// A zombie is not, unless threads of it run on.
    pub(crate) is_alive: bool,
    /// Its parent, its process group and its session; 0 if that cannot be seen from here, as the kernel's own.
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    /// The memory that it has in use, in bytes, of what it shares with others too; 0 where that is not told.
    pub(crate) memory: u64,
}

/// What could be seen of the environment of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(target_os = "macos", expect(dead_code, reason = "nothing can be seen of it there"))]
pub(crate) enum Environ {
    /// It was read.
    Read,
    /// It is empty, which it also is for a moment while the process executes another program.
    Empty,
    /// The process is gone.
    Gone,
    /// It may not be read: another user's, or of a process that lets nobody look into it, as agents that hold keys do.
    Denied,
}

/// A program that was started, and our ends of its pipes.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: Pid,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Where a start failed, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) stage: Stage,
    pub(crate) errno: Errno,
}

/// The steps of a start that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Making the pipes, the process, or its place.
    Prepare,
    /// Entering the cgroup.
    Cgroup,
    /// Entering the working directory.
    Cwd,
    /// Executing the file.
    Exec,
}
