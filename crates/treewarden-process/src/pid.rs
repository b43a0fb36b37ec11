//! Names of processes that cannot hit the wrong one.

use std::fmt;
use std::io;
use std::num::NonZeroU32;

use rustix::io::Errno;
use rustix::process::{self, Signal};

use crate::os;

/// The id of a process other than the first: never 0, 1 or negative, which mean whole groups to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(NonZeroU32);

impl Pid {
    /// Makes a process id; `None` if it is 0 or 1, or no process can have it.
    pub fn new(raw: u32) -> Option<Self> {
        i32::try_from(raw).ok().filter(|raw| *raw > 1)?;
        NonZeroU32::new(raw).map(Self)
    }

    /// The id as a number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    pub(crate) fn as_rustix(self) -> process::Pid {
        let raw = i32::try_from(self.0.get()).expect("checked when it was made");
        process::Pid::from_raw(raw).expect("greater than one")
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process by its id and its start time, in a unit of the system's: a reused id is another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// When it started.
    pub start_time: u64,
}

impl Process {
    /// The process that lives with this id now; a zombie does not live.
    pub fn find(pid: Pid) -> Option<Self> {
        Self::look(pid).ok().flatten()
    }

    /// As [`Self::find`], where not being able to look is not the same as there being nothing.
    pub(crate) fn look(pid: Pid) -> io::Result<Option<Self>> {
        let live = os::stat(pid)?.filter(|stat| stat.is_alive);
        Ok(live.map(|stat| Self { pid, start_time: stat.start_time }))
    }

    /// Tells whether it lives; a zombie does not, and one that cannot be looked at does.
    pub fn is_alive(self) -> bool {
        Self::look(self.pid).map_or(true, |found| found == Some(self))
    }

    /// Sends a signal, unless the id belongs to another process by now; `false` if that is not allowed.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        // A tool may have moved this process into a tree's cgroup. Whatever the proof says, a host that ends
        // itself ends all its sessions.
        if self.pid.get() == std::process::id() {
            return true;
        }
        #[cfg(target_os = "linux")]
        if let Ok(handle) = process::pidfd_open(self.pid.as_rustix(), process::PidfdFlags::empty()) {
            // The descriptor holds the process, so that the check below stays true until the signal is sent.
            return !self.is_alive() || process::pidfd_send_signal(&handle, signal) != Err(Errno::PERM);
        }
        // macOS and kernels before 5.3 have no descriptor of a process: there the id may be given anew
        // between the look and the signal.
        !self.is_alive() || process::kill_process(self.pid.as_rustix(), signal) != Err(Errno::PERM)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", os::name(self.pid), self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_mean_more_than_one_process_cannot_be_made() {
        for raw in [0, 1, u32::MAX, 1 << 31] {
            assert_eq!(Pid::new(raw), None);
        }
        assert_eq!(Pid::new(2).map(Pid::get), Some(2));
    }

    #[test]
    fn a_reused_id_is_another_process() {
        let me = Process::find(Pid::new(std::process::id()).expect("own id")).expect("this process lives");
        assert!(me.is_alive());
        assert!(!Process { start_time: me.start_time + 1, ..me }.is_alive());
    }
}
