//! Which rows are old: asked of one session after another, without writing.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::expiry::{self, FRESH};
use treewarden_store::{Completed, Keep};
use uuid::Uuid;

use crate::error::Fault;
use crate::read::Found;
use crate::row::turn::{self, StoredRow};

/// So many sessions are looked at by one question: a reader is not held for longer.
const NAMES: usize = 64;

/// Where the next question goes on.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursor {
    /// The session that is next, or the one before it.
    name: String,
    /// Rows of that session up to this one were looked at.
    seq: Option<i64>,
}

impl Cursor {
    pub(super) fn begin() -> Self {
        Self::default()
    }
}

/// A row that is old, and what is to be known of it afterwards.
#[derive(Debug)]
pub(super) struct Old {
    pub(super) seq: i64,
    pub(super) name: SessionName,
    pub(super) turn: TurnId,
    /// The digest of its prompt, where its id says nothing of its age.
    pub(super) digest: Option<Uuid>,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) old: Vec<Old>,
    pub(super) next: Option<Cursor>,
}

/// Looks for the next rows that are old, `most` of them.
pub(super) fn plan(
    db: &Connection,
    from: &Cursor,
    keep: Keep,
    now: u64,
    most: usize,
) -> Result<Found<Plan>, Fault> {
    let mut found = Found { found: Plan { old: Vec::new(), next: None }, bad: Vec::new() };
    let mut cursor = from.clone();
    for _ in 0..NAMES {
        let (name, after) = match cursor.seq {
            Some(seq) => (cursor.name.clone(), seq),
            None => {
                let next = db
                    .prepare_cached("SELECT name FROM turns WHERE name > ? ORDER BY name LIMIT 1")?
                    .query_row([&cursor.name], |row| row.get::<_, String>(0))
                    .optional()?;
                let Some(next) = next else { return Ok(found) };
                (next, i64::MIN)
            }
        };
        let room = most - found.found.old.len();
        let last = of_session(db, &name, after, keep, now, room, &mut found)?;
        cursor = Cursor { name, seq: last };
        if found.found.old.len() >= most {
            break;
        }
    }
    found.found.next = Some(cursor);
    Ok(found)
}

/// Looks through the rows of a session; `Some` is the last that was looked at, if there may be more.
fn of_session(
    db: &Connection,
    name: &str,
    after: i64,
    keep: Keep,
    now: u64,
    room: usize,
    found: &mut Found<Plan>,
) -> Result<Option<i64>, Fault> {
    // The newest of those that are too many; all before it are as well.
    let edge: Option<i64> = match keep.turns {
        None => None,
        Some(turns) => db
            .prepare_cached(
                "SELECT seq FROM turns WHERE name = ? AND settled_at IS NOT NULL ORDER BY seq DESC LIMIT 1 OFFSET ?",
            )?
            .query_row(params![name, i64::try_from(turns).unwrap_or(i64::MAX)], |row| row.get(0))
            .optional()?,
    };
    let age = keep.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let oldest = age.map_or(i64::MIN, |age| now.saturating_sub(age).cast_signed());
    let fresh = i64::try_from(FRESH.as_millis()).unwrap_or(i64::MAX);
    let mut query = db.prepare_cached(&format!(
        "SELECT {} FROM turns WHERE name = ?1 AND seq > ?2 AND settled_at IS NOT NULL AND (seq <= ?3 OR settled_at < ?4)
           AND abs(opened_at - ?5) > ?6 ORDER BY seq",
        turn::COLUMNS
    ))?;
    let by = params![name, after, edge.unwrap_or(i64::MIN), oldest, now.cast_signed(), fresh];
    let mut anchors = HashMap::new();
    let mut rows = query.query(by)?;
    let mut left = room;
    while let Some(row) = rows.next()? {
        let last = row.get(0)?;
        match StoredRow::read(row)? {
            Ok(row) if is_anchor(db, &row, &mut anchors)? => {}
            Ok(row) => {
                found.found.old.push(old(&row));
                left -= 1;
            }
            Err(bad) => found.bad.push(bad),
        }
        if left == 0 {
            return Ok(Some(last));
        }
    }
    Ok(None)
}

fn old(row: &StoredRow) -> Old {
    let digest = expiry::made_at(row.turn).is_none().then(|| expiry::digest(row.turn, &row.prompt));
    Old { seq: row.seq, name: row.name.clone(), turn: row.turn, digest }
}

/// Whether a turn is the newest of its conversation that the CLI must have written.
fn is_anchor(
    db: &Connection,
    row: &StoredRow,
    anchors: &mut HashMap<SessionId, Option<i64>>,
) -> Result<bool, Fault> {
    if !is_written(row) {
        return Ok(false);
    }
    let anchor = match anchors.get(&row.session_id) {
        Some(anchor) => *anchor,
        None => {
            let anchor = newest_written(db, row.session_id)?;
            anchors.insert(row.session_id, anchor);
            anchor
        }
    };
    // None is there if the rows changed since: then it stays.
    Ok(anchor.is_none_or(|anchor| anchor == row.seq))
}

fn newest_written(db: &Connection, conversation: SessionId) -> Result<Option<i64>, Fault> {
    let mut query = db.prepare_cached(&format!(
        "SELECT {} FROM turns WHERE session_id = ? AND settled_at IS NOT NULL ORDER BY seq DESC",
        turn::COLUMNS
    ))?;
    let mut rows = query.query([conversation.as_uuid().as_bytes().as_slice()])?;
    while let Some(row) = rows.next()? {
        // One that cannot be read is no anchor, and is set aside when it is met.
        if let Ok(row) = StoredRow::read(row)?
            && is_written(&row)
        {
            return Ok(Some(row.seq));
        }
    }
    Ok(None)
}

fn is_written(row: &StoredRow) -> bool {
    let completed = row.outcome.as_deref().and_then(|outcome| Completed::of(row.turn, outcome));
    completed.is_some_and(|completed| completed.written)
}
