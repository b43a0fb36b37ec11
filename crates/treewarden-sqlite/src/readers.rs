//! The threads that read, each with a connection of its own: what was committed before a question is seen by its answer.
//!
//! It is for waiting without blocking a thread of the caller. Nothing that is run here writes a row.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;
use treewarden_store::{StoreError, StoreErrorKind};

use crate::error::Fault;
use crate::patience::Patience;
use crate::place::Place;

/// How many questions wait at most. Each holds a name or an id.
const QUEUE: usize = 1024;

type Question = Box<dyn FnOnce(&Connection) + Send>;

#[derive(Debug)]
pub(crate) struct Readers {
    queue: Arc<Queue>,
    place: Arc<Place>,
    limit: Duration,
    /// Taken by whoever ends them; held for that alone.
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// A question came, or the readers are to end.
    work: Condvar,
}

#[derive(Default)]
struct State {
    questions: VecDeque<Question>,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Readers {
    pub(crate) fn start(
        connections: Vec<Connection>,
        place: Arc<Place>,
        limit: Duration,
    ) -> Result<Self, Fault> {
        let readers = Self { queue: Arc::new(Queue::default()), place, limit, threads: Mutex::default() };
        for db in connections {
            let queue = Arc::clone(&readers.queue);
            let thread = std::thread::Builder::new().name("treewarden-read".into());
            let thread = thread.spawn(move || run(&queue, &db))?;
            readers.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(readers)
    }

    /// Asks; the answer waits for its turn, and for another process that keeps the database locked, up to a limit.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read, or not in time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a question changes nothing.
    pub(crate) async fn ask<T, F>(&self, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let (mut op, patience, place) = (op, self.patience(), Arc::clone(&self.place));
        self.push(Box::new(move |db| {
            // Nobody waits any more.
            if !reply.is_closed() {
                let _gone = reply.send(patience.run(place.path(), || op(db)));
            }
        }))?;
        match tokio::time::timeout(self.limit, answer).await {
            Ok(Ok(answer)) => self.told(answer),
            Ok(Err(_)) => Err(self.failure(StoreErrorKind::Other, "the question panicked")),
            Err(_) => Err(self.failure(StoreErrorKind::Busy, "the disk does not answer; ask again")),
        }
    }

    /// The same for a caller that may block its thread, for a time that it says.
    pub(crate) fn ask_and_wait<T, F>(&self, limit: Duration, op: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let (mut op, patience, place) = (op, self.patience(), Arc::clone(&self.place));
        self.push(Box::new(move |db| drop(reply.send(patience.run(place.path(), || op(db))))))?;
        match answer.recv_timeout(limit) {
            Ok(answer) => self.told(answer),
            Err(_) => Err(self.failure(StoreErrorKind::Busy, "the disk does not answer; ask again")),
        }
    }

    fn patience(&self) -> Patience {
        Patience::until(Instant::now() + self.limit)
    }

    fn push(&self, question: Question) -> Result<(), StoreError> {
        let mut state = self.queue.state();
        if state.closed {
            return Err(self.failure(
                StoreErrorKind::Other,
                "it is closed, as the program that has it open ends; ask the next one",
            ));
        }
        if state.questions.len() >= QUEUE {
            return Err(self.failure(StoreErrorKind::Busy, "too many questions wait for the disk; ask again"));
        }
        state.questions.push_back(question);
        // Not under the lock: the thread that is woken would run into it at once.
        drop(state);
        self.queue.work.notify_one();
        Ok(())
    }

    fn told<T>(&self, answer: Result<T, Fault>) -> Result<T, StoreError> {
        answer.map_err(|fault| fault.tell(self.place.path())).inspect_err(|error| self.place.found(error))
    }

    fn failure(&self, kind: StoreErrorKind, why: &str) -> StoreError {
        StoreError::new(kind, format!("read the state database {}: {why}", self.place.path().display()))
    }
}

impl Readers {
    /// Takes no more questions, lets those that wait go, and waits until the connections are closed.
    pub(crate) fn end(&self) {
        let left = {
            let mut state = self.queue.state();
            state.closed = true;
            std::mem::take(&mut state.questions)
        };
        drop(left);
        self.queue.work.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // The last handle of a store may go within a question, on a thread that cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ended = thread.join();
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.end();
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(queue: &Queue, db: &Connection) {
    loop {
        let mut state = queue.state();
        let question = loop {
            match state.questions.pop_front() {
                Some(question) => break question,
                None if state.closed => return,
                None => state = queue.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(state);
        // One that panics answers nothing: its caller sees that it was dropped.
        let _panicked = catch_unwind(AssertUnwindSafe(|| question(db)));
    }
}
