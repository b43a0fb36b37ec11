//! Takes old settled turns out of the journal.

use rusqlite::params;

use super::written::is_written_sql;
use crate::store::atomically;
use crate::{Store, StoreError};

/// How many turns go at a time, so that nobody waits long for the store.
const STEP: u32 = 500;

impl Store {
    /// Removes settled turns, except the newest `keep` of each session; returns how many went.
    ///
    /// Open turns always stay, and so does the last completed turn of each conversation that the CLI must have written,
    /// which [`Store::completed`] is asked for. It works in steps, and the turns of other callers are stored in between.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if a step cannot be stored; the steps before it stand.
    pub fn prune(&self, keep: usize) -> Result<usize, StoreError> {
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        let mut gone = 0;
        let names: Vec<String> = {
            let db = self.journal()?;
            let mut query = db.prepare_cached("SELECT DISTINCT CAST(name AS TEXT) FROM turns")?;
            query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        for name in names {
            // Everything of this session that is older than what is kept, for good.
            let edge: Option<i64> = self
                .db()
                .prepare_cached(
                    "SELECT min(seq) FROM (SELECT seq FROM turns WHERE name = ? AND outcome IS NOT NULL
                       ORDER BY seq DESC LIMIT ?)",
                )?
                .query_row(params![name, keep], |row| row.get(0))?;
            loop {
                let name = name.clone();
                let step = self.write(move |db| {
                    atomically(db, |db| {
                        Ok(db.prepare_cached(&remove())?.execute(params![
                            name,
                            // No turn is kept, or none is settled: everything that is settled is older than
                            // that.
                            edge.unwrap_or(i64::MAX),
                            STEP
                        ])?)
                    })
                })?;
                gone += step;
                if step < STEP as usize {
                    break;
                }
            }
        }
        Ok(gone)
    }
}

/// The newest turn of a conversation that must be in the CLI's transcript stays.
fn remove() -> String {
    let is_demanded = |turn: &str| {
        let written = is_written_sql(&format!("{turn}.outcome"));
        format!("json_valid({turn}.outcome) AND {turn}.outcome ->> '$.outcome' = 'completed' AND {written}")
    };
    format!(
        "DELETE FROM turns WHERE seq IN (
           SELECT seq FROM turns AS old WHERE name = ?1 AND seq < ?2 AND outcome IS NOT NULL
             AND NOT ({old} AND NOT EXISTS (
               SELECT 1 FROM turns AS later WHERE later.session_id = old.session_id AND later.seq > old.seq AND {later}))
           ORDER BY seq LIMIT ?3)",
        old = is_demanded("old"),
        later = is_demanded("later")
    )
}
