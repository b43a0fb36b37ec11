//! What the journal is told of a turn: that it is open, sent, interrupted, and how it came out.
//!
//! The journal comes first: what is stored here is stored before anybody is told. It is not for the order of turns, which is
//! the queue's, nor for what a turn comes to, which is the machine's.

use std::sync::Arc;
use std::time::Instant;

use treewarden_core::session::{Delivery, Outcome, OutcomeRecord};
use treewarden_proto::TurnId;
use treewarden_proto::frame::Content;
use treewarden_store::{Settled as Stored, StoreError, StoreErrorKind, TurnRow};

use super::Desk;
use crate::session::sink::Sink;

impl Desk {
    /// Makes a new turn durable.
    pub(crate) async fn open_turn(&self, turn: TurnId, prompt: &Content) -> Result<(), StoreError> {
        if !self.host.store().keeps_turns() {
            return Ok(());
        }
        let at_most_once = self.options().delivery == Delivery::AtMostOnce;
        let prompt = serde_json::to_value(prompt).unwrap_or_default();
        let row = TurnRow::new(turn, self.name.clone(), self.session_id(), prompt, at_most_once);
        // The next host looks for open turns under the names that have a record; a first turn may wait long for a CLI.
        self.see_that_it_is_recorded()?;
        // Until the store has answered, a caller who gives up leaves a row behind that nobody waits for, and
        // that the next host would run.
        let mut unopened = Unopened { desk: self, turn, given_up: true };
        let opened = self.host.store().open_turn_durable(&row).await;
        // Told as failed, a turn that is stored after all must not run at the next start either.
        unopened.given_up = opened.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Unknown);
        opened
    }

    /// Stores an outcome, and returns the one that counts: a turn has one outcome, and the first one stands.
    pub(super) fn store_outcome(&self, turn: TurnId, outcome: Outcome) -> Outcome {
        // A clear may have come between the question and the answer: the journal has to know in which of the
        // two conversations the answer stands.
        let answered_in = outcome.answer().map(|answer| answer.session_id);
        let asked_in = |desk: &Self| desk.lock().queue.turn(turn).map(|entry| entry.asked_in);
        let answered_in = answered_in.filter(|id| asked_in(self) != Some(*id));
        let stored = self.host.store().settle_json(turn, answered_in, || outcome.to_json());
        match stored {
            Ok(Stored::Now) => {
                self.note_completed(turn, &outcome);
                outcome
            }
            Ok(Stored::Already(first)) => {
                // Whoever settled it first had the conversation, and may have gone on with it: the journal
                // has to be asked for its last turn.
                self.forget_completed();
                match serde_json::from_str::<OutcomeRecord>(first.get()) {
                    Ok(first) => first.into_outcome(turn, self.session_id()),
                    // The first outcome cannot be read, as one of a newer version may be. The caller gets
                    // what was found here, and the journal keeps the first.
                    Err(_) => outcome,
                }
            }
            Err(error) => {
                // The caller still gets it; after a crash of the host the turn is asked for again under the same id.
                tracing::error!(session = %self.name, %turn, %error, "failed to store the outcome of a turn");
                outcome
            }
        }
    }

    /// Counts a crash against the turns that it interrupted, and says which.
    pub(crate) fn interrupted(&self) -> Vec<(TurnId, u32)> {
        let hit = self.lock().queue.interrupted();
        let tell = |(turn, interruptions, sinks): (TurnId, u32, Vec<Arc<Sink>>)| {
            sinks.iter().for_each(|sink| sink.resumed(interruptions));
            if let Err(error) = self.host.store().mark_interrupted(turn) {
                tracing::warn!(session = %self.name, %turn, %error, "failed to count an interruption");
            }
            (turn, interruptions)
        };
        hit.into_iter().map(tell).collect()
    }

    /// Notes that the CLI carries the turn on by itself: if it dies now, it dies under that turn.
    pub(crate) fn carried_on(&self, turn: TurnId) {
        self.lock().queue.in_flight(turn);
    }

    /// Notes that a turn is being written to a CLI, and returns its prompt, unless nobody has the turn any more.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the turn may run once at most and the note cannot be stored: the turn must not be sent.
    pub(crate) fn sent(
        &self,
        turn: TurnId,
        deadline: Option<Instant>,
    ) -> Result<Option<Arc<Content>>, StoreError> {
        let mut rooms = self.lock();
        let Some(entry) = rooms.queue.in_flight(turn) else { return Ok(None) };
        entry.open.deadline = deadline;
        let prompt = Arc::clone(&entry.prompt);
        let at_most_once = entry.open.delivery == Delivery::AtMostOnce;
        let first = rooms.identity.record().is_some_and(|record| !record.persisted);
        // The record is changed in the order of `writers`, which is taken before the desk's lock and never
        // under it.
        drop(rooms);
        // What is sent once more does no harm, unless it may run once at most: only such a turn has to say
        // that it was sent. Sent without that, it would run again in the next host, which finds it queued.
        if at_most_once {
            self.host.store().mark_sent(turn)?;
        }
        // Behind the note above: the record of a conversation whose first turn is not sent must not ask for a transcript.
        if first {
            self.note_persisted();
        }
        Ok(Some(prompt))
    }
}

/// A turn on its way to the journal: if its caller gives up meanwhile, it must not run at the next start.
struct Unopened<'a> {
    desk: &'a Desk,
    turn: TurnId,
    given_up: bool,
}

impl Drop for Unopened<'_> {
    fn drop(&mut self) {
        if !self.given_up {
            return;
        }
        let (store, turn) = (self.desk.host.store().clone(), self.turn);
        // The writer takes its jobs in order, so that this one comes after the row.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let cancelled =
                    store.settle_durable(turn, &OutcomeRecord::without_frame(&Outcome::Cancelled)).await;
                if let Err(error) = cancelled {
                    tracing::debug!(%turn, %error, "a turn that was given up was not stored");
                }
            });
        }
    }
}
