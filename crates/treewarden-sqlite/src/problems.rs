//! What of the quarantine is told as a [`Problem`]: whose it is, in words, and whether it is over.
//!
//! A row of the quarantine stays for good, since it keeps the text of what was set aside. Whether it is told is found out when it
//! is asked: by the names, by the turns, and by a few marks in `meta`, each a number up to which problems are over.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};
use treewarden_proto::{SessionName, TurnId};
use treewarden_store::{Concern, Problem, ProblemKind};

use crate::checksum::{DAMAGED, sum};
use crate::error::Fault;
use crate::quarantine::TABLE;
use crate::row::name::NameRow;
use crate::row::turn::StoredRow;
use crate::transaction::Transaction;
use crate::{lost, meta};

/// The number of the next problem: beyond every mark also where rows of the quarantine are gone, or else it would be over before
/// it was told.
pub(crate) fn next_number(db: &Connection) -> Result<i64, Fault> {
    let highest: i64 = db.query_row(
        "SELECT max(coalesce((SELECT max(id) FROM quarantine), 0), coalesce((SELECT max(value) FROM meta
           WHERE (key IN ('told', 'given-up', 'mended') OR key >= 'over:' AND key < 'over;') AND typeof(value) = 'integer'), 0))",
        [],
        |row| row.get(0),
    )?;
    Ok(highest.saturating_add(1))
}

/// The number of the last problem; 0 if there never was one.
pub(crate) fn last_number(db: &Connection) -> Result<i64, Fault> {
    Ok(db.query_row("SELECT coalesce(max(id), 0) FROM quarantine", [], |row| row.get(0))?)
}

/// Up to where a host has told of the problems.
pub(crate) fn told(db: &Connection) -> Result<u64, Fault> {
    mark(db, meta::TOLD)
}

fn mark(db: &Connection, key: &str) -> Result<u64, Fault> {
    Ok(match meta::get(db, key)? {
        Some(Value::Integer(number)) => number.unsigned_abs(),
        _ => 0,
    })
}

/// Notes that a host has told of the problems up to this number.
pub(crate) fn note_told(to: &Transaction<'_>, number: u64) -> Result<(), Fault> {
    if number > told(to.db())? { meta::put(to.db(), meta::TOLD, number.cast_signed()) } else { Ok(()) }
}

/// Has all problems of now be over.
pub(crate) fn give_up(to: &Transaction<'_>) -> Result<(), Fault> {
    to.note_problems();
    meta::put(to.db(), meta::GIVEN_UP, last_number(to.db())?)
}

/// Has the problems of a name be over that comes to another conversation, if there is any.
pub(crate) fn end(to: &Transaction<'_>, name: &SessionName) -> Result<(), Fault> {
    match last_number(to.db())? {
        0 => Ok(()),
        last => {
            to.note_problems();
            meta::put(to.db(), &over(name), last)
        }
    }
}

/// The same for one whose record was lost. With the last of those what was lost with the store is mended too.
pub(crate) fn mend(to: &Transaction<'_>, name: &SessionName) -> Result<(), Fault> {
    meta::put(to.db(), meta::MENDED, last_number(to.db())?)?;
    end(to, name)
}

fn over(name: &SessionName) -> String {
    format!("{}{name}", meta::OVER)
}

/// What is told, oldest first; what is above `told` is new.
pub(crate) fn problems(db: &Connection, told: u64) -> Result<Vec<Problem>, Fault> {
    let (given_up, mended) = (mark(db, meta::GIVEN_UP)?, mark(db, meta::MENDED)?);
    let lost = lost::names(db)?;
    let is_any_lost = !lost.names.is_empty() || lost.others.is_some();
    let mut query =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM quarantine WHERE id > ? ORDER BY id"))?;
    let mut rows = query.query([given_up.cast_signed()])?;
    let mut problems = Vec::new();
    while let Some(row) = rows.next()? {
        let problem = read(row, told)?;
        let is_over = match &problem.concern {
            Concern::Sessions(names) => is_none_lost(db, names)?,
            Concern::Turn { ids, names } => is_there(db, ids)? || have_gone_on(db, names, problem.number)?,
            _ => problem.number <= told.max(mended) && !is_any_lost,
        };
        if !is_over {
            problems.push(problem);
        }
    }
    Ok(problems)
}

