//! The queue of the writer: bounded in items and bytes, and never locked while anything is run.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::job::{Job, Ticket};

/// How many jobs wait at most, and how many bytes they may hold. One alone may hold more.
const ITEMS: usize = 1024;
const BYTES: usize = 64 << 20;
/// How many share a commit at most.
const BATCH_ITEMS: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

/// A job with what the writer must know of it.
pub(super) struct Waiting {
    pub(super) job: Box<dyn Job>,
    pub(super) ticket: Arc<Ticket>,
    /// It is not begun after this. Its caller says so sooner, if that still waits.
    until: Instant,
    bytes: usize,
}

impl Waiting {
    /// It is not to be run: its caller has gone, or its time is over.
    pub(super) fn is_over(&self) -> bool {
        self.ticket.is_withdrawn() || (Instant::now() > self.until && self.ticket.withdraw())
    }
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// A job came, or the writer is to end.
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
    /// Since when another program keeps the database locked.
    locked: Option<Instant>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job; an error says that there is no room for it, or that no more are taken.
    pub(super) fn push(
        &self,
        job: Box<dyn Job>,
        ticket: Arc<Ticket>,
        wait: Duration,
        bytes: usize,
    ) -> Result<(), &'static str> {
        let mut state = self.state();
        if state.closed {
            return Err("it is closed");
        }
        let is_full = state.jobs.len() >= ITEMS || (state.bytes > 0 && state.bytes + bytes > BYTES);
        if is_full {
            return Err("too many writes wait for the disk");
        }
        state.bytes += bytes;
        state.jobs.push_back(Waiting { job, ticket, until: Instant::now() + wait, bytes });
        // Not under the lock: the thread that is woken would run into it at once.
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Takes the next jobs that may share a transaction, and waits for one; `None` once it is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Waiting>> {
        let mut state = self.state();
        while state.jobs.is_empty() {
            // Only with nothing left: whoever closes waits for the thread, and what was accepted is stored by then.
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < BATCH_ITEMS
            && let Some(next) = state.jobs.front()
            && (taken.is_empty() || bytes + next.bytes <= BATCH_BYTES)
            && let Some(next) = state.jobs.pop_front()
        {
            bytes += next.bytes;
            taken.push(next);
        }
        state.bytes -= bytes;
        Some(taken)
    }

    /// Another program was found to have the database locked, or not any more.
    pub(super) fn found_locked(&self, locked: bool) {
        let mut state = self.state();
        state.locked = locked.then(|| state.locked.unwrap_or_else(Instant::now));
    }

    /// Drops the jobs that were withdrawn, and says what keeps the others.
    pub(super) fn sweep(&self, waited: Duration) -> String {
        let mut state = self.state();
        let (gone, stay): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut state.jobs).into_iter().partition(|waiting| waiting.ticket.is_withdrawn());
        state.jobs = stay;
        state.bytes -= gone.iter().map(|waiting| waiting.bytes).sum::<usize>();
        let locked = state.locked;
        // What a job holds is dropped without the lock.
        drop(state);
        drop(gone);
        match locked {
            Some(since) => format!("another program keeps it locked for {:.0?}", since.elapsed()),
            None => format!("the disk has other writes to do for {waited:.0?}"),
        }
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.work.notify_one();
    }
}
