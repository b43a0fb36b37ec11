//! What a turn came to, as its callers get it.
//!
//! It is for one caller. What the journal has of a turn is a [`TurnReport`](super::TurnReport).

use treewarden_core::session::Outcome;

/// What a turn came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivered {
    /// The outcome.
    pub outcome: Outcome,
    /// `false` if the store did not take it within two seconds: this host alone has it, stores it as soon as that can be, and
    /// sends the session nothing new before. If the host dies first, the turn is asked again. Also `false`, and for good, where
    /// no turn is stored ([`Durability::Nothing`](crate::Durability::Nothing)).
    pub stored: bool,
    /// How many CLIs died while they worked at the turn.
    pub interruptions: u32,
}

impl Delivered {
    pub(crate) fn new(mut outcome: Outcome, stored: bool, interruptions: u32) -> Self {
        if let Outcome::Completed(answer) = &mut outcome {
            answer.stored = stored;
        }
        Self { outcome, stored, interruptions }
    }
}
