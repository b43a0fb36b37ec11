//! What callers do with the queue, and what the engine takes from it and settles.
//!
//! It is not for the journal: a turn is stored before it comes here, and its outcome before it leaves. What waits and in which
//! order is the queue's, in `rooms/queue.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use treewarden_core::session::{DrainReason, Item, OpenTurn, Outcome};
use treewarden_proto::TurnId;
use treewarden_proto::frame::Content;

use super::Desk;
use super::rooms::{Attached, CONSUMERS, Command, Entry, QUEUE, Rooms, Shown, Standing, TurnEntry};
use crate::events::Happening;
use crate::session::error::{QueryError, QueryErrorKind};
use crate::session::sink::{Ended, Sink};

/// A place in a session's queue, for a turn on its way to the journal; it is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    desk: Arc<Desk>,
    filled: bool,
}

impl Place {
    /// Gives the place up to what is put there under the same lock.
    fn fill(mut self, rooms: &mut Rooms) {
        rooms.queue.give_back();
        self.filled = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A turn that was refused by the journal counts as use: the session would otherwise be removed
        // between two attempts.
        if !self.filled {
            let mut rooms = self.desk.lock();
            rooms.queue.give_back();
            rooms.service.used(Instant::now());
        }
    }
}

impl Desk {
    pub(super) fn timeout(&self) -> Option<Duration> {
        Some(self.options().spec.timeout)
    }

    /// Reserves a place in the queue.
    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Place, QueryError> {
        self.reserve_in(&mut self.lock())?;
        Ok(Place { desk: Arc::clone(self), filled: false })
    }

    /// Reserves a place, unless the session is not served or its queue is full.
    fn reserve_in(&self, rooms: &mut Rooms) -> Result<(), QueryError> {
        match rooms.service.standing() {
            Standing::Served => {}
            Standing::GivenUp(failure) => return Err(QueryError::refused(failure.clone())),
            Standing::Closed(why) => {
                return Err(QueryError::new(QueryErrorKind::NoSuchSession, None, why.clone()));
            }
        }
        if !rooms.queue.reserve() {
            let message = format!(
                "the queue of session {:?} is full ({QUEUE} turns wait); wait for one to end, or use another session",
                self.name
            );
            return Err(QueryError::new(QueryErrorKind::QueueFull, None, message));
        }
        Ok(())
    }

    /// Fills a reserved place with a turn that the journal holds now.
    pub(crate) fn enqueue(&self, place: Place, turn: TurnId, prompt: Content, sink: Arc<Sink>) {
        // The entry is made before the lock is taken: `session_id` takes the same lock, and would wait for
        // itself.
        let (timeout, delivery) = (self.timeout(), self.options().delivery);
        let open = OpenTurn { turn, attempts: 0, delivery, timeout, deadline: None };
        let entry = TurnEntry {
            open,
            asked_in: self.session_id(),
            prompt: Arc::new(prompt),
            interruptions: 0,
            in_flight: false,
            restored: false,
            sinks: vec![sink],
        };
        let mut rooms = self.lock();
        place.fill(&mut rooms);
        // Where the session stands is asked again: it may have been given up or closed while the journal
        // stored the turn.
        match rooms.service.standing() {
            Standing::Served => {
                rooms.queue.push(Entry::Turn(Box::new(entry)));
                // Published under the lock: otherwise a reader could be told of the turn's end before the
                // turn itself.
                self.publish(Happening::TurnOpened { turn });
                self.ring(rooms);
            }
            Standing::GivenUp(failure) => {
                let outcome = Outcome::Failed(failure.clone());
                // The turn is queued first, since `settle` delivers to whoever waits in the queue.
                rooms.queue.push(Entry::Turn(Box::new(entry)));
                drop(rooms);
                self.settle(turn, outcome);
            }
            Standing::Closed(why) => {
                // The turn stays open in the journal: the next host, or the next session of this name, runs
                // it.
                let end = Ended::Left(why.clone());
                drop(rooms);
                entry.sinks.iter().for_each(|sink| sink.finish(end.clone()));
            }
        }
    }

    /// Queues a request for a new conversation behind what waits.
    pub(crate) fn enqueue_clear(&self) -> Result<oneshot::Receiver<()>, QueryError> {
        let (done, wait) = oneshot::channel();
        let mut rooms = self.lock();
        // Under one lock with the push: behind a close that came in between, nobody would answer.
        self.reserve_in(&mut rooms)?;
        rooms.queue.give_back();
        rooms.queue.push(Entry::Clear(done));
        self.ring(rooms);
        Ok(wait)
    }

