//! What could not be read: set aside into a quarantine, and reported.
//!
//! Nothing is thrown away here: the quarantine keeps the text of the row, and a damaged file keeps its place beside the
//! database. Nothing is repaired either.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::store::{atomically, now};
use crate::{Store, StoreError};

/// What kind of thing could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The record of a session.
    Record,
    /// A turn of the journal.
    Turn,
    /// The whole database file.
    Database,
    /// The database was removed, and another one was begun.
    Removed,
    /// The database is an older copy of the one that was used last, or another one, or its log was removed.
    Older,
    /// The machine went down, and the newest commits may have gone with it.
    Cut,
}

impl ProblemKind {
    /// The word by which a store and its users know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Turn => "turn",
            Self::Database => "database",
            Self::Removed => "removed",
            Self::Older => "older",
            Self::Cut => "cut",
        }
    }

    /// The kind of this word; of one that a newer version wrote, [`ProblemKind::Database`].
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        let kinds = [Self::Record, Self::Turn, Self::Removed, Self::Older, Self::Cut];
        kinds.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Database)
    }
}

/// Something stored that could not be read and was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What kind of thing it was.
    pub kind: ProblemKind,
    /// Which one: the session's name, the turn's id, or the path of the file now.
    pub key: String,
    /// Why it could not be read.
    pub reason: String,
    /// When it was set aside, in Unix milliseconds.
    pub at: u64,
}

impl Problem {
    /// Tells of something that was set aside.
    pub fn new(kind: ProblemKind, key: impl Into<String>, reason: impl Into<String>, at: u64) -> Self {
        Self { kind, key: key.into(), reason: reason.into(), at }
    }
}

/// A row to be set aside: its row key, and why.
#[derive(Debug)]
pub(crate) struct Bad<K> {
    pub(crate) key: K,
    pub(crate) reason: String,
}

impl Store {
    /// What was set aside because it could not be read, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the quarantine cannot be read.
    pub fn problems(&self) -> Result<Vec<Problem>, StoreError> {
        let db = self.db();
        let mut query = db.prepare_cached("SELECT kind, key, reason, at FROM quarantine ORDER BY id")?;
        let problem = |row: &rusqlite::Row<'_>| {
            let kind = match row.get_ref(0)?.as_str()? {
                "record" => ProblemKind::Record,
                "turn" => ProblemKind::Turn,
                _ => ProblemKind::Database,
            };
            let at = row.get::<_, i64>(3)?.unsigned_abs();
            Ok(Problem { kind, key: row.get(1)?, reason: row.get(2)?, at })
        };
        Ok(query.query_map([], problem)?.collect::<Result<_, _>>()?)
    }

    pub(crate) fn quarantine_records(&self, bad: Vec<Bad<String>>) -> Result<(), StoreError> {
        for Bad { key, reason } in bad {
            tracing::error!(%reason, name = key, "the record of a session cannot be read and is set aside");
            self.write(move |db| {
                // Both or neither: a host that is killed in between would lose the row for good, or report it
                // once for each start.
                atomically(db, |db| {
                    db.execute(
                        "INSERT INTO quarantine(kind, key, reason, body, at)
                     SELECT 'record', name, ?2, quote(record), ?3 FROM sessions WHERE name = ?1",
                        params![key, reason, now().cast_signed()],
                    )?;
                    db.execute("DELETE FROM sessions WHERE name = ?", [key])?;
                    Ok(())
                })
            })?;
        }
        Ok(())
    }

    pub(crate) fn quarantine_turns(&self, bad: Vec<Bad<i64>>) -> Result<(), StoreError> {
        for Bad { key, reason } in bad {
            tracing::error!(%reason, seq = key, "a turn of the journal cannot be read and is set aside");
            self.write(move |db| atomically(db, |db| {
                db.execute(
                    "INSERT INTO quarantine(kind, key, reason, body, at)
                     SELECT 'turn', CAST(turn AS TEXT), ?2, quote(turn) || ',' || quote(name) || ',' ||
                       quote(session_id) || ',' || quote(prompt) || ',' || quote(at_most_once) || ',' || quote(sent)
                       || ',' || quote(interruptions) || ',' || quote(outcome) || ',' || quote(opened_at) || ',' ||
                       quote(settled_at), ?3 FROM turns WHERE seq = ?1",
                    params![key, reason, now().cast_signed()],
                )?;
                db.execute("DELETE FROM turns WHERE seq = ?", [key])?;
                Ok(())
            }))?;
        }
        Ok(())
    }
}

pub(crate) fn note_database(db: &Connection, aside: &Path, reason: &str) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO quarantine(kind, key, reason, body, at) VALUES ('database', ?, ?, '', ?)",
        params![aside.to_string_lossy(), reason, now().cast_signed()],
    )?;
    Ok(())
}
