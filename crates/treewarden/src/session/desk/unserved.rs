//! What ends a turn while no engine lives: between two starts of the session, while its supervisor backs off.
//!
//! A cancel, an interrupt, a clear and the turn's own time act then as they do at any other moment. It is not for what an engine does: as
//! long as one lives, it alone settles turns. Each turn leaves the queue under the lock under which it was seen that none does,
//! or the engine that comes next would run it.

use std::sync::{MutexGuard, Weak};
use std::time::Instant;

use treewarden_core::session::{DrainReason, Evidence, Outcome, SessionState, Settlement, Whose};
use treewarden_proto::TurnId;

use super::Desk;
use super::rooms::{Job, Rooms};
use crate::events::Happening;

impl Desk {
    /// Ends a turn of a session that no engine serves at the moment; `false` if it is not open.
    pub(super) fn end_unserved(
        &self,
        mut rooms: MutexGuard<'_, Rooms>,
        turn: TurnId,
        reason: DrainReason,
    ) -> bool {
        let Some(entry) = rooms.queue.remove(turn) else { return false };
        let last = rooms.shown.last_exit().unwrap_or("it is being started again").to_owned();
        let outcome = match reason {
            DrainReason::TimedOut => {
                let (session_id, interruptions) = (entry.asked_in, entry.interruptions);
                let whose = Whose { turn, session_id, interruptions, earlier: None };
                Settlement::<Evidence>::NotInTime(last).into_outcome(whose)
            }
            // One that was sent before may have run tools, so that `Cancelled`, which promises that it never ran, would be a
            // lie.
            _ if entry.open.attempts > 0 => Outcome::Interrupted,
            _ => Outcome::Cancelled,
        };
        let job = Job::default().with_outcome(
            (turn, outcome),
            Some(entry),
            Instant::now(),
            treewarden_store::now(),
        );
        let starts = rooms.commits.push(job);
        drop(rooms);
        self.see_to(starts);
        self.clear_unserved();
        true
    }

    /// Carries out the clears that are foremost, if the session is between two restarts: no actor is there that would start an
    /// engine for them.
    pub(super) fn clear_unserved(&self) {
        loop {
            let mut rooms = self.lock();
            let service = &rooms.service;
            let is_between = service.is_served() && rooms.shown.state() == SessionState::Restarting;
            if !is_between || service.engine_lives() || service.doorbell().is_some() {
                return;
            }
            let Some(done) = rooms.queue.take_clear() else { return };
            rooms.service.used(Instant::now());
            let session_id = self.new_conversation_in(rooms, Some(done));
            self.publish(Happening::Conversation { session_id });
        }
    }

    /// Carries out what the engine that is gone was not told of any more, and sees to it that the time of turns that wait goes on.
    pub(super) fn unserved(&self) {
        loop {
            let mut rooms = self.lock();
            if rooms.service.engine_lives() {
                return;
            }
            let mut cancels = rooms.queue.take_cancels();
            let Some((turn, reason)) = cancels.pop() else { break };
            // One at a time, since each is ended under the lock; the others are found at the next look.
            for (turn, reason) in cancels {
                rooms.queue.command(super::Command::Cancel(turn, reason));
            }
            self.end_unserved(rooms, turn, reason);
        }
        self.clear_unserved();
        let mut rooms = self.lock();
        let is_due = rooms.queue.deadlines().next().is_some();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if is_due && rooms.service.watch_deadlines() {
            drop(runtime.spawn(watch(self.me.clone())));
        }
    }

    /// Ends the turns whose time is over, and says when that of the next one is; `None` if there is nothing to wait for.
    fn expire_unserved(&self) -> Option<Instant> {
        loop {
            let mut rooms = self.lock();
            let next = rooms.queue.deadlines().min_by_key(|(_, deadline)| *deadline);
            let Some((turn, deadline)) = next.filter(|_| !rooms.service.engine_lives()) else {
                // An engine sees to it itself; when that ends, another task is begun.
                rooms.service.deadlines_unwatched();
                return None;
            };
            if deadline > Instant::now() {
                return Some(deadline);
            }
            self.end_unserved(rooms, turn, DrainReason::TimedOut);
        }
    }

    /// Notes when the time of turns is over that wait for the next engine.
    pub(crate) fn keep_deadlines(&self, deadlines: impl Iterator<Item = (TurnId, Instant)>) {
        let mut rooms = self.lock();
        for (turn, deadline) in deadlines {
            rooms.queue.keep_deadline(turn, deadline);
        }
    }
}

async fn watch(desk: Weak<Desk>) {
    // Not held over the sleep: a session that nobody has any more would be kept for as long, and its warm CLIs with it.
    while let Some(until) = desk.upgrade().and_then(|desk| desk.expire_unserved()) {
        tokio::time::sleep_until(until.into()).await;
    }
}
