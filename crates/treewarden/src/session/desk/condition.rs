//! What the desk shows of its session, and says to the feed when that changes.

use std::time::Instant;

use treewarden_core::session::SessionState;
use treewarden_proto::TurnId;

use super::Desk;
use super::rooms::{Shown, Work};
use crate::events::Happening;
use crate::session::status::Status;

impl Desk {
    /// Shows this in the status from now on.
    pub(crate) fn note(&self, shown: Shown) {
        self.lock().shown.note(shown);
    }

    /// Shows what the session does.
    pub(crate) fn set_state(&self, state: SessionState, pid: Option<u32>, turn: Option<TurnId>) {
        // Published when the lock is free: the state is stored by then, so that whoever is woken by the event
        // reads it.
        let changed = self.lock().shown.set_state(state, pid, turn);
        if changed {
            tracing::debug!(session = %self.name, ?state, pid, "session");
            self.publish(Happening::State { state, pid });
        }
    }

    /// Shows what the CLI does by itself, and what of the conversation only it has.
    pub(crate) fn show_work(&self, work: &Work) {
        let before = {
            // The time without work begins at the end of the CLI's own work, or a session would be removed as
            // idle right behind an hour of it.
            let mut rooms = self.lock();
            if rooms.shown.works() {
                rooms.service.used(Instant::now());
            }
            rooms.shown.set_work(work)
        };
        match work.unsaved.as_deref() {
            Some(why) if before.as_deref() != Some(why) => {
                tracing::warn!(session = %self.name, why, "a conversation is not on disk, and its CLI is kept");
                self.publish(Happening::Unsaved { why: why.to_owned() });
            }
            None if before.is_some() => self.publish(Happening::Saved),
            _ => {}
        }
    }

    /// The CLI is gone, and what it did by itself with it.
    pub(crate) fn forget_work(&self) {
        self.lock().shown.set_work(&Work::default());
    }

    /// Shows that no turn begins before this time.
    pub(crate) fn suspend(&self, until: Instant) {
        self.lock().shown.suspend(until, Instant::now());
    }

    /// The session's status, at once, whatever it is doing.
    pub(crate) fn status(&self) -> Status {
        let rooms = self.lock();
        // A copy is made of what is shown, since the status looks whether processes still live, which asks
        // the system.
        let (shown, queued) = (rooms.shown.clone(), rooms.queue.len());
        let session_id = rooms.identity.record().map(|record| record.session_id);
        // Whose it was is known.
        let session_id = session_id.or_else(|| rooms.identity.lost()?.session_id);
        let spent = rooms.identity.record().and_then(|record| record.spent);
        let unstored = rooms.commits.unstored();
        let lost = rooms.identity.lost().map(|lost| lost.why.clone().into());
        let is_open = |turn| rooms.queue.turn(turn).is_some() || rooms.commits.untold().contains(&turn);
        let is_over = shown.turn().is_some_and(|turn| !is_open(turn));
        drop(rooms);
        let mut status = shown.status(self.name.clone(), session_id, queued);
        // The engine hears a moment later than whoever waited that an outcome is delivered. Shown as busy until then, the
        // next turn would be taken for one that runs.
        if is_over && status.state == SessionState::Busy {
            (status.state, status.turn) = (SessionState::Ready, None);
        }
        (status.cost_usd, status.usage) = (spent.map(|spent| spent.cost_usd), spent.map(|spent| spent.usage));
        status.unstored = unstored.map(Into::into);
        status.lost = lost;
        // Where the state directory itself is gone, no session's turns are taken.
        status.removed = status.removed.or_else(|| self.host.removed().map(Into::into));
        status
    }
}
