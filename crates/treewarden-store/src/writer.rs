//! The writer of [`Durability::Power`](crate::Durability): one thread, so that callers at one time share one sync.
//!
//! Jobs wait in a bounded queue. The thread takes what waits, up to a bound: it appends what goes to the tail of the
//! journal and syncs that once, runs what goes to the database in one transaction, commits, and answers each job. No caller
//! waits for longer than its [limits](LIMITS): a disk that answers nobody must not keep a session for ever. It is not used
//! for [`Durability::Process`](crate::Durability), where a commit costs no sync.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::tail::Tail;
use crate::{StoreError, StoreErrorKind};

/// How many jobs wait at most.
const QUEUE: usize = 1024;
/// How many jobs share a commit at most.
const BATCH: usize = 256;
/// How long a caller waits.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// For a place in the queue.
    place: Duration,
    /// For the answer, the wait for a place included. Longer than a busy disk takes for a sync: whoever is told that nobody
    /// knows has more to do than to wait.
    answer: Duration,
}

const LIMITS: Limits = Limits { place: Duration::from_secs(10), answer: Duration::from_secs(30) };

/// Tells one caller how its job ended, once the commit or sync is known.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Appends to the tail.
type Append = Box<dyn FnOnce(&mut Tail) -> Answer + Send>;
/// Runs in the transaction, or learns why there is none.
type Write = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Answer + Send>;

enum Job {
    Append(Append),
    Write(Write),
}

#[derive(Debug)]
pub(crate) struct Writer {
    queue: Arc<Queue>,
    limits: Limits,
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
        // Not under the lock: the thread that is woken would run into it at once.
        drop(state);
        self.work.notify_one();
    }
}

impl Writer {
    pub(crate) fn start(db: Connection, tail: Arc<Mutex<Tail>>) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::default());
        let work = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("treewarden-store".into());
        let thread = thread.spawn(move || run(&work, &db, &tail))?;
        Ok(Self { queue, limits: LIMITS, thread: Some(thread) })
    }

    /// Runs `op` in a shared transaction and waits for the commit.
    pub(crate) fn write<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.wait(|reply| Job::Write(Box::new(move |db| answer(db.and_then(op), reply))))
    }

    /// As [`Writer::write`], without blocking the thread.
    pub(crate) async fn write_async<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.wait_async(|reply| Job::Write(Box::new(move |db| answer(db.and_then(op), reply)))).await
    }

    /// Runs `op` on the tail and waits for a shared sync.
    pub(crate) fn append<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tail) -> Result<T, StoreError> + Send + 'static,
    {
        self.wait(|reply| Job::Append(Box::new(move |tail| answer(op(tail), reply))))
    }

    /// As [`Writer::append`], without blocking the thread.
    pub(crate) async fn append_async<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tail) -> Result<T, StoreError> + Send + 'static,
    {
        self.wait_async(|reply| Job::Append(Box::new(move |tail| answer(op(tail), reply)))).await
    }

    fn wait<T: Send + 'static>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let (send, answer) = std::sync::mpsc::sync_channel(1);
        let asked = Instant::now();
        let mut state = self.queue.state();
        while state.jobs.len() >= QUEUE {
            let left = self.limits.place.saturating_sub(asked.elapsed());
            if left.is_zero() {
                return Err(crowded());
            }
            state = self.queue.room.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.queue.push(state, job(Box::new(move |result| drop(send.send(result)))));
        match answer.recv_timeout(self.limits.answer.saturating_sub(asked.elapsed())) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
            Err(RecvTimeoutError::Timeout) => Err(unknown()),
        }
    }

    async fn wait_async<T: Send + 'static>(
        &self,
        job: impl FnOnce(Reply<T>) -> Job,
    ) -> Result<T, StoreError> {
        let asked = tokio::time::Instant::now();
        let (send, answer) = tokio::sync::oneshot::channel();
        let place = self.place(job(Box::new(move |result| drop(send.send(result)))));
        timeout_at(asked + self.limits.place, place).await.map_err(|_| crowded())?;
        match timeout_at(asked + self.limits.answer, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(unknown()),
        }
    }

    /// Waits for a place, however long that takes; a call that is dropped meanwhile has placed nothing.
    async fn place(&self, job: Job) {
        loop {
            let room = self.queue.room_async.notified();
            tokio::pin!(room);
            // Registered before the look, so that room made in between is not missed.
            room.as_mut().enable();
            {
                let state = self.queue.state();
                if state.jobs.len() < QUEUE {
                    self.queue.push(state, job);
                    return;
                }
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
        // The last handle of a store may go within a job, on the writer's own thread, which cannot wait for
        // itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ended = thread.join();
        }
    }
}

/// Takes the result of a job to its caller.
type Reply<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

fn answer<T: Send + 'static>(result: Result<T, StoreError>, reply: Reply<T>) -> Answer {
    Box::new(move |committed| reply(committed.and(result)))
}

