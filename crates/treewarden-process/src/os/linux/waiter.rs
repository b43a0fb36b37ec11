//! One thread that waits for the ends of all children, by their descriptors.
//!
//! It is for learning of an end at once and without a thread for each child. It is not for reaping: a child that has ended
//! stays a zombie, which keeps its id. It must never be waited for, and never ends.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::pid::Pid;

/// How many ends are taken from the kernel at a time.
const BATCH: usize = 64;

/// The thread is started when it is first needed; `None` until then, and after it could not be started.
static WAITER: Mutex<Option<Arc<Waiter>>> = Mutex::new(None);

struct Waiter {
    set: OwnedFd,
    children: Mutex<Children>,
}

#[derive(Default)]
struct Children {
    /// The number of the next one: ids of processes come again, these do not.
    next: u64,
    waited_for: BTreeMap<u64, Child>,
}

struct Child {
    /// Closing it takes it out of the set.
    _descriptor: OwnedFd,
    ended: Box<dyn FnOnce() + Send>,
}

/// Calls `ended`, on another thread and once, when this child has ended.
///
/// # Errors
///
/// It is no child of this process, or none any more; no descriptor or thread can be had; or the kernel, before 5.4, does not
/// wait by descriptors. Then `ended` is never
/// called.
pub(crate) fn when_ended(pid: Pid, ended: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let descriptor = pidfd_open(pid.as_rustix(), PidfdFlags::empty())?;
    // Whoever waits for any child may have reaped it, and the id may be another process's by now, whose end would be
    // waited for: of that, which is no child, the kernel tells nothing.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    waitid(WaitId::PidFd(descriptor.as_fd()), look)?;
    let waiter = waiter()?;
    let mut children = waiter.children();
    let number = children.next;
    children.next += 1;
    // Under the lock, which the thread takes before it looks for whose end it was told: it must find the child.
    epoll::add(&waiter.set, &descriptor, EventData::new_u64(number), EventFlags::IN)?;
    children.waited_for.insert(number, Child { _descriptor: descriptor, ended });
    Ok(())
}

fn waiter() -> io::Result<Arc<Waiter>> {
    let mut waiter = WAITER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(waiter) = &*waiter {
        return Ok(Arc::clone(waiter));
    }
    let set = epoll::create(CreateFlags::CLOEXEC)?;
    let new = Arc::new(Waiter { set, children: Mutex::default() });
    let theirs = Arc::clone(&new);
    // It makes system calls and wakes tasks.
    std::thread::Builder::new().name("tw-wait".to_owned()).spawn(move || theirs.run())?;
    *waiter = Some(Arc::clone(&new));
    Ok(new)
}

impl Waiter {
    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut ends = Vec::with_capacity(BATCH);
        loop {
            match epoll::wait(&self.set, spare_capacity(&mut ends), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => unreachable!("the set is open and its buffer is ours: {error}"),
            }
            for end in ends.drain(..) {
                let number = end.data.u64();
                let child = self.children().waited_for.remove(&number);
                // Outside the lock: whoever is told of an end may start another child.
                if let Some(Child { _descriptor, ended }) = child {
                    ended();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_end_is_told_once_whenever_it_comes_and_by_one_thread() {
        let (told, tells) = mpsc::channel();
        let mut children: Vec<_> = (0..100)
            .map(|number| {
                // The input of half of them is open, and so they live.
                let input = if number % 2 == 0 { Stdio::piped() } else { Stdio::null() };
                Command::new("cat").stdin(input).stdout(Stdio::null()).spawn().expect("it can be started")
            })
            .collect();
        for (number, child) in children.iter().enumerate() {
            let told = told.clone();
            let pid = Pid::new(child.id()).expect("a child is not the first process");
            let end =
                Box::new(move || told.send((number, std::thread::current().id())).expect("the test waits"));
            when_ended(pid, end).expect("it can be waited for");
        }
        let limit = Duration::from_secs(120);
        let mut ends: Vec<_> =
            (0..50).map(|_| tells.recv_timeout(limit).expect("half of them end")).collect();
        assert!(tells.try_recv().is_err(), "the others live");
        for child in &mut children {
            drop(child.stdin.take());
        }
        ends.extend((0..50).map(|_| tells.recv_timeout(limit).expect("the others end")));
        children.iter_mut().for_each(|child| assert!(child.wait().is_ok_and(|status| status.success())));

        let thread = ends[0].1;
        assert!(ends.iter().all(|(_, by)| *by == thread));
        let mut numbers: Vec<_> = ends.into_iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_child_is_refused_at_once() {
        let first = Pid::new(std::os::unix::process::parent_id())
            .expect("it has a parent that is not the first process");
        assert!(when_ended(first, Box::new(|| unreachable!("nobody waits for it"))).is_err());
    }
}
