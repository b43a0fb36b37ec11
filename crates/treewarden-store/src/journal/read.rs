//! Asks the journal.

use rusqlite::{Params, params};
use treewarden_proto::{InvalidId, SessionId, SessionName, TurnId};

use super::TurnRow;
use super::row::{COLUMNS, decode};
use super::written::is_written_sql;
use crate::problem::Bad;
use crate::{Store, StoreError};

/// So many turns that the CLI wrote nowhere are told at most.
const MOST: usize = 64;

const IS_COMPLETED: &str = "CASE WHEN json_valid(outcome) THEN outcome ->> '$.outcome' = 'completed' END";

/// A completed turn, and what follows from its outcome for the CLI's transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    /// The turn.
    pub turn: TurnId,
    /// The CLI must have written it.
    pub written: bool,
    /// Its outcome has text.
    pub answered: bool,
}

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
        // Before the database is asked, for the same reason as in `Store::settle`: what it says is true for
        // this segment only.
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
            // The lock ends with this block: `quarantine_turns` takes it again, and this thread would wait
            // for itself.
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

    /// The turns of this conversation whose outcome says `"outcome": "completed"`, newest first: down to the newest that
    /// the CLI must have written, with no more than 64 before it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the journal cannot be read.
    pub fn completed(&self, id: SessionId) -> Result<Vec<Completed>, StoreError> {
        loop {
            // One at a time, as the rows hold the database locked and setting aside takes that lock again.
            let (found, bad) = self.look_for_completed(id)?;
            let Some(bad) = bad else { return Ok(found) };
            self.quarantine_turns(vec![bad])?;
        }
    }

    /// Those, up to the first that cannot be read.
    fn look_for_completed(&self, id: SessionId) -> Result<(Vec<Completed>, Option<Bad<i64>>), StoreError> {
        let db = self.journal()?;
        let mut query = db.prepare_cached(&format!(
            "SELECT seq, CAST(turn AS TEXT), {written}, coalesce(outcome ->> '$.text', '') <> '' FROM turns
             WHERE session_id = ? AND {IS_COMPLETED} ORDER BY seq DESC",
            written = is_written_sql("outcome")
        ))?;
        let mut rows = query.query([id.to_string()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let turn = match row.get::<_, String>(1)?.parse() {
                Ok(turn) => turn,
                Err(error) => {
                    let error: InvalidId = error;
                    return Ok((found, Some(Bad { key: row.get(0)?, reason: error.to_string() })));
                }
            };
            let completed = Completed { turn, written: row.get(2)?, answered: row.get(3)? };
            // Of many that were written nowhere the newest are enough; the one that was written is looked for behind them.
            if completed.written || found.len() < MOST {
                found.push(completed);
            }
            if completed.written {
                break;
            }
        }
        Ok((found, None))
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
