//! Settles a turn: stores what it came to, and delivers it.
//!
//! Whether a turn is settled, and as what, is the machine's to say, and what its verdict comes to for the callers is
//! [`Verdict::into_outcome`]'s. Nothing here may look at what the engine happens to be handling.

use treewarden_core::session::{Evidence, PermanentKind, Verdict, Whose};
use treewarden_proto::TurnId;

use super::Engine;
use crate::session::desk::Shown;

impl Engine {
    /// Stores the outcome, then delivers it.
    pub(super) fn settle(&mut self, turn: TurnId, verdict: Verdict<Evidence>) {
        // A turn that this host found open in the journal may be under way where the conversation is held. Of
        // two outcomes the first stands, and one from here would be it.
        if let Verdict::NotStarted(permanent) = &verdict
            && permanent.kind == PermanentKind::Held
            && self.desk.leave(turn, &permanent.message)
        {
            return;
        }
        let (session_id, interruptions) = (self.desk.session_id(), self.desk.interruptions(turn));
        let outcome = verdict.into_outcome(Whose { turn, session_id, interruptions });
        self.desk.note(Shown::Attributed(self.machine.attributes_by_id()));
        self.desk.settle(turn, outcome);
    }
}
