//! The writer of [`Durability::Power`](crate::Durability): one thread, so that callers at one time share one sync.
//!
//! Jobs wait in a bounded queue. The thread takes what waits, up to a bound, runs it in one transaction, commits, and
//! answers each job. It is not used for [`Durability::Process`](crate::Durability), where a commit costs no sync.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::Notify;

use crate::{StoreError, StoreErrorKind};

/// How many jobs wait at most.
const QUEUE: usize = 1024;
/// How many jobs share a commit at most.
const BATCH: usize = 256;
/// How long a caller waits for a place in the queue.
const PLACE: Duration = Duration::from_secs(10);

/// Tells one caller how its job ended, once the commit is known.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Runs in the transaction, or learns why there is none.
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Answer + Send>;

#[derive(Debug)]
pub(crate) struct Writer {
    queue: Arc<Queue>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// A job came, or the writer is to end.
    work: Condvar,
    /// There is room again.
    room: Condvar,
    room_async: Notify,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, mut state: MutexGuard<'_, State>, job: Job) {
        state.jobs.push_back(job);
        drop(state);
        self.work.notify_one();
    }
}

impl Writer {
    pub(crate) fn start(db: Connection) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::default());
        let work = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("treewarden-store".into());
        let thread = thread.spawn(move || run(&work, &db))?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Runs `op` in a shared transaction and waits for the commit.
    pub(crate) fn write<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (send, answer) = std::sync::mpsc::sync_channel(1);
        let until = Instant::now() + PLACE;
        let mut state = self.queue.state();
        while state.jobs.len() >= QUEUE {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(crowded());
            }
            state = self.queue.room.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.queue.push(state, job(op, move |result| drop(send.send(result))));
        answer.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// As [`Writer::write`], without blocking the thread.
    pub(crate) async fn write_async<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (send, answer) = tokio::sync::oneshot::channel();
        let job = job(op, move |result| drop(send.send(result)));
        self.place(job).await?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn place(&self, job: Job) -> Result<(), StoreError> {
        let until = Instant::now() + PLACE;
        loop {
            let room = self.queue.room_async.notified();
            tokio::pin!(room);
            // Registered before the look, so that room made in between is not missed.
            room.as_mut().enable();
            {
                let state = self.queue.state();
                if state.jobs.len() < QUEUE {
                    self.queue.push(state, job);
                    return Ok(());
                }
            }
            if Instant::now() > until {
                return Err(crowded());
            }
            room.await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.state().closed = true;
        self.queue.work.notify_one();
        // What was accepted is written before the store is gone.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ended = thread.join();
        }
    }
}

fn job<T, F>(op: F, reply: impl FnOnce(Result<T, StoreError>) + Send + 'static) -> Job
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    Box::new(move |db| {
        let result = db.and_then(op);
        Box::new(move |committed| reply(committed.and(result)))
    })
}

fn run(queue: &Queue, db: &Connection) {
    loop {
        let mut state = queue.state();
        while state.jobs.is_empty() {
            if state.closed {
                return;
            }
            state = queue.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.jobs.len().min(BATCH);
        let jobs: Vec<Job> = state.jobs.drain(..count).collect();
        drop(state);
        queue.room.notify_all();
        queue.room_async.notify_waiters();
        batch(db, jobs);
    }
}

fn batch(db: &Connection, jobs: Vec<Job>) {
    let begun = db.execute_batch("BEGIN IMMEDIATE").map_err(StoreError::from);
    let mut answers: Vec<Answer> = Vec::with_capacity(jobs.len());
    for job in jobs {
        // A job that panics answers nothing: its caller sees that the writer dropped it.
        let db = begun.clone().and_then(|()| if db.is_autocommit() { Err(rolled_back()) } else { Ok(db) });
        if let Ok(answer) = catch_unwind(AssertUnwindSafe(|| job(db))) {
            answers.push(answer);
        }
    }
    let committed = begun.and_then(|()| {
        if db.is_autocommit() {
            return Err(rolled_back());
        }
        db.execute_batch("COMMIT").map_err(StoreError::from)
    });
    if committed.is_err() && !db.is_autocommit() {
        let _rolled_back = db.execute_batch("ROLLBACK");
    }
    for answer in answers {
        answer(committed.clone());
    }
}

/// SQLite rolls all of a transaction back by itself when the disk is full.
fn rolled_back() -> StoreError {
    let why = "use the state database: the disk is full, and nothing of this commit was stored";
    StoreError::new(StoreErrorKind::DiskFull, why)
}

fn crowded() -> StoreError {
    let why = "use the state database: too many writes wait for the disk; try again later";
    StoreError::new(StoreErrorKind::Busy, why)
}

fn gone() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "use the state database: its writer dropped the write")
}
