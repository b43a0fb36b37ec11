//! What could not be read: set aside into a table of its own, from which [`problems`](crate::problems) tells of it.
//!
//! Nothing is thrown away: the quarantine keeps the text of the row. Nothing is repaired either, but an index, which holds
//! nothing that its table does not hold. A name whose row is set aside is not forgotten: it stays as one whose record is lost. Which
//! conversation it had is told by its lease file: what stands in a row whose checksum does not fit may be told as doubtful, and must
//! never be believed.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use treewarden_proto::{SessionId, SessionName};
use treewarden_store::{ProblemKind, StoreError, StoreErrorKind, now};
use uuid::Uuid;

use crate::checksum::{Bad, sum};
use crate::error::Fault;
use crate::problems;
use crate::row::name::NameRow;
use crate::transaction::Transaction;

/// Notes a problem; `body` is what cannot be read, as text.
pub(crate) fn note(
    db: &Connection,
    kind: ProblemKind,
    key: &str,
    reason: &str,
    body: &str,
) -> Result<(), Fault> {
    note_at(db, kind, key, reason, body, now())
}

/// Notes a problem of this time, in Unix milliseconds.
pub(crate) fn note_at(
    db: &Connection,
    kind: ProblemKind,
    key: &str,
    reason: &str,
    body: &str,
    at: u64,
) -> Result<(), Fault> {
    let (kind, at) = (kind.as_str(), at.cast_signed());
    let id = problems::next_number(db)?;
    let text = |text: &'static str| ValueRef::Text(text.as_bytes());
    let sum = sum(
        TABLE,
        &[
            ValueRef::Integer(id),
            text(kind),
            ValueRef::Text(key.as_bytes()),
            ValueRef::Text(reason.as_bytes()),
            ValueRef::Text(body.as_bytes()),
            ValueRef::Integer(at),
        ],
    );
    db.prepare_cached("INSERT INTO quarantine(id, kind, key, reason, body, at, sum) VALUES (?,?,?,?,?,?,?)")?
        .execute(params![id, kind, key, reason, body, at, sum])?;
    Ok(())
}

/// Sets rows of names aside: whoever asks for those names is told that their records are lost, and not that they had none.
pub(crate) fn set_names_aside(to: &Transaction<'_>, bad: &[Bad]) -> Result<(), Fault> {
    let db = to.db();
    // Whether the name itself is what was damaged nobody knows: its index has it too, and its record.
    let rows = bad.iter().map(|bad| bad.row).collect();
    let mut by_index = by_index(db, "SELECT name, id FROM names INDEXED BY names_by_name", &rows, lossy)?;
    let mut lost = Vec::new();
    for Bad { row, reason } in bad {
        let found = db
            .query_row(
                "SELECT CAST(name AS TEXT), CAST(record AS TEXT), quote(name) || ',' || quote(epoch) || ',' || quote(seq) ||
                   ',' || quote(last) || ',' || quote(lost_id) || ',' || quote(watermark) || ',' || quote(lost) || ',' ||
                   quote(record)
                 FROM names WHERE id = ?",
                [row],
                |row| Ok((lossy(row.get_ref(0)?), lossy(row.get_ref(1)?), lossy(row.get_ref(2)?))),
            )
            .optional()?;
        // Another set it aside meanwhile.
        let Some((key, record, body)) = found else { continue };
        let record: Value = serde_json::from_str(&record).unwrap_or_default();
        let mut names: BTreeSet<String> = by_index.remove(row).into_iter().flatten().collect();
        names.extend([key, record["name"].as_str().unwrap_or_default().to_owned()]);
        let names: Vec<SessionName> = names.iter().filter_map(|name| SessionName::new(name).ok()).collect();
        let key = names.iter().map(SessionName::as_str).collect::<Vec<_>>().join(", ");
        let leases = to.leases()?;
        let reason = match doubtful(&record) {
            Some(doubtful) if !names.iter().any(|name| leases.contains_key(name)) => {
                format!("{reason}; {doubtful}")
            }
            _ => reason.clone(),
        };
        tracing::error!(reason, name = key, "the record of a session cannot be read and is set aside");
        note(db, ProblemKind::Record, &key, &reason, &body)?;
        to.note_problems();
        remove(db, "DELETE FROM names WHERE id = ?", *row)?;
        lost.extend(names.into_iter().map(|name| (name, reason.clone())));
    }
    if lost.is_empty() {
        return Ok(());
    }
    // The entry that went may have been another row's, whose name this one said that it had.
    reindex(db, "names")?;
    lost.into_iter().try_for_each(|(name, reason)| lose(to, name, &reason, None))
}

/// What a damaged record says of its session, for a person: any letter of it may be another one than was written.
fn doubtful(record: &Value) -> Option<String> {
    let id: SessionId = record["session_id"].as_str()?.parse().ok()?;
    let template = record["template"].as_str().and_then(|template| SessionName::new(template).ok());
    let of = template.map_or_else(String::new, |template| format!(", and its template {template}"));
    Some(format!("the damaged record says, and may be wrong, that its conversation was {id}{of}"))
}

/// Has a name be known as one whose record is lost, unless the store holds its record, or knows that already; `session_id` is the
/// conversation that it had, where its lease file does not say that.
pub(crate) fn lose(
    to: &Transaction<'_>,
    name: SessionName,
    why: &str,
    session_id: Option<SessionId>,
) -> Result<(), Fault> {
    lose_as(to, name, &format!("what the state database held of it cannot be read ({why})"), session_id)
}

