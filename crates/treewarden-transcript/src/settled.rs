//! What the journal knows of a turn that is over.

use treewarden_proto::TurnId;

/// A turn that was settled, and what follows from that for the transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The turn.
    pub turn: TurnId,
    /// The CLI must have written it: it asked the model for it. A CLI answers some prompts by itself and writes them
    /// nowhere (`/help`, a blank prompt, one that a hook refused; measured with CLI 2.1.332).
    pub written: bool,
    /// Its outcome has text.
    pub answered: bool,
}
