//! One turn as the journal holds it.

use serde_json::Value;
use treewarden_proto::{SessionId, SessionName, TurnId};

use crate::now;

/// How far a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnState {
    /// It was not written to a CLI.
    Queued,
    /// It may have been written to a CLI.
    Sent,
    /// It has its outcome.
    Settled,
}

/// One turn of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRow {
    /// Its id.
    pub turn: TurnId,
    /// Its session.
    pub name: SessionName,
    /// The conversation it was asked in, or the one that answered it, if that is another.
    pub session_id: SessionId,
    /// Its place among all turns; given by the store.
    pub seq: i64,
    /// Its prompt, in the caller's form, such as a string or content blocks.
    pub prompt: Value,
    /// Whether a crash fails it instead of running it again.
    pub at_most_once: bool,
    /// How far it is.
    pub state: TurnState,
    /// How many CLIs died under it.
    pub interruptions: u32,
    /// Its outcome; `None` while it is open.
    pub outcome: Option<Value>,
    /// When it was opened, in Unix milliseconds.
    pub opened_at: u64,
    /// When it was settled, in Unix milliseconds.
    pub settled_at: Option<u64>,
}

impl TurnRow {
    /// Makes the row of a new turn.
    pub fn new(
        turn: TurnId,
        name: SessionName,
        session_id: SessionId,
        prompt: Value,
        at_most_once: bool,
    ) -> Self {
        let (state, opened_at) = (TurnState::Queued, now());
        let (seq, interruptions, outcome, settled_at) = (0, 0, None, None);
        Self {
            turn,
            name,
            session_id,
            seq,
            prompt,
            at_most_once,
            state,
            interruptions,
            outcome,
            opened_at,
            settled_at,
        }
    }
}
