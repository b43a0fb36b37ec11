//! What is known of a conversation before its file is looked at.

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

/// What a transcript must hold, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The turns that came to an answer, newest first, down to the newest that must be written: a branch without them is
    /// not the conversation.
    pub settled: Vec<Settled>,
    /// The name of the conversation's first message, once that was seen: a CLI only appends, so that a file without it was
    /// emptied, cut off or replaced, and what goes on in it is not the whole conversation.
    pub first: Option<String>,
}

impl Known {
    /// The newest turn that must be written.
    pub(crate) fn written(&self) -> Option<TurnId> {
        self.settled.iter().find(|turn| turn.written).map(|turn| turn.turn)
    }
}