/// The problem of a turn that was set aside, whether it is over or not.
pub(crate) fn of_turn(db: &Connection, turn: TurnId) -> Result<Option<Problem>, Fault> {
    // Two ids stand there where one of them may be damaged.
    let query = format!(
        "SELECT {COLUMNS} FROM quarantine WHERE kind = ? AND instr(key, ?) > 0 ORDER BY id DESC LIMIT 1"
    );
    let by = [ProblemKind::Turn.as_str(), &turn.to_string()];
    Ok(db.prepare_cached(&query)?.query_row(by, |row| read(row, 0)).optional()?)
}

const COLUMNS: &str = "id, kind, key, reason, body, at, sum";

fn read(row: &Row<'_>, told: u64) -> rusqlite::Result<Problem> {
    let mut cells = [ValueRef::Null; 6];
    for (n, cell) in cells.iter_mut().enumerate() {
        *cell = row.get_ref(n)?;
    }
    let text = |n: usize| String::from_utf8_lossy(cells[n].as_bytes().unwrap_or_default()).into_owned();
    let (kind, key) = (ProblemKind::from_word(&text(1)), text(2));
    let concern = concern(kind, &key, &text(4));
    let fits = row.get_ref(6)? == ValueRef::Integer(sum(TABLE, &cells));
    // Told all the same: that there was a problem is true.
    let reason = if fits { text(3) } else { format!("{} (and of this note {DAMAGED})", text(3)) };
    let reason = in_words(&concern, &key, reason);
    let number = cells[0].as_i64().unwrap_or_default().unsigned_abs();
    let at = cells[5].as_i64().unwrap_or_default().cast_unsigned();
    Ok(Problem::new(kind, key, reason, at).about(concern).numbered(number, number > told))
}

/// What is set aside of a turn, with the names of the sessions whose it may be.
pub(crate) fn of(names: &[SessionName], body: &str) -> String {
    let names: Vec<_> = names.iter().map(SessionName::as_str).collect();
    format!("{body} /* of {} */", names.join(", "))
}

/// Whose turn a row says that it is, as it was [set aside](of); one that an earlier build set aside says so in its second cell.
fn whose(body: &str) -> Vec<SessionName> {
    let noted = body.strip_suffix(" */").and_then(|body| body.rsplit_once(" /* of "));
    let cell = || body.split(',').nth(1).map(|name| name.trim_matches('\'')).unwrap_or_default();
    names(noted.map_or_else(cell, |(_, names)| names))
}

fn names(text: &str) -> Vec<SessionName> {
    text.split(", ").filter_map(|name| SessionName::new(name).ok()).collect()
}

fn concern(kind: ProblemKind, key: &str, body: &str) -> Concern {
    match kind {
        ProblemKind::Record => match names(key) {
            // A row of which not even the name can be told.
            names if names.is_empty() => Concern::Store,
            names => Concern::Sessions(names),
        },
        ProblemKind::Turn => {
            match key.split(", ").filter_map(|id| id.parse().ok()).collect::<Vec<TurnId>>() {
                // A part of an earlier version's journal, or a row of which not even the id can be told.
                ids if ids.is_empty() && !key.starts_with("number ") => Concern::Store,
                ids => Concern::Turn { ids, names: whose(body) },
            }
        }
        _ => Concern::Store,
    }
}

fn in_words(concern: &Concern, key: &str, reason: String) -> String {
    match concern {
        Concern::Sessions(_) => format!("the record of {key} cannot be read: {reason}"),
        Concern::Turn { names, .. } => {
            let names: Vec<_> = names.iter().map(SessionName::as_str).collect();
            let of = if names.is_empty() {
                "a session that cannot be told".to_owned()
            } else {
                names.join(" or ")
            };
            format!(
                "a turn of {of} (id {key}) is damaged: its prompt and its outcome cannot be read ({reason})"
            )
        }
        _ => reason,
    }
}

/// No name of these is lost.
fn is_none_lost(db: &Connection, names: &[SessionName]) -> Result<bool, Fault> {
    for name in names {
        match NameRow::find(db, name)? {
            Some(Ok(row)) if row.lost.is_none() || row.record.is_some() => {}
            None => {}
            // One that is damaged once more is lost.
            Some(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// A turn of one of these ids is there again, and can be read.
fn is_there(db: &Connection, ids: &[TurnId]) -> Result<bool, Fault> {
    for id in ids {
        if let Some(Ok(_)) = StoredRow::find(db, *id)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// All of these came to another conversation after the problem of this number.
fn have_gone_on(db: &Connection, names: &[SessionName], number: u64) -> Result<bool, Fault> {
    for name in names {
        if mark(db, &over(name))? < number {
            return Ok(false);
        }
    }
    Ok(!names.is_empty())
}
