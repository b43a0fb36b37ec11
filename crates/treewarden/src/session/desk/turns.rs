//! What callers do with the queue, and what the engine takes from it and settles.
//!
//! It is not for the journal: a turn is stored before it comes here, and its outcome before it leaves. What waits and in which
//! order is the queue's, in `rooms/queue.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use treewarden_core::session::{DrainReason, Item, OpenTurn, Outcome, Prompt};
use treewarden_proto::{SessionId, TurnId};

use super::Desk;
use super::rooms::{
    Attached, CONSUMERS, Command, Entry, NotStored, PROMPTS, QUEUE, Room, Rooms, ServiceState, TurnEntry,
};
use crate::events::Happening;
use crate::session::error::{QueryError, QueryErrorKind};
use crate::session::sink::{Ended, Sink};

/// A place in a session's queue, for a turn on its way to the journal; it is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    desk: Arc<Desk>,
    /// How many bytes the prompt takes.
    bytes: usize,
    filled: bool,
}

impl Place {
    /// Gives the place up to what is put there under the same lock.
    fn fill(mut self, rooms: &mut Rooms) {
        rooms.queue.give_back(self.bytes);
        self.filled = true;
        // Whoever removes the session waits for it, and looks when the lock is free: the turn is there by then.
        self.desk.quiet.notify_waiters();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A turn that was refused by the journal counts as use: the session would otherwise be removed
        // between two attempts.
        if !self.filled {
            let mut rooms = self.desk.lock();
            rooms.queue.give_back(self.bytes);
            rooms.service.used(Instant::now());
            drop(rooms);
            self.desk.quiet.notify_waiters();
        }
    }
}

impl Desk {
    pub(super) fn timeout(&self) -> Option<Duration> {
        Some(self.options().spec.timeout)
    }

    /// Reserves a place in the queue for a prompt, which has to say something.
    pub(crate) fn reserve(self: &Arc<Self>, prompt: &Prompt) -> Result<Place, QueryError> {
        if prompt.content().is_blank() {
            return Err(QueryError::blank(&self.name));
        }
        let bytes = prompt.content().size();
        self.reserve_in(&mut self.lock(), bytes)?;
        Ok(Place { desk: Arc::clone(self), bytes, filled: false })
    }

    /// Reserves a place, unless the session is not served or its queue is full.
    fn reserve_in(&self, rooms: &mut Rooms, bytes: usize) -> Result<(), QueryError> {
        match rooms.service.state() {
            ServiceState::Served => {}
            ServiceState::GivenUp(failure) => return Err(QueryError::refused(failure.clone())),
            ServiceState::Closed(why) => {
                let message = format!("{} takes no turn: {why}", self.name);
                return Err(QueryError::new(QueryErrorKind::NoSuchSession, None, message));
            }
        }
        // An outcome that the store does not take has the place of its turn, so that there are never more than that.
        let full = match rooms.queue.reserve(rooms.commits.in_hand(), bytes) {
            Room::Reserved => return Ok(()),
            Room::TooMany => format!("{QUEUE} turns wait"),
            Room::TooLarge => format!("the prompts that wait may take {} MiB together", PROMPTS >> 20),
        };
        let message = format!(
            "the queue of session {:?} is full ({full}); wait for one to end, or use another session",
            self.name
        );
        Err(QueryError::new(QueryErrorKind::QueueFull, None, message))
    }

    /// Fills a reserved place with a turn that the journal holds now.
    pub(crate) fn enqueue(
        &self,
        place: Place,
        turn: TurnId,
        prompt: Prompt,
        sink: Arc<Sink>,
        detached: bool,
    ) {
        // The entry is made before the lock is taken: `session_id` takes the same lock, and would wait for
        // itself.
        let (timeout, delivery) = (self.timeout(), self.options().delivery);
        let patience = self.patience(detached, Duration::ZERO);
        let open = OpenTurn { turn, attempts: 0, delivery, timeout, deadline: None, patience };
        let entry = TurnEntry {
            open,
            asked_in: self.session_id(),
            prompt: Arc::new(prompt),
            bytes: place.bytes,
            interruptions: 0,
            in_flight: false,
            restored: false,
            sinks: vec![sink],
        };
        let mut rooms = self.lock();
        place.fill(&mut rooms);
        // Where the session stands is asked again: it may have been given up or closed while the journal
        // stored the turn.
        match rooms.service.state() {
            ServiceState::Served => {
                rooms.queue.push(Entry::Turn(Box::new(entry)));
                // Published under the lock: otherwise a reader could be told of the turn's end before the
                // turn itself.
                self.publish(Happening::TurnOpened { turn });
                self.ring(rooms);
            }
            ServiceState::GivenUp(failure) => {
                let outcome = Outcome::Failed(failure.clone());
                // The turn is queued first, since `settle` delivers to whoever waits in the queue.
                rooms.queue.push(Entry::Turn(Box::new(entry)));
                drop(rooms);
                self.settle(turn, outcome, None);
            }
            // Whoever stops or removes the session waits for the turns that were on their way, and cancels them.
            ServiceState::Closed(_) if rooms.service.cancels_turns() => {
                rooms.queue.push(Entry::Turn(Box::new(entry)));
                self.publish(Happening::TurnOpened { turn });
            }
            ServiceState::Closed(why) => {
                // The turn stays open in the journal: the next host, or the next session of this name, runs
                // it.
                let end = Ended::Left(why.clone());
                drop(rooms);
                entry.sinks.iter().for_each(|sink| sink.finish(end.clone()));
            }
        }
    }

