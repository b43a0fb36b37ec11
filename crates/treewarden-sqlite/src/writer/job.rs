//! One caller's job: what is run for it, and how it is answered.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::oneshot;
use treewarden_store::CommitError;

use crate::error::Fault;
use crate::transaction::Transaction;

/// Whether a job has begun, which its caller and the writer ask at once: exactly one of them gets its way.
#[derive(Debug, Default)]
pub(crate) struct Ticket(AtomicU8);

const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    /// Its caller waits no more, and it is never to be run; `false` if it has begun.
    pub(crate) fn withdraw(&self) -> bool {
        self.become_(WITHDRAWN)
    }

    /// It is to be run; `false` if its caller has gone.
    pub(crate) fn begin(&self) -> bool {
        self.become_(BEGUN)
    }

    fn become_(&self, what: u8) -> bool {
        match self.0.compare_exchange(WAITS, what, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(was) => was == what,
        }
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.0.load(Ordering::Acquire) == WITHDRAWN
    }
}

/// What the writer does with a job, whatever it is about.
pub(crate) trait Job: Send {
    /// Runs it in a transaction; the result waits for the commit.
    fn run(&mut self, to: &Transaction<'_>) -> Result<(), Fault>;
    /// About how many bytes it writes.
    fn bytes(&self) -> usize;
    /// Says how it ended: with its result, if the transaction is stored.
    fn answer(self: Box<Self>, ended: Result<(), CommitError>);
}

/// A job that is a function.
pub(crate) struct Task<T, F> {
    op: F,
    bytes: usize,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, CommitError>>,
}

/// Where the answer comes.
pub(crate) type Answer<T> = oneshot::Receiver<Result<T, CommitError>>;

impl<T, F> Task<T, F>
where
    T: Send + 'static,
    F: FnMut(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
{
    /// The job of a function, and where its answer comes.
    pub(crate) fn with_answer(op: F, bytes: usize) -> (Box<dyn Job>, Answer<T>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { op, bytes, result: None, reply }), answer)
    }
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnMut(&Transaction<'_>) -> Result<T, Fault> + Send,
{
    fn run(&mut self, to: &Transaction<'_>) -> Result<(), Fault> {
        self.result = Some((self.op)(to)?);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn answer(self: Box<Self>, ended: Result<(), CommitError>) {
        let Self { result, reply, .. } = *self;
        let answer = ended.map(|()| result.expect("a job is answered with its result after it was run"));
        // Whoever does not wait any more may ask again.
        let _gone = reply.send(answer);
    }
}