fn run(queue: &Queue, db: &Connection, tail: &Mutex<Tail>) {
    loop {
        let mut state = queue.state();
        while state.jobs.is_empty() {
            // Only with nothing left: whoever closes waits for the thread, and what was accepted is stored by
            // then.
            if state.closed {
                return;
            }
            state = queue.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.jobs.len().min(BATCH);
        let jobs: Vec<Job> = state.jobs.drain(..count).collect();
        drop(state);
        // Everybody: up to 256 places are free now, and one who is woken alone would leave the others to
        // wait for the next batch.
        queue.room.notify_all();
        queue.room_async.notify_waiters();
        let (mut appends, mut writes) = (Vec::new(), Vec::new());
        for job in jobs {
            match job {
                Job::Append(append) => appends.push(append),
                Job::Write(write) => writes.push(write),
            }
        }
        if !appends.is_empty() {
            append(tail, appends);
        }
        if !writes.is_empty() {
            write(db, writes);
        }
    }
}

pub(crate) fn lock(tail: &Mutex<Tail>) -> MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

fn append(tail: &Mutex<Tail>, jobs: Vec<Append>) {
    let mut tail = lock(tail);
    let mut answers: Vec<Answer> = Vec::with_capacity(jobs.len());
    for job in jobs {
        // A job that panics answers nothing: its caller sees that the writer dropped it.
        if let Ok(answer) = catch_unwind(AssertUnwindSafe(|| job(&mut tail))) {
            answers.push(answer);
        }
    }
    let synced = tail.sync();
    // Whoever is answered asks the tail again, and would wait for all the other answers.
    drop(tail);
    for answer in answers {
        answer(synced.clone());
    }
}

fn write(db: &Connection, jobs: Vec<Write>) {
    let begun = db.execute_batch("BEGIN IMMEDIATE").map_err(StoreError::from);
    let mut answers: Vec<Answer> = Vec::with_capacity(jobs.len());
    for job in jobs {
        // A job that panics answers nothing: its caller sees that the writer dropped it.
        // SQLite ends the transaction by itself when the disk is full. A job that ran on would commit alone,
        // and be told with the others that nothing was stored.
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
        // A commit that failed leaves the transaction open: every later BEGIN would be refused.
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

/// The job stays in the queue: taken out, it could be the one that is being written.
fn unknown() -> StoreError {
    let why = "use the state database: the disk did not answer in time, and nobody knows whether the write is stored, or \
               still will be";
    StoreError::new(StoreErrorKind::Unknown, why)
}

fn gone() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "use the state database: its writer dropped the write")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::patience::Patience;
    use crate::{Durability, schema};

    /// A writer whose disk answers nobody until the sender is dropped, and whose callers wait for a moment.
    fn stuck(dir: &Path) -> (Writer, Sender<()>) {
        let opened = schema::open(dir, Durability::Power, Patience::of_an_opening()).expect("opened");
        let tail = Tail::open(dir.to_owned(), &opened, true).expect("opened");
        let db = schema::connect(&opened.path, Durability::Power).expect("opened");
        let mut writer = Writer::start(db, Arc::new(Mutex::new(tail))).expect("started");
        writer.limits = Limits { place: Duration::from_millis(20), answer: Duration::from_millis(40) };
        let ((stuck, until), (began, is_stuck)) = (channel(), channel());
        let job: Write = Box::new(move |_| {
            began.send(()).expect("somebody waits");
            let _freed = until.recv();
            Box::new(|_| {})
        });
        writer.queue.push(writer.queue.state(), Job::Write(job));
        is_stuck.recv_timeout(Duration::from_secs(60)).expect("the writer takes it");
        (writer, stuck)
    }

    /// Fails where `wait` would be kept for ever.
    async fn in_time<T>(wait: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the wait has an end")
    }

    #[tokio::test]
    async fn whoever_waits_for_a_disk_that_does_not_answer_is_told_that_nobody_knows() {
        let dir = tempfile::tempdir().expect("a folder");
        let (writer, stuck) = stuck(dir.path());
        let make = |db: &Connection| Ok(db.execute_batch("CREATE TABLE late (a)")?);
        let error = in_time(writer.write_async(make)).await.expect_err("nobody knows");
        assert_eq!(error.kind(), StoreErrorKind::Unknown, "{error}");
        let (writer, error) = in_time(async {
            tokio::task::spawn_blocking(move || {
                let error = writer.append(|_| Ok(())).expect_err("nobody knows");
                (writer, error)
            })
            .await
            .expect("no panic")
        })
        .await;
        assert_eq!(error.kind(), StoreErrorKind::Unknown, "{error}");
        // It may be stored all the same, in its order.
        drop(stuck);
        drop(writer);
        let db = schema::connect(&dir.path().join("treewarden.db"), Durability::Power).expect("opened");
        db.execute_batch("SELECT a FROM late").expect("it was stored");
    }

    #[tokio::test]
    async fn whoever_finds_no_place_in_the_queue_waits_for_a_while_and_no_longer() {
        let dir = tempfile::tempdir().expect("a folder");
        let (writer, stuck) = stuck(dir.path());
        for _ in 0..QUEUE {
            let nothing: Write = Box::new(|_| Box::new(|_| {}));
            writer.queue.push(writer.queue.state(), Job::Write(nothing));
        }
        let error = in_time(writer.write_async(|_| Ok(()))).await.expect_err("there is no place");
        assert_eq!(error.kind(), StoreErrorKind::Busy, "{error}");
        assert_eq!(writer.queue.state().jobs.len(), QUEUE, "nothing was placed");
        drop(stuck);
    }
}
