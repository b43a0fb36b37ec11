//! Writes the journal.

use rusqlite::OptionalExtension;
use serde::Serialize;
use serde_json::value::RawValue;
use treewarden_proto::{SessionId, TurnId};

use super::TurnRow;
use crate::store::now;
use crate::tail::{Fact, Opened, Outcome, Settling, Tail};
use crate::{Store, StoreError, StoreErrorKind, tail};

/// What [`Store::settle`] found.
#[derive(Debug, Clone)]
pub enum Settled {
    /// This call settled the turn.
    Now,
    /// The turn had this outcome already, which stands.
    Already(Box<RawValue>),
}

fn open(row: &TurnRow) -> Result<impl FnOnce(&mut Tail) -> Result<(), StoreError> + use<>, StoreError> {
    let (turn, name, session_id) = (row.turn, row.name.as_str().into(), row.session_id);
    let (at_most_once, at) = (row.at_most_once, row.opened_at);
    let prompt = &serde_json::to_string(&row.prompt)?;
    let line = Fact::Opened(Opened { turn, name, session_id, at_most_once, at, prompt }).encode()?;
    Ok(move |tail: &mut Tail| tail.opened(turn, &line))
}

fn settle(
    turn: TurnId,
    answered_in: Option<SessionId>,
    outcome: &str,
) -> Result<impl FnOnce(&mut Tail) -> Result<Settling, StoreError> + use<>, StoreError> {
    let line = Fact::Settled(Outcome { turn, at: now(), answered_in, outcome }).encode()?;
    Ok(move |tail: &mut Tail| tail.settled(turn, &line))
}

impl Store {
    /// Opens a turn; it is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be stored, or was opened before; the turn must not be sent then.
    pub fn open_turn(&self, row: &TurnRow) -> Result<(), StoreError> {
        if !self.keeps_turns() {
            return Ok(());
        }
        self.refuse_held(row.turn)?;
        self.append(open(row)?)
    }

    /// Does what [`Store::open_turn`] does without blocking the thread while the disk syncs.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be stored, or was opened before; the turn must not be sent then.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a dropped call may have opened the turn, or may still open it, and nobody will settle it.
    pub async fn open_turn_durable(&self, row: &TurnRow) -> Result<(), StoreError> {
        if !self.keeps_turns() {
            return Ok(());
        }
        self.refuse_held(row.turn)?;
        self.append_durable(open(row)?).await
    }

    /// Refuses a turn that the database holds and the tail does not know. A new id is newer than all of those, and is
    /// looked up nowhere.
    fn refuse_held(&self, turn: TurnId) -> Result<(), StoreError> {
        if !self.may_hold(turn) {
            return Ok(());
        }
        let db = self.journal()?;
        let held = db.prepare_cached("SELECT 1 FROM turns WHERE turn = ?")?.exists([turn.to_string()])?;
        if held { Err(tail::held(turn)) } else { Ok(()) }
    }

    /// Notes that the turn may have reached a CLI.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the note cannot be stored.
    pub fn mark_sent(&self, turn: TurnId) -> Result<(), StoreError> {
        self.note(turn, Fact::Sent(turn))
    }

    /// Counts a CLI that died under the turn.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the count cannot be stored.
    pub fn mark_interrupted(&self, turn: TurnId) -> Result<(), StoreError> {
        self.note(turn, Fact::Interrupted(turn))
    }

    fn note(&self, turn: TurnId, fact: Fact<'static>) -> Result<(), StoreError> {
        if !self.keeps(turn) {
            return Ok(());
        }
        self.append(move |tail| tail.note(&fact))
    }

    /// Settles a turn; the first outcome stands. It is kept as JSON.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the outcome cannot be stored, or the turn is unknown.
    pub fn settle<T>(&self, turn: TurnId, outcome: &T) -> Result<Settled, StoreError>
    where
        T: Serialize + ?Sized,
    {
        self.settle_json(turn, None, || serde_json::to_string(outcome))
    }

    /// Does what [`Store::settle`] does with the JSON that `outcome` makes, unless turns are not stored.
    ///
    /// It is not looked at again: what is no JSON is lost, and whoever reads the journal finds damage in its place.
    /// `answered_in` is given if another conversation answered the turn than the one in which it was asked; from then on
    /// the turn is that one's.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the outcome cannot be stored, or the turn is unknown.
    pub fn settle_json(
        &self,
        turn: TurnId,
        answered_in: Option<SessionId>,
        outcome: impl FnOnce() -> serde_json::Result<String>,
    ) -> Result<Settled, StoreError> {
        if !self.keeps(turn) {
            return Ok(Settled::Now);
        }
        let outcome = outcome()?;
        loop {
            let settling = self.append(settle(turn, answered_in, &outcome)?)?;
            if let Some(settled) = self.settled(turn, settling)? {
                return Ok(settled);
            }
        }
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
    pub async fn settle_durable<T>(&self, turn: TurnId, outcome: &T) -> Result<Settled, StoreError>
    where
        T: Serialize + Sync + ?Sized,
    {
        if !self.keeps(turn) {
            return Ok(Settled::Now);
        }
        let outcome = serde_json::to_string(outcome)?;
        loop {
            let settling = self.append_durable(settle(turn, None, &outcome)?).await?;
            if let Some(settled) = self.settled(turn, settling)? {
                return Ok(settled);
            }
        }
    }

    /// Tells whether the journal may hold the turn: with [`Durability::Nothing`](crate::Durability), only if it was
    /// there before and [`Store::open_turns`] told of it.
    fn keeps(&self, turn: TurnId) -> bool {
        self.keeps_turns() || self.tail().knows(turn)
    }

    /// What an attempt came to; `None` if it is to be made again.
    fn settled(&self, turn: TurnId, settling: Settling) -> Result<Option<Settled>, StoreError> {
        match settling {
            Settling::Now => Ok(Some(Settled::Now)),
            Settling::Already | Settling::Unknown => Ok(self.first_outcome(turn)?.map(Settled::Already)),
        }
    }

    /// The outcome of a turn that the tail does not know as open; `None` if the tail knows it as open now.
    fn first_outcome(&self, turn: TurnId) -> Result<Option<Box<RawValue>>, StoreError> {
        // Before the database is asked: if a segment is sealed in between, its answer may be stale, since
        // another process can have settled the turn there, and `found_open` drops it.
        let segment = self.tail().number();
        let outcome: Option<Option<String>> = self
            .journal()?
            .prepare_cached("SELECT outcome FROM turns WHERE turn = ?")?
            .query_row([turn.to_string()], |row| row.get(0))
            .optional()?;
        match outcome {
            Some(Some(first)) => Ok(Some(RawValue::from_string(first)?)),
            Some(None) => {
                self.tail().found_open(turn, segment);
                Ok(None)
            }
            None => {
                let why = format!("settle the turn {turn}: the journal does not hold it");
                Err(StoreError::new(StoreErrorKind::Other, why))
            }
        }
    }
}
