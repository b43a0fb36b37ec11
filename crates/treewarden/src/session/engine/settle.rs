//! Settles a turn: makes an outcome of its settlement, and hands that to the desk, which stores and delivers it.
//!
//! Whether a turn is settled, and as what, is the machine's to say, and what its settlement comes to for the callers is
//! [`Settlement::into_outcome`]'s. Nothing here may look at what the engine happens to be handling.

use treewarden_core::session::{Evidence, Outcome, PermanentKind, Settlement, Whose};
use treewarden_proto::TurnId;
use treewarden_proto::frame::Spent;

use super::{Engine, Event};
use crate::session::desk::Shown;

impl Engine {
    /// Has the outcome stored, and then delivered: the desk says so when that is done.
    pub(super) fn settle(&mut self, turn: TurnId, settlement: Settlement<Evidence>) {
        // A turn that this host found open in the journal may be under way where the conversation is held. Of
        // two outcomes the first stands, and one from here would be it.
        if let Settlement::NotStarted(permanent) | Settlement::LeftOff(permanent) = &settlement
            && permanent.kind == PermanentKind::Held
            && self.desk.leave(turn, &permanent.message)
        {
            return self.handle(Event::Settled(turn));
        }
        if self.sending.as_ref().is_some_and(|(sending, _)| *sending == turn) {
            self.sending = None;
        }
        let (session_id, interruptions) = (self.desk.session_id(), self.desk.interruptions(turn));
        let earlier = self.earlier.replace(Spent::default());
        // What the CLI of another host had spent on it died with that: the rest would be told as the whole.
        let earlier = earlier.filter(|_| !self.desk.was_sent_by_another_host(turn));
        let (held_up, limited) =
            (matches!(settlement, Settlement::HeldUp), matches!(settlement, Settlement::Limited));
        let mut outcome = settlement.into_outcome(Whose { turn, session_id, interruptions, earlier });
        if held_up && let Outcome::Failed(failure) = &mut outcome {
            failure.message = format!("{}: {}", failure.message, self.desk.why_unstored());
        }
        if limited && let Outcome::Failed(failure) = &mut outcome {
            failure.message = format!("{}: {}", failure.message, self.limit_in_words());
        }
        self.desk.note(Shown::Attributed(self.machine.attributes_by_id()));
        self.desk.settle(turn, outcome, self.noted.take());
    }
}