/// The same, in these words.
pub(crate) fn lose_as(
    to: &Transaction<'_>,
    name: SessionName,
    why: &str,
    session_id: Option<SessionId>,
) -> Result<(), Fault> {
    let of_lease = to.leases()?.get(&name).copied();
    let mut row = match NameRow::find(to.db(), &name)? {
        // Somebody took it, and what was stored after that is gone: it would begin blank.
        Some(Ok(row)) if row.record.is_none() && row.lost.is_none() => row,
        // Known as lost from where no lease file said it, as a copy is that was put back into another directory.
        Some(Ok(row)) if row.record.is_none() && of_lease.is_some() && row.lost_id != of_lease => {
            return NameRow { lost_id: of_lease, ..row }.put(to.db());
        }
        Some(_) => return Ok(()),
        None => NameRow::new(to.number()?, name),
    };
    row.epoch = to.number()?.cast_unsigned();
    row.lost = Some(why.into());
    row.lost_id = of_lease.or(session_id);
    row.put(to.db())
}

/// Sets rows of turns aside, each with the names of the sessions whose turn it may be.
pub(crate) fn set_turns_aside(to: &Transaction<'_>, bad: &[Bad]) -> Result<(), Fault> {
    let db = to.db();
    // What in the row is damaged nobody knows: the indexes have its id and its name too.
    let rows = bad.iter().map(|bad| bad.row).collect();
    let mut ids = by_index(db, "SELECT turn, seq FROM turns INDEXED BY turns_by_turn", &rows, id)?;
    let mut names = by_index(db, "SELECT name, seq FROM turns INDEXED BY turns_by_name", &rows, lossy)?;
    let mut all_fit = true;
    for Bad { row, reason } in bad {
        let found = db
            .query_row(
                "SELECT turn, CAST(name AS TEXT), quote(turn) || ',' || quote(name) || ',' || quote(session_id) || ',' ||
                   quote(at_most_once) || ',' || quote(sent) || ',' || quote(interruptions) || ',' || quote(opened_at) || ',' ||
                   quote(settled_at) || ',' || quote(prompt) || ',' || quote(outcome) FROM turns WHERE seq = ?",
                [row],
                |row| Ok((id(row.get_ref(0)?), lossy(row.get_ref(1)?), lossy(row.get_ref(2)?))),
            )
            .optional()?;
        // Another set it aside meanwhile.
        let Some((id, name, body)) = found else { continue };
        let ids: BTreeSet<_> = ids.remove(row).into_iter().flatten().chain([id]).flatten().collect();
        let key = ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ");
        let key = if ids.is_empty() { format!("number {row}") } else { key };
        let names = whose(db, names.remove(row).into_iter().flatten().chain([name]))?;
        tracing::error!(reason, turn = key, ?names, "a turn of the journal cannot be read and is set aside");
        note(db, ProblemKind::Turn, &key, reason, &problems::of(&names, &body))?;
        to.note_problems();
        all_fit &= remove(db, "DELETE FROM turns WHERE seq = ?", *row)?;
    }
    if all_fit { Ok(()) } else { reindex(db, "turns") }
}

/// The names among these that the store knows, or else all that are names.
fn whose(db: &Connection, names: impl Iterator<Item = String>) -> Result<Vec<SessionName>, Fault> {
    let names: BTreeSet<_> = names.filter_map(|name| SessionName::new(&name).ok()).collect();
    let mut known = Vec::new();
    for name in &names {
        if db.prepare_cached("SELECT 1 FROM names WHERE name = ?")?.exists([name.as_str()])? {
            known.push(name.clone());
        }
    }
    // A bit that flips in a name makes it one that nobody has.
    Ok(if known.is_empty() { names.into_iter().collect() } else { known })
}

fn id(cell: ValueRef<'_>) -> Option<Uuid> {
    cell.as_bytes().ok().and_then(|bytes| Uuid::from_slice(bytes).ok())
}

/// Removes a row; `false` if an index does not fit it.
fn remove(db: &Connection, remove: &str, row: i64) -> Result<bool, Fault> {
    match db.execute(remove, [row]).map_err(Fault::from) {
        // An index has no entry for what stands in the row. So the row goes without; before that the index could not be made
        // anew, where the row says now what another says as well.
        Err(fault) if fault.kind() == StoreErrorKind::Corrupt => {
            db.pragma_update(None, "writable_schema", true)?;
            let removed = db.execute(remove, [row]);
            db.pragma_update(None, "writable_schema", false)?;
            removed?;
            Ok(false)
        }
        removed => removed.map(|_| true),
    }
}

/// Makes the indexes of a table anew.
pub(crate) fn reindex(db: &Connection, table: &str) -> Result<(), Fault> {
    db.execute_batch(&format!("REINDEX {table}")).map_err(|error| {
        let why = format!(
            "use the state database: the indexes of `{table}` are damaged and cannot be made anew: {error}"
        );
        StoreError::new(StoreErrorKind::Corrupt, why).into()
    })
}

/// What an index has of rows; the question asks for that and for the row, both of which the index has.
fn by_index<T>(
    db: &Connection,
    index: &str,
    rows: &BTreeSet<i64>,
    read: impl Fn(ValueRef<'_>) -> T,
) -> Result<BTreeMap<i64, Vec<T>>, Fault> {
    let mut query = db.prepare(index)?;
    let (mut found, mut entries) = (BTreeMap::<_, Vec<_>>::new(), query.query([])?);
    while let Some(entry) = entries.next()? {
        if let Some(row) = rows.get(&entry.get_ref(1)?.as_i64().unwrap_or_default()) {
            found.entry(*row).or_default().push(read(entry.get_ref(0)?));
        }
    }
    Ok(found)
}

fn lossy(cell: ValueRef<'_>) -> String {
    String::from_utf8_lossy(cell.as_bytes_or_null().ok().flatten().unwrap_or_default()).into_owned()
}

pub(crate) const TABLE: &str = "quarantine";
