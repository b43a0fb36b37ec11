//! The turn journal: each turn is opened durably and settled exactly once.

use rusqlite::{OptionalExtension, Row, params};
use serde_json::Value;
use serde_json::value::RawValue;
use treewarden_proto::{SessionId, SessionName, TurnId};

use crate::store::now;
use crate::{Store, StoreError, StoreErrorKind};

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

/// What [`Store::settle`] found.
#[derive(Debug, Clone)]
pub enum Settled {
    /// This call settled the turn.
    Now,
    /// The turn had this outcome already, which stands.
    Already(Box<RawValue>),
}

/// One turn of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRow {
    /// Its id.
    pub turn: TurnId,
    /// Its session.
    pub name: SessionName,
    /// The conversation it was asked in.
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

const COLUMNS: &str =
    "turn, name, session_id, seq, prompt, at_most_once, sent, interruptions, outcome, opened_at, settled_at";

fn decode(row: &Row<'_>) -> Result<TurnRow, StoreError> {
    let bad = |error: &dyn std::fmt::Display| {
        StoreError::new(StoreErrorKind::Corrupt, format!("read a stored turn: {error}"))
    };
    let outcome: Option<String> = row.get(8)?;
    let outcome: Option<Value> = outcome.as_deref().map(serde_json::from_str).transpose()?;
    let sent: bool = row.get(6)?;
    let state = if outcome.is_some() {
        TurnState::Settled
    } else if sent {
        TurnState::Sent
    } else {
        TurnState::Queued
    };
    Ok(TurnRow {
        turn: row.get::<_, String>(0)?.parse().map_err(|e| bad(&e))?,
        name: row.get::<_, String>(1)?.parse().map_err(|e| bad(&e))?,
        session_id: row.get::<_, String>(2)?.parse().map_err(|e| bad(&e))?,
        seq: row.get(3)?,
        prompt: serde_json::from_str(&row.get::<_, String>(4)?)?,
        at_most_once: row.get(5)?,
        state,
        interruptions: row.get(7)?,
        outcome,
        opened_at: row.get::<_, i64>(9)?.unsigned_abs(),
        settled_at: row.get::<_, Option<i64>>(10)?.map(i64::unsigned_abs),
    })
}

impl Store {
    /// Opens a turn; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be stored; the turn must not be sent then.
    pub fn open_turn(&self, row: &TurnRow) -> Result<(), StoreError> {
        let db = self.db();
        db.prepare_cached(
            "INSERT INTO turns(turn, name, session_id, prompt, at_most_once, opened_at) VALUES (?,?,?,?,?,?)",
        )?
        .execute(params![
            row.turn.to_string(),
            row.name.as_str(),
            row.session_id.to_string(),
            row.prompt.to_string(),
            row.at_most_once,
            row.opened_at.cast_signed()
        ])?;
        Ok(())
    }

    /// Notes that the turn may have reached a CLI.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the note cannot be stored.
    pub fn mark_sent(&self, turn: TurnId) -> Result<(), StoreError> {
        self.db().prepare_cached("UPDATE turns SET sent = 1 WHERE turn = ?")?.execute([turn.to_string()])?;
        Ok(())
    }

    /// Counts a CLI that died under the turn.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the count cannot be stored.
    pub fn mark_interrupted(&self, turn: TurnId) -> Result<(), StoreError> {
        self.db()
            .prepare_cached("UPDATE turns SET interruptions = interruptions + 1, sent = 1 WHERE turn = ?")?
            .execute([turn.to_string()])?;
        Ok(())
    }

    /// Settles a turn; the first outcome stands.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the outcome cannot be stored, or the turn is unknown.
    pub fn settle(&self, turn: TurnId, outcome: &RawValue) -> Result<Settled, StoreError> {
        let changed = self
            .db()
            .prepare_cached(
                "UPDATE turns SET outcome = ?, settled_at = ? WHERE turn = ? AND outcome IS NULL",
            )?
            .execute(params![outcome.get(), now().cast_signed(), turn.to_string()])?;
        if changed == 1 {
            return Ok(Settled::Now);
        }
        let first: Option<Option<String>> = self
            .db()
            .prepare_cached("SELECT outcome FROM turns WHERE turn = ?")?
            .query_row([turn.to_string()], |row| row.get(0))
            .optional()?;
        match first.flatten() {
            Some(first) => Ok(Settled::Already(RawValue::from_string(first)?)),
            None => Err(StoreError::new(
                StoreErrorKind::Other,
                format!("settle the turn {turn}: the journal does not hold it"),
            )),
        }
    }

    /// The turn, if the journal holds it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be read.
    pub fn turn(&self, turn: TurnId) -> Result<Option<TurnRow>, StoreError> {
        let db = self.db();
        let mut query = db.prepare_cached(&format!("SELECT {COLUMNS} FROM turns WHERE turn = ?"))?;
        let row = query.query_row([turn.to_string()], |row| Ok(decode(row))).optional()?;
        row.transpose()
    }

    /// The open turns of a session, in the order they were asked.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they cannot be read.
    pub fn open_turns(&self, name: &SessionName) -> Result<Vec<TurnRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM turns WHERE name = ? AND outcome IS NULL ORDER BY seq");
        let db = self.db();
        let mut query = db.prepare_cached(&sql)?;
        query.query_map([name.as_str()], |row| Ok(decode(row)))?.map(|row| row?).collect()
    }

    /// Whether any turn was asked in this conversation.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the journal cannot be read.
    pub fn has_turns(&self, id: SessionId) -> Result<bool, StoreError> {
        Ok(self
            .db()
            .prepare_cached("SELECT 1 FROM turns WHERE session_id = ? LIMIT 1")?
            .exists([id.to_string()])?)
    }

    /// The last turn of this conversation whose outcome says `"outcome": "completed"`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the journal cannot be read.
    pub fn last_completed(&self, id: SessionId) -> Result<Option<TurnId>, StoreError> {
        let turn: Option<String> = self
            .db()
            .prepare_cached(
                "SELECT turn FROM turns WHERE session_id = ? AND outcome ->> '$.outcome' = 'completed'
                 ORDER BY seq DESC LIMIT 1",
            )?
            .query_row([id.to_string()], |row| row.get(0))
            .optional()?;
        let parse = |text: String| {
            text.parse().map_err(|error| {
                StoreError::new(StoreErrorKind::Corrupt, format!("read a stored turn: {error}"))
            })
        };
        turn.map(parse).transpose()
    }
}
