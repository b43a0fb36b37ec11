//! What is asked of the rows. Rows that cannot be read are named, and whoever asked has them set aside.

use rusqlite::{Connection, Params, Row, params};
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{Completed, Lines, SessionRecord, Told, TurnRow};

use crate::checksum::Bad;
use crate::error::Fault;
use crate::lost;
use crate::row::line;
use crate::row::name::{self, NameRow};
use crate::row::turn::{self, StoredRow};

/// So many turns that the CLI wrote nowhere are told at most.
const MOST: usize = 64;

/// What was found, with the rows that could not be read.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) found: T,
    pub(crate) bad: Vec<Bad>,
}

/// What is known of a name.
pub(crate) fn record(db: &Connection, name: &SessionName) -> Result<Found<Told>, Fault> {
    let told = match NameRow::find(db, name)? {
        None => Ok(match lost::told_of_others(db)? {
            Some(why) => Told::Lost { why, session_id: None },
            None => Told::Never,
        }),
        Some(row) => row.and_then(|row| row.told().map_err(|reason| Bad { row: row.id, reason })),
    };
    Ok(match told {
        Ok(found) => Found { found, bad: Vec::new() },
        Err(bad) => Found { found: Told::Lost { why: bad.reason.clone(), session_id: None }, bad: vec![bad] },
    })
}

/// What is known of a name, and its open turns.
pub(crate) fn name_state(
    db: &Connection,
    name: &SessionName,
) -> Result<(Found<Told>, Found<Vec<TurnRow>>), Fault> {
    // One for all, so that both are of one moment; it is over when this returns, also by a failure.
    let _moment = db.unchecked_transaction()?;
    Ok((record(db, name)?, open_turns(db, name)?))
}

/// Every record, by name.
pub(crate) fn records(db: &Connection) -> Result<Found<Vec<SessionRecord>>, Fault> {
    // In the order of the table, and sorted afterwards: by the index each row would be looked for anew.
    let mut query = db.prepare_cached(&format!("SELECT {} FROM names", name::COLUMNS))?;
    let mut found = collect(&mut query, [], |row| {
        let row = match NameRow::read(row)? {
            Ok(row) if row.record.is_some() => row,
            Ok(_) => return Ok(Ok(None)),
            Err(bad) => return Ok(Err(bad)),
        };
        Ok(match row.told() {
            Ok(Told::Record(record)) => Ok(Some(*record)),
            Ok(_) => Ok(None),
            Err(reason) => Err(Bad { row: row.id, reason }),
        })
    })?;
    let mut records: Vec<_> = std::mem::take(&mut found.found).into_iter().flatten().collect();
    records.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Found { found: records, bad: found.bad })
}

/// A turn by its id.
pub(crate) fn turn(db: &Connection, turn: TurnId) -> Result<Found<Option<TurnRow>>, Fault> {
    Ok(match StoredRow::find(db, turn)?.map(|row| row.and_then(StoredRow::tell)).transpose() {
        Ok(found) => Found { found, bad: Vec::new() },
        Err(bad) => Found { found: None, bad: vec![bad] },
    })
}

/// The open turns of a session, in the order in which they were opened.
pub(crate) fn open_turns(db: &Connection, name: &SessionName) -> Result<Found<Vec<TurnRow>>, Fault> {
    turns_of(db, OPEN, [name.as_str()])
}

const OPEN: &str = "WHERE name = ? AND settled_at IS NULL ORDER BY seq";

/// The newest turns of a session, newest first.
pub(crate) fn turns(db: &Connection, name: &SessionName, limit: usize) -> Result<Found<Vec<TurnRow>>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    turns_of(db, "WHERE name = ? ORDER BY seq DESC LIMIT ?", params![name.as_str(), limit])
}

fn turns_of(db: &Connection, which: &str, by: impl Params) -> Result<Found<Vec<TurnRow>>, Fault> {
    let mut query = db.prepare_cached(&format!("SELECT {} FROM turns {which}", turn::COLUMNS))?;
    collect(&mut query, by, |row| Ok(StoredRow::read(row)?.and_then(StoredRow::tell)))
}

fn collect<T>(
    query: &mut rusqlite::Statement<'_>,
    by: impl Params,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<Result<T, Bad>>,
) -> Result<Found<Vec<T>>, Fault> {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    let mut rows = query.query(by)?;
    while let Some(row) = rows.next()? {
        match read(row)? {
            Ok(row) => found.push(row),
            Err(row) => bad.push(row),
        }
    }
    Ok(Found { found, bad })
}

/// The completed turns of a conversation, newest first, down to the newest that the CLI must have written.
pub(crate) fn completed(db: &Connection, conversation: SessionId) -> Result<Found<Vec<Completed>>, Fault> {
    let mut query = db.prepare_cached(&format!(
        "SELECT {} FROM turns WHERE session_id = ? ORDER BY seq DESC",
        turn::COLUMNS
    ))?;
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    let mut rows = query.query([conversation.as_uuid().as_bytes().as_slice()])?;
    while let Some(row) = rows.next()? {
        let stored = match StoredRow::read(row)? {
            Ok(stored) => stored,
            Err(row) => {
                bad.push(row);
                continue;
            }
        };
        let completed = stored.outcome.as_deref().and_then(|outcome| Completed::of(stored.turn, outcome));
        let Some(completed) = completed else { continue };
        // Of many that were written nowhere the newest are enough; the one that was written is looked for behind them.
        if completed.written || found.len() < MOST {
            found.push(completed);
        }
        if completed.written {
            break;
        }
    }
    Ok(Found { found, bad })
}

/// Flushed lines of a transcript, each or why it cannot be read; and behind them what is missing.
pub(crate) fn lines(
    db: &Connection,
    conversation: SessionId,
    subpath: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<Result<Lines, String>>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // A flush beyond what the database can count was never stored.
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let mut query = db.prepare_cached(&format!(
        "SELECT {} FROM lines WHERE conversation = ? AND subpath = ? AND seq >= ? ORDER BY seq LIMIT ?",
        line::COLUMNS
    ))?;
    let by = params![conversation.as_uuid().as_bytes().as_slice(), subpath, from, limit];
    let mut lines: Vec<Result<Lines, String>> = query.query_map(by, line::read)?.collect::<Result<_, _>>()?;
    let number = |lines: &Result<Lines, String>| lines.as_ref().ok().map(|lines| lines.seq.cast_signed());
    let found: Vec<_> = lines.iter().map(number).collect();
    let missing = match line::flushes(db, conversation, subpath)? {
        Ok(flushes) => flushes.and_then(|flushes| flushes.missing(from, limit, &found)),
        Err(why) => Some(why),
    };
    lines.extend(missing.map(Err));
    Ok(lines)
}
