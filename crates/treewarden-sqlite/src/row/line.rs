//! A row of `lines`: what was appended to a transcript at one time.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use treewarden_proto::SessionId;
use treewarden_store::Lines;

use super::{cells, number, text, uuid};
use crate::checksum::sum;
use crate::error::Fault;

pub(crate) const COLUMNS: &str = "conversation, subpath, seq, entries, sum";

const TABLE: &str = "lines";

/// Reads a row of [`COLUMNS`].
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Lines, String>> {
    Ok(cells(TABLE, row)?.and_then(|[conversation, subpath, seq, entries]| {
        Ok(Lines {
            conversation: SessionId::from_uuid(uuid(conversation)?),
            subpath: text(subpath)?.to_owned(),
            seq: number(seq)?.cast_unsigned(),
            entries: text(entries)?.into(),
        })
    }))
}

/// Stores lines; `false` if others stand in their place.
pub(crate) fn insert(db: &Connection, lines: &Lines) -> Result<bool, Fault> {
    let conversation = lines.conversation.as_uuid().as_bytes().as_slice();
    let seq = lines.seq.cast_signed();
    let sum = sum(
        TABLE,
        &[
            ValueRef::Blob(conversation),
            ValueRef::Text(lines.subpath.as_bytes()),
            ValueRef::Integer(seq),
            ValueRef::Text(lines.entries.as_bytes()),
        ],
    );
    let inserted = db
        .prepare_cached(
            "INSERT OR IGNORE INTO lines(conversation, subpath, seq, entries, sum) VALUES (?,?,?,?,?)",
        )?
        .execute(params![conversation, lines.subpath, seq, lines.entries, sum])?;
    if inserted == 1 {
        return Ok(true);
    }
    // The same once more is no other.
    Ok(db
        .prepare_cached("SELECT 1 FROM lines WHERE conversation = ? AND subpath = ? AND seq = ? AND sum = ? AND entries = ?")?
        .exists(params![conversation, lines.subpath, seq, sum, lines.entries])?)
}