    /// Queues a request for a new conversation behind what waits.
    pub(crate) fn enqueue_clear(&self) -> Result<oneshot::Receiver<Result<bool, NotStored>>, QueryError> {
        let (done, wait) = oneshot::channel();
        let mut rooms = self.lock();
        // Under one lock with the push: behind a close that came in between, nobody would answer.
        self.reserve_in(&mut rooms, 0)?;
        rooms.queue.give_back(0);
        rooms.queue.push(Entry::Clear(done));
        self.ring(rooms);
        // Between two restarts nobody was there to be rung for, and the next one may be minutes away.
        self.clear_unserved();
        Ok(wait)
    }

    /// Lets another consumer wait for an open turn; `false` if it is not open.
    pub(crate) fn attach(&self, turn: TurnId, sink: &Arc<Sink>) -> Result<bool, QueryError> {
        let mut rooms = self.lock();
        // Out of the queue a turn may still be on its way to the store.
        let attached = match rooms.queue.attach(turn, sink) {
            Attached::NotOpen => rooms.commits.attach(turn, sink),
            attached => attached,
        };
        drop(rooms);
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
        if !rooms.service.engine_lives() {
            self.end_unserved(rooms, turn, reason);
        } else if rooms.queue.turn(turn).is_some() {
            rooms.queue.command(Command::Cancel(turn, reason));
            self.ring(rooms);
        }
    }

    /// Takes the whole queue for a new machine, with the turns whose outcome is on its way to the store.
    pub(crate) fn take_all(&self) -> (Vec<Item>, Vec<TurnId>) {
        // Both under one lock: an outcome that is delivered in between would be waited for without end.
        let mut rooms = self.lock();
        rooms.settled.clear();
        (rooms.queue.take_all(), rooms.commits.untold())
    }

    /// Takes what is new since the last call, and the turns whose outcome was delivered since.
    pub(crate) fn take_new(&self) -> (Vec<Item>, VecDeque<Command>, Vec<TurnId>) {
        let mut rooms = self.lock();
        let (items, commands) = rooms.queue.take_new();
        (items, commands, std::mem::take(&mut rooms.settled))
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

    /// Gives the session a new conversation, as the foremost clear asked: whoever waits for that is told when it is stored.
    pub(crate) fn clear(&self) -> SessionId {
        let mut rooms = self.lock();
        let done = rooms.queue.remove_clear();
        rooms.service.used(Instant::now());
        drop(rooms);
        self.new_conversation(done)
    }

    /// Settles whatever waits, without an engine.
    pub(crate) fn settle_all(&self, outcome: &Outcome) {
        let turns: Vec<TurnId> = self.lock().queue.turns().collect();
        for turn in turns {
            self.settle(turn, outcome.clone(), None);
        }
    }

    /// The turn that is under way, or next.
    pub(crate) fn first_open(&self) -> Option<TurnId> {
        self.lock().queue.first_open()
    }

    /// What an open turn asks.
    pub(crate) fn prompt(&self, turn: TurnId) -> Option<Arc<Prompt>> {
        self.lock().queue.turn(turn).map(|entry| Arc::clone(&entry.prompt))
    }

    /// Whether a turn was found open in the store, and had been sent to a CLI then.
    pub(crate) fn was_sent_by_another_host(&self, turn: TurnId) -> bool {
        self.lock().queue.turn(turn).is_some_and(|entry| entry.restored && entry.open.attempts > 0)
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
