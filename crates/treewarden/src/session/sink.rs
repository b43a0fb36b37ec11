//! The bounded buffer between the engine that reads a CLI and whoever consumes a turn.
//!
//! It is bounded in bytes. While it is full the engine stops reading that CLI's stdout, so that the pipe pushes back
//! on the CLI; nothing is dropped. What the engine has to tell at once (outcomes, control answers) does not pass
//! through the bound. From the moment when a turn is interrupted its CLI is read to the result, whoever consumes it:
//! then what does not fit is dropped, with all that follows it but the result.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use treewarden_proto::frame::FrameKind;

use super::delivered::Delivered;
use super::event::Event;

/// How many bytes of frames wait for a consumer at most, besides one batch.
pub(crate) const CAPACITY: usize = 1 << 20;

/// How a turn ended for one consumer.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    /// It was settled.
    Settled(Delivered),
    /// Its session ended first; the turn stays open in the journal.
    Left(String),
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Event>,
    bytes: usize,
    end: Option<Ended>,
    /// Nobody wants the frames: only the outcome counts.
    outcome_only: bool,
    /// Something did not fit, so that nothing but the result may follow.
    cut: bool,
    consumer: Option<Waker>,
    engine: Option<Waker>,
}

/// One consumer's end of a turn.
pub(crate) struct Sink {
    inner: Mutex<Inner>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

impl Sink {
    pub(crate) fn new(outcome_only: bool) -> Self {
        Self { inner: Mutex::new(Inner { outcome_only, ..Inner::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether frames are to be kept at all.
    pub(crate) fn wants_frames(&self) -> bool {
        !self.lock().outcome_only
    }

    /// Takes a batch; tells whether the buffer is full now.
    pub(crate) fn push(&self, batch: impl Iterator<Item = Event>) -> bool {
        let mut inner = self.lock();
        if inner.outcome_only {
            return false;
        }
        // The whole batch is taken, over the bound too: what was read from the pipe cannot be put back.
        for event in batch {
            inner.bytes += event.size();
            inner.events.push_back(event);
        }
        let full = inner.bytes >= CAPACITY;
        // The consumer is woken when the lock is free: it takes that lock first.
        let consumer = inner.consumer.take();
        drop(inner);
        if let Some(waker) = consumer {
            waker.wake();
        }
        full
    }

    /// Takes a batch of a turn that is made to end, as far as there is room: see the [module](self).
    pub(crate) fn push_what_fits(&self, batch: impl Iterator<Item = Event>) {
        let mut inner = self.lock();
        if inner.outcome_only {
            return;
        }
        for event in batch {
            // All is dropped from the first frame that does not fit: an answer with a hole in it would look
            // like a whole one.
            inner.cut |= inner.bytes >= CAPACITY;
            if !inner.cut || is_result(&event) {
                inner.bytes += event.size();
                inner.events.push_back(event);
            }
        }
        let consumer = inner.consumer.take();
        drop(inner);
        if let Some(waker) = consumer {
            waker.wake();
        }
    }

    /// Tells whether the engine has to wait for this consumer.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().bytes >= CAPACITY
    }

    /// Tells the consumer that another CLI carries the turn on.
    pub(crate) fn resumed(&self, interruptions: u32) {
        self.push(std::iter::once(Event::Resumed { interruptions }));
    }

    /// Ends the turn for this consumer; what is buffered is still delivered first.
    pub(crate) fn finish(&self, end: Ended) {
        let mut inner = self.lock();
        // The first end stands, as the first outcome does.
        if inner.end.is_none() {
            inner.end = Some(end);
        }
        let consumer = inner.consumer.take();
        drop(inner);
        if let Some(waker) = consumer {
            waker.wake();
        }
    }

    /// Drops what is buffered and asks for no more: the consumer is gone or wants only the outcome.
    pub(crate) fn close_frames(&self) {
        let mut inner = self.lock();
        inner.outcome_only = true;
        // The queue is let go and not only emptied: up to 1 MiB would stay with a consumer that waits for the
        // outcome alone.
        inner.events = VecDeque::new();
        inner.bytes = 0;
        if let Some(waker) = inner.engine.take() {
            waker.wake();
        }
    }

    /// Waits, on the engine's side, until there is room.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.bytes < CAPACITY {
            // Look and waker are under one lock: room that is made in between would wake nobody, and the CLI
            // would wait for ever.
            Poll::Ready(())
        } else {
            inner.engine = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    /// Takes everything that is buffered into `into`, which is empty; `Some` is the end, `None` that there is more.
    pub(crate) fn poll_take(&self, into: &mut VecDeque<Event>, cx: &mut Context<'_>) -> Poll<Option<Ended>> {
        let mut inner = self.lock();
        if !inner.events.is_empty() {
            // The consumer's empty buffer comes back for the next frames.
            std::mem::swap(&mut inner.events, into);
            inner.bytes = 0;
            if let Some(waker) = inner.engine.take() {
                waker.wake();
            }
            return Poll::Ready(None);
        }
        // The end is told behind the last frame, or that frame would never be read.
        match &inner.end {
            Some(end) => Poll::Ready(Some(end.clone())),
            None => {
                inner.consumer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.lock().end.is_some()
    }
}

fn is_result(event: &Event) -> bool {
    matches!(event, Event::Frame(frame) if frame.kind() == FrameKind::Result)
}
