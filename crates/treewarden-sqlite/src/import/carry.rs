//! Carries the rows of the old tables into the new ones; what cannot be read goes to the quarantine.

use std::error::Error;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, Row};
use serde_json::Value;
use treewarden_proto::{SessionId, SessionName, frame};
use treewarden_store::{ProblemKind, SessionRecord, now, write_name};

use crate::error::Fault;
use crate::quarantine::{lose, note, note_at};
use crate::row::name::NameRow;
use crate::row::turn::StoredRow;
use crate::transaction::Transaction;

/// Carries the records over, and what an earlier version set aside of them.
pub(super) fn records(to: &Transaction<'_>, dir: &Path) -> Result<(), Fault> {
    let db = to.db();
    let mut query = db.prepare("SELECT name, record, quote(record) FROM old_sessions ORDER BY name")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let name = lossy(row.get_ref(0)?);
        match record(&name, row.get_ref(1)?) {
            Ok((record, text)) => {
                // An older version left no name in the lease file of a session that it had ended: without one nothing
                // would be known of the session if this database were lost.
                let earlier = record.earlier_ids.iter().map(|id| (*id, 0));
                let named = std::iter::once((record.session_id, now()))
                    .chain(earlier)
                    .try_for_each(|(id, since)| write_name(dir, id, &record.name, since));
                if let Err(error) = named {
                    tracing::warn!(%error, session = %record.name, "the name of a session cannot be written into its lease file");
                }
                let mut row = NameRow::new(to.number()?, record.name);
                row.epoch = to.number()?.cast_unsigned();
                row.record = Some(text.into());
                row.put(db)?;
            }
            Err(reason) => {
                tracing::error!(%reason, name, "the record of a session cannot be read and is set aside");
                note(db, ProblemKind::Record, &name, &reason, &lossy(row.get_ref(2)?))?;
                lose_by_text(to, &name, &reason, &lossy(row.get_ref(1)?))?;
            }
        }
    }
    Ok(())
}

fn record<'r>(name: &str, text: ValueRef<'r>) -> Result<(SessionRecord, &'r str), String> {
    let text = text.as_str().map_err(|error| error.to_string())?;
    let record: SessionRecord = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if record.name.as_str() == name {
        Ok((record, text))
    } else {
        Err(format!("it says that it is of {}", record.name))
    }
}

/// The name is known as one whose record is lost, with the conversation where the text still tells it.
fn lose_by_text(to: &Transaction<'_>, name: &str, why: &str, text: &str) -> Result<(), Fault> {
    let Ok(name) = SessionName::new(name) else { return Ok(()) };
    let id = serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|record| record["session_id"].as_str()?.parse().ok());
    lose(to, name, why, id)
}

/// Carries over what earlier versions set aside. A record among it, in whose place nothing was put since, is lost.
pub(super) fn quarantine(to: &Transaction<'_>) -> Result<(), Fault> {
    let mut query = to.db().prepare("SELECT kind, key, reason, body, at FROM old_quarantine ORDER BY id")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let [kind, key, reason, body] =
            [row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?, row.get_ref(3)?].map(lossy);
        let at = row.get_ref(4)?.as_i64().unwrap_or_default();
        let kind = ProblemKind::from_word(&kind);
        note_at(to.db(), kind, &key, &reason, &body, at.cast_unsigned())?;
        if kind == ProblemKind::Record {
            // As SQLite quotes a text.
            let text = body.trim_matches('\'').replace("''", "'");
            lose_by_text(to, &key, &reason, &text)?;
        }
    }
    Ok(())
}

/// Carries the turns over, in their order.
pub(super) fn turns(to: &Transaction<'_>) -> Result<(), Fault> {
    let db = to.db();
    let mut query = db.prepare(
        "SELECT seq, turn, name, session_id, prompt, at_most_once, sent, interruptions, outcome, opened_at, settled_at
         FROM old_turns ORDER BY seq",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let carried = turn(row, to.number()?).map_err(|error| error.to_string());
        let reason = match carried.map(|turn| turn.insert(db)) {
            Ok(Ok(())) => continue,
            Ok(Err(Fault::Sqlite(error)))
                if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) =>
            {
                "another row has its id".to_owned()
            }
            Ok(Err(fault)) => return Err(fault),
            Err(reason) => reason,
        };
        set_aside(db, row.get(0)?, &reason)?;
    }
    Ok(())
}

fn turn(row: &Row<'_>, seq: i64) -> Result<StoredRow, Box<dyn Error>> {
    let text = |at: usize| -> Result<&str, Box<dyn Error>> { Ok(row.get_ref(at)?.as_str()?) };
    let (prompt, outcome) = (text(4)?, row.get_ref(8)?.as_str_or_null()?);
    // It is kept as it came, and a CLI writes what a strict reader refuses: half of a surrogate pair, 1e999.
    frame::value(prompt)?;
    outcome.map(frame::value).transpose()?;
    let opened_at = row.get::<_, i64>(9)?.cast_unsigned();
    let settled_at = row.get::<_, Option<i64>>(10)?.map(i64::cast_unsigned);
    Ok(StoredRow {
        seq,
        turn: text(1)?.parse()?,
        name: text(2)?.parse()?,
        session_id: text(3)?.parse::<SessionId>()?,
        at_most_once: row.get(5)?,
        sent: row.get(6)?,
        interruptions: row.get(7)?,
        opened_at,
        // An earlier version asked the outcome whether a turn is open, and this one asks the time.
        settled_at: outcome.map(|_| settled_at.unwrap_or(opened_at)),
        prompt: prompt.into(),
        outcome: outcome.map(Into::into),
    })
}

fn set_aside(db: &Connection, seq: i64, reason: &str) -> Result<(), Fault> {
    let (key, body) = db.query_row(
        "SELECT CAST(turn AS TEXT), quote(turn) || ',' || quote(name) || ',' || quote(session_id) || ',' || quote(prompt) ||
           ',' || quote(at_most_once) || ',' || quote(sent) || ',' || quote(interruptions) || ',' || quote(outcome) || ',' ||
           quote(opened_at) || ',' || quote(settled_at) FROM old_turns WHERE seq = ?",
        [seq],
        |row| Ok((lossy(row.get_ref(0)?), lossy(row.get_ref(1)?))),
    )?;
    tracing::error!(%reason, turn = key, "a turn of the journal cannot be read and is set aside");
    note(db, ProblemKind::Turn, &key, reason, &body)
}

fn lossy(cell: ValueRef<'_>) -> String {
    String::from_utf8_lossy(cell.as_bytes_or_null().ok().flatten().unwrap_or_default()).into_owned()
}
