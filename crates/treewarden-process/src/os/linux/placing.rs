//! Where the child and the thread that waits for it run.
//!
//! # Why say it?
//!
//! The thread sleeps until the child has executed its program. So its processor is free, and the child begins there
//! without another one being woken. But then the thread is woken from that processor, and may be queued there behind the
//! program's start although another processor idles: in a virtual machine the kernel takes a halted processor for one
//! that was taken away. Within one scheduling group the thread would soon be preferred. But the child begins a session,
//! and where the kernel groups by sessions (`sched_autogroup_enabled`) it has a group, and a slice, of its own.
//! Measured on two processors, threads of the host waited 0.9 to 1.2 ms of the 1.7 ms between a crash and the next CLI
//! for a program that was being loaded.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The thread that waits, if it may run everywhere: one that its user has confined is left alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Placing(Option<Pid>);

impl Placing {
    /// This thread stays on its processor until it sleeps, and so the child begins there.
    pub(super) fn here() -> Self {
        let may = sched_getaffinity(None);
        if !may.is_ok_and(|may| may.count() > 1 && may.count() >= online()) {
            return Self(None);
        }
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        Self(sched_setaffinity(None, &here).ok().map(|()| gettid()))
    }

    /// Called in the child, which may run everywhere from then on: until the thread is [back](Self::back) it runs
    /// anywhere but here.
    ///
    /// It makes system calls only.
    pub(super) fn part(self) {
        if self.0.is_some() {
            // The child inherited the thread's one processor: without this its program would stay on that for
            // good.
            let mut elsewhere = everywhere();
            let _refused = sched_setaffinity(None, &elsewhere);
            elsewhere.unset(sched_getcpu());
            let _refused = sched_setaffinity(self.0, &elsewhere);
        }
    }

    /// Lets the thread run everywhere again, also on processors that are added later.
    pub(super) fn back(self) {
        if self.0.is_some() {
            let _refused = sched_setaffinity(None, &everywhere());
        }
    }
}

fn everywhere() -> CpuSet {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    all
}

/// How many processors were in use when this was first asked.
fn online() -> u32 {
    static ONLINE: OnceLock<u32> = OnceLock::new();
    *ONLINE.get_or_init(|| {
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online");
        // Where it cannot be told, no thread seems to be free to run everywhere, and none is placed.
        online.ok().and_then(|ranges| count(ranges.trim())).unwrap_or(u32::MAX)
    })
}

/// The size of a set of ranges, as in `0-3,5`.
fn count(ranges: &str) -> Option<u32> {
    ranges.split(',').try_fold(0, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        Some(sum + last.checked_sub(first)? + 1)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rustix::process::{Signal, WaitOptions};

    use super::*;
    use crate::os::launch;
    use crate::program::Program;

    /// The processors of a child that this thread launches, and its own before and after.
    fn launched() -> [CpuSet; 3] {
        let may = |pid| sched_getaffinity(pid).expect("everybody may ask");
        let before = may(None);
        let path = "/bin/sleep".into();
        let program = Program { path, args: vec!["600".into()], env: BTreeMap::new(), cwd: "/".into() };
        let pid = launch(&program, &program.path, &[], None).expect("it can be launched").pid.as_rustix();
        let child = may(Some(pid));
        rustix::process::kill_process(pid, Signal::KILL).expect("it lives");
        rustix::process::waitpid(Some(pid), WaitOptions::empty()).expect("it is ours");
        [before, child, may(None)]
    }

    #[test]
    fn a_child_and_the_thread_that_waited_for_it_run_wherever_the_thread_did() {
        let [before, child, after] = std::thread::spawn(launched).join().expect("it does not panic");
        assert_eq!((child, after), (before, before));
    }

    #[test]
    fn a_confined_thread_stays_confined_and_so_is_its_child() {
        let test = || {
            let mut here = CpuSet::new();
            here.set(sched_getcpu());
            sched_setaffinity(None, &here).expect("a thread may confine itself");
            assert_eq!(launched(), [here; 3]);
        };
        std::thread::spawn(test).join().expect("it does not panic");
    }

    #[test]
    fn the_thread_is_sent_away_from_where_the_child_runs() {
        let test = || {
            let before = sched_getaffinity(None).expect("a thread may ask");
            let placing = Placing::here();
            if placing.0.is_none() {
                println!("skipped: this machine has one processor, or this process is confined");
                return;
            }
            let here = sched_getaffinity(None).expect("a thread may ask");
            // The thread plays both parts.
            placing.part();
            let away = sched_getaffinity(None).expect("a thread may ask");
            placing.back();
            assert_eq!((here.count(), away.count()), (1, before.count() - 1));
        };
        std::thread::spawn(test).join().expect("it does not panic");
    }

    #[test]
    fn processors_are_counted_in_ranges() {
        assert_eq!(["0", "0-1", "0-3,5,8-9"].map(count), [Some(1), Some(2), Some(7)]);
        assert_eq!(["", "1-0", "0-x"].map(count), [None; 3]);
    }
}
