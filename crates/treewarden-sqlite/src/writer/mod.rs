//! The one thread that writes, so that callers at one time share a commit, and none of them blocks a thread.
//!
//! Jobs wait in a [queue](queue) that is bounded in items and bytes. The thread takes what waits, up to a bound, runs it in
//! [one transaction](group), commits, and answers. No caller waits for longer than its [limits](Limits): one whose job did not
//! begin in time is told that nothing was stored, and the job is never run; one whose job began is told, after a longer time,
//! that nobody knows. It must never end by a job: a panic is an answer like another.

mod group;
mod job;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::{Instant, timeout_at};
use treewarden_store::{CommitError, StoreError, StoreErrorKind};

use self::job::{Task, Ticket};
use self::queue::Queue;
use crate::error::Fault;
use crate::place::Place;
use crate::transaction::Transaction;

/// How long a caller waits, counted from its asking.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Until its job begins.
    pub(crate) begin: Duration,
    /// For the answer. Longer than a busy disk takes for a sync: whoever is told that nobody knows has more to do than to wait.
    pub(crate) answer: Duration,
}

impl Limits {
    pub(crate) const USUAL: Self = Self { begin: Duration::from_secs(10), answer: Duration::from_secs(30) };
}

/// A caller tells itself that its job did not begin; where it is gone, the writer drops the job so much later.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Writer {
    queue: Arc<Queue>,
    place: Arc<Place>,
    limits: Limits,
    /// Taken by whoever ends it; held for that alone.
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Writer {
    pub(crate) fn start(db: Connection, place: Arc<Place>, limits: Limits) -> Result<Self, Fault> {
        let queue = Arc::new(Queue::default());
        let (work, at) = (Arc::clone(&queue), Arc::clone(&place));
        let thread = std::thread::Builder::new().name("treewarden-write".into());
        let thread = thread.spawn(move || group::run(&work, &db, &at))?;
        Ok(Self { queue, place, limits, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `op` in a shared transaction, and answers when that is committed. `op` runs again where the transaction was lost
    /// by another's fault. `bytes` is about what it holds in memory.
    ///
    /// # Errors
    ///
    /// [`CommitError::Failed`] or [`CommitError::Unknown`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a dropped call may have been run, or may still be.
    pub(crate) async fn ask<T, F>(&self, bytes: usize, op: F) -> Result<T, CommitError>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let asked = Instant::now();
        let (ticket, (task, mut answer)) = (Arc::new(Ticket::default()), Task::with_answer(op, bytes));
        self.queue
            .push(task, Arc::clone(&ticket), self.limits.begin + GRACE, bytes)
            .map_err(|why| self.busy(why))?;
        let gone = || CommitError::Unknown(self.unknown("its writer is gone"));
        if let Ok(answer) = timeout_at(asked + self.limits.begin, &mut answer).await {
            return answer.unwrap_or_else(|_| Err(gone()));
        }
        if ticket.withdraw() {
            let why = self.queue.sweep(asked.elapsed());
            return Err(self.busy(&why));
        }
        match timeout_at(asked + self.limits.answer, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(CommitError::Unknown(self.unknown("the disk does not answer"))),
        }
    }

    fn busy(&self, why: &str) -> CommitError {
        let text = format!(
            "use the state database {}: {why}; nothing was stored, ask again",
            self.place.path().display()
        );
        CommitError::Failed { error: StoreError::new(StoreErrorKind::Busy, text), retryable: true }
    }

    fn unknown(&self, why: &str) -> StoreError {
        let text = format!(
            "use the state database {}: {why}, and nobody knows whether the write is stored, or still will be",
            self.place.path().display()
        );
        StoreError::new(StoreErrorKind::Unknown, text)
    }
}

impl Writer {
    /// Takes no more jobs, and waits until those that were accepted are written and the connection is closed.
    pub(crate) fn end(&self) {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle of a store may go within a job, on the writer's own thread, which cannot wait for itself.
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ended = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What was accepted is written before the store is gone.
        self.end();
    }
}
