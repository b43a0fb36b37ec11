//! One turn as the journal holds it.

use std::error::Error;

use rusqlite::Row;
use serde_json::Value;
use treewarden_proto::{SessionId, SessionName, TurnId, frame};

use crate::problem::Bad;
use crate::store::now;

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
    /// Its prompt: a string or content blocks.
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

pub(super) const COLUMNS: &str =
    "turn, name, session_id, seq, prompt, at_most_once, sent, interruptions, outcome, opened_at, settled_at";

/// Reads a row of [`COLUMNS`]; one that cannot be read is named by its place, with the reason.
pub(super) fn decode(row: &Row<'_>) -> rusqlite::Result<Result<TurnRow, Bad<i64>>> {
    let seq = row.get(3)?;
    Ok(read(row, seq).map_err(|error| Bad { key: seq, reason: error.to_string() }))
}

fn read(row: &Row<'_>, seq: i64) -> Result<TurnRow, Box<dyn Error>> {
    let outcome: Option<String> = row.get(8)?;
    // It is stored as it came, and a CLI writes what a strict reader refuses: half of a surrogate pair, 1e999.
    let outcome: Option<Value> = outcome.as_deref().map(frame::value).transpose()?;
    let state = match (&outcome, row.get(6)?) {
        (Some(_), _) => TurnState::Settled,
        (None, true) => TurnState::Sent,
        (None, false) => TurnState::Queued,
    };
    Ok(TurnRow {
        turn: row.get_ref(0)?.as_str()?.parse()?,
        name: row.get_ref(1)?.as_str()?.parse()?,
        session_id: row.get_ref(2)?.as_str()?.parse()?,
        seq,
        prompt: serde_json::from_str(row.get_ref(4)?.as_str()?)?,
        at_most_once: row.get(5)?,
        state,
        interruptions: row.get(7)?,
        outcome,
        opened_at: row.get::<_, i64>(9)?.unsigned_abs(),
        settled_at: row.get::<_, Option<i64>>(10)?.map(i64::unsigned_abs),
    })
}
