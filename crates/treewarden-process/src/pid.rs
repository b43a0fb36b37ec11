//! Names of processes that cannot hit the wrong one.

use std::fmt;
use std::num::NonZeroU32;

use rustix::process::{self, Signal};

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

/// A process by its id and its start time, in clock ticks since boot: a reused id is another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// When it started.
    pub start_time: u64,
}

impl Process {
    /// The process that has this id now.
    pub fn find(pid: Pid) -> Option<Self> {
        start_time(pid).map(|start_time| Self { pid, start_time })
    }

    /// Tells whether it lives; a zombie does not.
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }

    /// Sends a signal, unless the id belongs to another process by now.
    pub fn signal(self, signal: Signal) {
        if self.pid.get() == std::process::id() {
            return;
        }
        #[cfg(target_os = "linux")]
        if let Ok(handle) = process::pidfd_open(self.pid.as_rustix(), process::PidfdFlags::empty()) {
            // The descriptor holds the process, so that the check below stays true until the signal is sent.
            if self.is_alive() {
                let _already_gone = process::pidfd_send_signal(&handle, signal);
            }
            return;
        }
        if self.is_alive() {
            let _already_gone = process::kill_process(self.pid.as_rustix(), signal);
        }
    }
}

/// When a live process started; `None` if there is none, or if it is a zombie.
#[cfg(target_os = "linux")]
fn start_time(pid: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, so that the fields are counted from its closing parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn start_time(pid: Pid) -> Option<u64> {
    process::test_kill_process(pid.as_rustix()).ok().map(|()| 0)
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
