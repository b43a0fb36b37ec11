//! A row of `turns`.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use treewarden_proto::{SessionId, SessionName, TurnId, frame};
use treewarden_store::{NewTurn, TurnRow, TurnState};

use super::{cells, number, of_another, optional, optional_text, text, uuid};
use crate::checksum::{Bad, sum};
use crate::error::Fault;

pub(crate) const COLUMNS: &str = "seq, turn, name, session_id, at_most_once, sent, interruptions, opened_at, settled_at, \
                                  prompt, outcome, sum";

const TABLE: &str = "turns";

/// A turn as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredRow {
    /// Its place among all turns.
    pub(crate) seq: i64,
    pub(crate) turn: TurnId,
    pub(crate) name: SessionName,
    pub(crate) session_id: SessionId,
    pub(crate) at_most_once: bool,
    pub(crate) sent: bool,
    pub(crate) interruptions: u32,
    pub(crate) opened_at: u64,
    pub(crate) settled_at: Option<u64>,
    pub(crate) prompt: Box<str>,
    pub(crate) outcome: Option<Box<str>>,
}

impl StoredRow {
    pub(crate) fn new(seq: i64, new: &NewTurn) -> Self {
        let NewTurn { turn, name, session_id, prompt, at_most_once, opened_at } = new.clone();
        let (sent, interruptions, settled_at, outcome) = (false, 0, None, None);
        Self {
            seq,
            turn,
            name,
            session_id,
            at_most_once,
            sent,
            interruptions,
            opened_at,
            settled_at,
            prompt,
            outcome,
        }
    }

    /// The row of a turn, if there is one.
    pub(crate) fn find(db: &Connection, turn: TurnId) -> Result<Option<Result<Self, Bad>>, Fault> {
        let found = db
            .prepare_cached(&format!("SELECT {COLUMNS} FROM turns WHERE turn = ?"))?
            .query_row([turn.as_uuid().as_bytes().as_slice()], Self::read)
            .optional()?;
        match found {
            // The row is whole, and not to be set aside.
            Some(Ok(row)) if row.turn != turn => Err(of_another("turns", turn, row.turn)),
            found => Ok(found),
        }
    }

    /// Reads a row of [`COLUMNS`].
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Self, Bad>> {
        let seq = row.get(0)?;
        Ok(cells(TABLE, row)?.and_then(Self::decode).map_err(|reason| Bad { row: seq, reason }))
    }

    /// Looks at a row of [`COLUMNS`], and names it if it cannot be read.
    pub(crate) fn look(row: &Row<'_>) -> rusqlite::Result<Option<Bad>> {
        let seq = row.get(0)?;
        Ok(cells::<11>(TABLE, row)?.err().map(|reason| Bad { row: seq, reason }))
    }

    fn decode(cells: [ValueRef<'_>; 11]) -> Result<Self, String> {
        let [
            seq,
            turn,
            name,
            session_id,
            at_most_once,
            sent,
            interruptions,
            opened_at,
            settled_at,
            prompt,
            outcome,
        ] = cells;
        let settled_at =
            if settled_at == ValueRef::Null { None } else { Some(number(settled_at)?.cast_unsigned()) };
        Ok(Self {
            seq: number(seq)?,
            turn: TurnId::from_uuid(uuid(turn)?),
            name: SessionName::new(text(name)?).map_err(|error| error.to_string())?,
            session_id: SessionId::from_uuid(uuid(session_id)?),
            at_most_once: number(at_most_once)? != 0,
            sent: number(sent)? != 0,
            interruptions: u32::try_from(number(interruptions)?).map_err(|error| error.to_string())?,
            opened_at: number(opened_at)?.cast_unsigned(),
            settled_at,
            prompt: text(prompt)?.into(),
            outcome: optional_text(outcome)?.map(Into::into),
        })
    }

    fn sum(&self) -> i64 {
        sum(
            TABLE,
            &[
                ValueRef::Integer(self.seq),
                ValueRef::Blob(self.turn.as_uuid().as_bytes()),
                ValueRef::Text(self.name.as_str().as_bytes()),
                ValueRef::Blob(self.session_id.as_uuid().as_bytes()),
                ValueRef::Integer(self.at_most_once.into()),
                ValueRef::Integer(self.sent.into()),
                ValueRef::Integer(self.interruptions.into()),
                ValueRef::Integer(self.opened_at.cast_signed()),
                self.settled_at.map_or(ValueRef::Null, |at| ValueRef::Integer(at.cast_signed())),
                ValueRef::Text(self.prompt.as_bytes()),
                optional(self.outcome.as_deref(), |text| ValueRef::Text(text.as_bytes())),
            ],
        )
    }

    /// Stores a new row.
    pub(crate) fn insert(&self, db: &Connection) -> Result<(), Fault> {
        db.prepare_cached(
            "INSERT INTO turns(seq, turn, name, session_id, at_most_once, sent, interruptions, opened_at, settled_at, sum,
               prompt, outcome) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        )?
        .execute(params![
            self.seq,
            self.turn.as_uuid().as_bytes().as_slice(),
            self.name.as_str(),
            self.session_id.as_uuid().as_bytes().as_slice(),
            self.at_most_once,
            self.sent,
            self.interruptions,
            self.opened_at.cast_signed(),
            self.settled_at.map(u64::cast_signed),
            self.sum(),
            self.prompt,
            self.outcome
        ])?;
        Ok(())
    }

    /// Stores what became of the turn; what was asked stands as it is, and so does its conversation.
    pub(crate) fn update(&self, db: &Connection) -> Result<(), Fault> {
        db.prepare_cached(
            "UPDATE turns SET sent = ?, interruptions = ?, settled_at = ?, outcome = ?, sum = ? WHERE seq = ?",
        )?
        .execute(params![
            self.sent,
            self.interruptions,
            self.settled_at.map(u64::cast_signed),
            self.outcome,
            self.sum(),
            self.seq
        ])?;
        Ok(())
    }

    /// Stores which conversation the turn belongs to, for an [`update`](Self::update) that follows: until then the sum is wrong.
    ///
    /// A statement of its own: one that names the column writes a page of its index, whether it has another value or not.
    pub(crate) fn update_conversation(&self, db: &Connection) -> Result<(), Fault> {
        db.prepare_cached("UPDATE turns SET session_id = ? WHERE seq = ?")?
            .execute(params![self.session_id.as_uuid().as_bytes().as_slice(), self.seq])?;
        Ok(())
    }

    /// The turn as it is told; one that was written so that it cannot be read is named.
    pub(crate) fn tell(self) -> Result<TurnRow, Bad> {
        // It is stored as it came, and a CLI writes what a strict reader refuses: half of a surrogate pair, 1e999.
        let value =
            |json: &str| frame::value(json).map_err(|error| Bad { row: self.seq, reason: error.to_string() });
        let state = match (&self.outcome, self.sent) {
            (Some(_), _) => TurnState::Settled,
            (None, true) => TurnState::Sent,
            (None, false) => TurnState::Queued,
        };
        Ok(TurnRow {
            prompt: value(&self.prompt)?,
            outcome: self.outcome.as_deref().map(value).transpose()?,
            turn: self.turn,
            name: self.name,
            session_id: self.session_id,
            seq: self.seq,
            at_most_once: self.at_most_once,
            state,
            interruptions: self.interruptions,
            opened_at: self.opened_at,
            settled_at: self.settled_at,
        })
    }
}
