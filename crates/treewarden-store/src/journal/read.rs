//! Asks the journal.

use rusqlite::{OptionalExtension, Params, params};
use treewarden_proto::{SessionId, SessionName, TurnId};

use super::TurnRow;
use super::row::{COLUMNS, decode};
use crate::problem::Bad;
use crate::{Store, StoreError};

const OPEN: &str = "WHERE name = ? AND outcome IS NULL ORDER BY seq";

impl Store {
    /// The turn, if the journal holds it and it can be read.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the journal cannot be read.
    pub fn turn(&self, turn: TurnId) -> Result<Option<TurnRow>, StoreError> {
        Ok(self.select("WHERE turn = ?", [turn.to_string()])?.pop())
    }

    /// The open turns of a session, in the order they were asked.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the journal cannot be read.
    pub fn open_turns(&self, name: &SessionName) -> Result<Vec<TurnRow>, StoreError> {
        let segment = self.tail().number();
        let rows = self.select(OPEN, [name.as_str()])?;
        let mut tail = self.tail();
        rows.iter().for_each(|row| tail.found_open(row.turn, segment));
        Ok(rows)
    }

    /// The newest turns of a session, open and settled, newest first; at most `limit`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the journal cannot be read.
    pub fn turns(&self, name: &SessionName, limit: usize) -> Result<Vec<TurnRow>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.select("WHERE name = ? ORDER BY seq DESC LIMIT ?", params![name.as_str(), limit])
    }

    fn select(&self, which: &str, by: impl Params) -> Result<Vec<TurnRow>, StoreError> {
        let (mut turns, mut bad) = (Vec::new(), Vec::new());
        {
            let db = self.journal()?;
            let mut query = db.prepare_cached(&format!("SELECT {COLUMNS} FROM turns {which}"))?;
            for row in query.query_map(by, decode)? {
                match row? {
                    Ok(turn) => turns.push(turn),
                    Err(row) => bad.push(row),
                }
            }
        }
        self.quarantine_turns(bad)?;
        Ok(turns)
    }

    /// Whether any turn was asked in this conversation.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the journal cannot be read.
    pub fn has_turns(&self, id: SessionId) -> Result<bool, StoreError> {
        let db = self.journal()?;
        let mut query = db.prepare_cached("SELECT 1 FROM turns WHERE session_id = ? LIMIT 1")?;
        Ok(query.exists([id.to_string()])?)
    }

    /// The last turn of this conversation whose outcome says `"outcome": "completed"`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the journal cannot be read.
    pub fn last_completed(&self, id: SessionId) -> Result<Option<TurnId>, StoreError> {
        loop {
            let found: Option<(i64, String)> = self
                .journal()?
                .prepare_cached(
                    "SELECT seq, CAST(turn AS TEXT) FROM turns WHERE session_id = ?
                       AND CASE WHEN json_valid(outcome) THEN outcome ->> '$.outcome' = 'completed' END
                     ORDER BY seq DESC LIMIT 1",
                )?
                .query_row([id.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((seq, turn)) = found else { return Ok(None) };
            match turn.parse() {
                Ok(turn) => return Ok(Some(turn)),
                Err(error) => self.quarantine_turns(vec![Bad { key: seq, reason: error.to_string() }])?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::StoreOptions;

    #[test]
    fn the_look_for_open_turns_is_planned_once() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
        let db = store.db();
        let mut query =
            db.prepare(&format!("SELECT {COLUMNS} FROM turns {OPEN}")).expect("it can be planned");
        for n in 0..10 {
            let found = query.query_map([format!("session-{n}")], decode).expect("it can be asked").count();
            assert_eq!(found, 0);
        }
        assert_eq!(query.get_status(StatementStatus::RePrepare), 0);
    }
}
