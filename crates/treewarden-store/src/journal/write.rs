//! Writes the journal.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::value::RawValue;
use treewarden_proto::TurnId;

use super::TurnRow;
use crate::store::now;
use crate::{Store, StoreError, StoreErrorKind};

/// What [`Store::settle`] found.
#[derive(Debug, Clone)]
pub enum Settled {
    /// This call settled the turn.
    Now,
    /// The turn had this outcome already, which stands.
    Already(Box<RawValue>),
}

fn open(row: &TurnRow) -> impl FnOnce(&Connection) -> Result<(), StoreError> + use<> {
    let (turn, name, id) = (row.turn.to_string(), row.name.clone(), row.session_id.to_string());
    let (prompt, at_most_once, at) = (row.prompt.to_string(), row.at_most_once, row.opened_at.cast_signed());
    move |db| {
        db.prepare_cached(
            "INSERT INTO turns(turn, name, session_id, prompt, at_most_once, opened_at) VALUES (?,?,?,?,?,?)",
        )?
        .execute(params![turn, name.as_str(), id, prompt, at_most_once, at])?;
        Ok(())
    }
}

fn settle(
    turn: TurnId,
    outcome: &RawValue,
) -> impl FnOnce(&Connection) -> Result<Settled, StoreError> + use<> {
    let (text, outcome) = (turn.to_string(), outcome.get().to_owned());
    move |db| {
        let changed = db
            .prepare_cached(
                "UPDATE turns SET outcome = ?, settled_at = ? WHERE turn = ? AND outcome IS NULL",
            )?
            .execute(params![outcome, now().cast_signed(), text])?;
        if changed == 1 {
            return Ok(Settled::Now);
        }
        let first: Option<Option<String>> = db
            .prepare_cached("SELECT outcome FROM turns WHERE turn = ?")?
            .query_row([&text], |row| row.get(0))
            .optional()?;
        match first.flatten() {
            Some(first) => Ok(Settled::Already(RawValue::from_string(first)?)),
            None => {
                let why = format!("settle the turn {turn}: the journal does not hold it");
                Err(StoreError::new(StoreErrorKind::Other, why))
            }
        }
    }
}

impl Store {
    /// Opens a turn; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be stored; the turn must not be sent then.
    pub fn open_turn(&self, row: &TurnRow) -> Result<(), StoreError> {
        self.write(open(row))
    }

    /// Does what [`Store::open_turn`] does without blocking the thread while the disk syncs.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be stored; the turn must not be sent then.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a dropped call may have opened the turn, or may still open it, and nobody will settle it.
    pub async fn open_turn_durable(&self, row: &TurnRow) -> Result<(), StoreError> {
        self.write_durable(open(row)).await
    }

    /// Notes that the turn may have reached a CLI.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the note cannot be stored.
    pub fn mark_sent(&self, turn: TurnId) -> Result<(), StoreError> {
        self.mark(turn, "UPDATE turns SET sent = 1 WHERE turn = ?")
    }

    /// Counts a CLI that died under the turn.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the count cannot be stored.
    pub fn mark_interrupted(&self, turn: TurnId) -> Result<(), StoreError> {
        self.mark(turn, "UPDATE turns SET interruptions = interruptions + 1, sent = 1 WHERE turn = ?")
    }

    fn mark(&self, turn: TurnId, sql: &'static str) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(sql)?.execute([turn.to_string()])?;
            Ok(())
        })
    }

    /// Settles a turn; the first outcome stands.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the outcome cannot be stored, or the turn is unknown.
    pub fn settle(&self, turn: TurnId, outcome: &RawValue) -> Result<Settled, StoreError> {
        self.write(settle(turn, outcome))
    }

    /// Does what [`Store::settle`] does without blocking the thread while the disk syncs.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the outcome cannot be stored, or the turn is unknown.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a dropped call may have settled the turn, or may still settle it; asked again, it tells.
    pub async fn settle_durable(&self, turn: TurnId, outcome: &RawValue) -> Result<Settled, StoreError> {
        self.write_durable(settle(turn, outcome)).await
    }
}