    /// Lets another consumer wait for an open turn; `false` if it is not open.
    pub(crate) fn attach(&self, turn: TurnId, sink: &Arc<Sink>) -> Result<bool, QueryError> {
        let attached = self.lock().queue.attach(turn, sink);
        match attached {
            Attached::Yes => Ok(true),
            Attached::NotOpen => Ok(false),
            Attached::TooMany => {
                let message = format!(
                    "turn {turn} of session {:?} has {CONSUMERS} consumers already; wait for one to leave, or share a consumer",
                    self.name
                );
                Err(QueryError::new(QueryErrorKind::TooManyConsumers, Some(turn), message))
            }
        }
    }

    pub(crate) fn cancel(&self, turn: TurnId, reason: DrainReason) {
        let mut rooms = self.lock();
        if rooms.queue.turn(turn).is_some() {
            rooms.queue.command(Command::Cancel(turn, reason));
            self.ring(rooms);
        }
    }

    /// Takes the whole queue for a new machine.
    pub(crate) fn take_all(&self) -> Vec<Item> {
        self.lock().queue.take_all()
    }

    /// Takes what is new since the last call.
    pub(crate) fn take_new(&self) -> (Vec<Item>, VecDeque<Command>) {
        self.lock().queue.take_new()
    }

    /// Stores the outcome of a turn, then delivers the one that counts to everybody who waits for it.
    pub(crate) fn settle(&self, turn: TurnId, outcome: Outcome) {
        // The outcome is stored first: a host that died between the two would run a turn again whose answer
        // its caller has.
        let outcome = self.store_outcome(turn, outcome);
        self.publish(Happening::TurnSettled { turn, outcome: outcome.word() });
        let removed = {
            let mut rooms = self.lock();
            rooms.shown.note(Shown::Settled);
            rooms.service.used(Instant::now());
            rooms.queue.remove(turn)
        };
        // Delivered when the lock is free: a consumer that wakes may ask the desk at once.
        if let Some(entry) = removed {
            for sink in &entry.sinks {
                sink.finish(Ended::Settled(outcome.clone()));
            }
        }
    }

    /// Leaves a turn of the journal to another host, which holds the conversation; `false` if it was opened here.
    pub(crate) fn leave(&self, turn: TurnId, why: &str) -> bool {
        let mut rooms = self.lock();
        if rooms.queue.turn(turn).is_none_or(|entry| !entry.restored) {
            return false;
        }
        let removed = rooms.queue.remove(turn);
        rooms.service.used(Instant::now());
        drop(rooms);
        for sink in removed.iter().flat_map(|entry| &entry.sinks) {
            sink.finish(Ended::Left(why.to_owned()));
        }
        true
    }

    /// Notes that the session's conversation is a new one, as the foremost clear asked.
    pub(crate) fn cleared(&self) {
        let mut rooms = self.lock();
        let done = rooms.queue.remove_clear();
        rooms.service.used(Instant::now());
        drop(rooms);
        if let Some(done) = done {
            // Whoever asked may have gone; the conversation is a new one all the same.
            let _gone = done.send(());
        }
    }

    /// Settles whatever waits, without an engine.
    pub(crate) fn settle_all(&self, outcome: &Outcome) {
        let turns: Vec<TurnId> = self.lock().queue.turns().collect();
        for turn in turns {
            self.settle(turn, outcome.clone());
        }
    }

    /// The turn that is under way, or next.
    pub(crate) fn first_open(&self) -> Option<TurnId> {
        self.lock().queue.first_open()
    }

    pub(crate) fn interruptions(&self, turn: TurnId) -> u32 {
        self.lock().queue.turn(turn).map_or(0, |entry| entry.interruptions)
    }

    /// Whoever consumes the frames of a turn.
    pub(crate) fn sinks_of(&self, turn: TurnId) -> Vec<Arc<Sink>> {
        let all = self.lock().queue.turn(turn).map(|entry| entry.sinks.clone()).unwrap_or_default();
        // A consumer that only waits for the outcome takes no frames; to leave it out spares a copy of each.
        all.into_iter().filter(|sink| sink.wants_frames()).collect()
    }
}
