//! A row of `lines`: what was appended to a transcript at one time.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params};
use treewarden_proto::SessionId;
use treewarden_store::Lines;

use super::{cells, number, text, uuid};
use crate::checksum::sum;
use crate::error::Fault;
use crate::meta;

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
        return count(db, lines).map(|()| true);
    }
    // The same once more is no other.
    Ok(db
        .prepare_cached("SELECT 1 FROM lines WHERE conversation = ? AND subpath = ? AND seq = ? AND sum = ? AND entries = ?")?
        .exists(params![conversation, lines.subpath, seq, sum, lines.entries])?)
}

/// How many flushes of a file were stored: a row that cannot be found, since its key is damaged, is missed by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flushes {
    count: i64,
    /// The number of the one behind the last.
    next: i64,
}

impl std::fmt::Display for Flushes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.count, self.next)
    }
}

impl Flushes {
    /// Says what is missing of those from this number on, of which these were found, `limit` at most.
    pub(crate) fn missing(self, from: i64, limit: i64, found: &[Option<i64>]) -> Option<String> {
        let Self { count, next } = self;
        let len = i64::try_from(found.len()).unwrap_or(i64::MAX);
        // Each stands behind the one before, unless whoever wrote them left some out.
        let expected = if count == next {
            (count - from).clamp(0, limit)
        } else if from == 0 && len < limit {
            count
        } else {
            return None;
        };
        if len != expected {
            return Some(format!(
                "{count} flushes of it were stored, and of those {expected} only {len} can be found"
            ));
        }
        let mut numbers = found.iter().zip(from..);
        let astray =
            numbers.find(|(found, number)| count == next && found.is_some_and(|found| found != *number));
        astray.map(|(_, number)| format!("flush {number} of it cannot be found"))
    }
}

/// Counts a flush that was stored just now.
fn count(db: &Connection, lines: &Lines) -> Result<(), Fault> {
    let Lines { conversation, subpath, seq, .. } = lines;
    let flushes = match flushes(db, *conversation, subpath)? {
        // What is damaged gets no sum that fits.
        Err(_) => return Ok(()),
        Ok(Some(Flushes { count, next })) => {
            Flushes { count: count + 1, next: next.max(seq.cast_signed() + 1) }
        }
        // The first one, or an earlier build did not count.
        Ok(None) => db
            .prepare_cached(
                "SELECT count(*), max(seq) + 1 FROM lines WHERE conversation = ? AND subpath = ?",
            )?
            .query_row(params![conversation.as_uuid().as_bytes().as_slice(), subpath], |row| {
                Ok(Flushes { count: row.get(0)?, next: row.get(1)? })
            })?,
    };
    meta::put(db, &key(*conversation, subpath), flushes.to_string())
}

/// How many flushes of a file were stored; `None` of one that an earlier build wrote, and an error says that it cannot be read.
pub(crate) fn flushes(
    db: &Connection,
    conversation: SessionId,
    subpath: &str,
) -> Result<Result<Option<Flushes>, String>, Fault> {
    let read = |value: Value| {
        let Value::Text(text) = value else { return None };
        let (count, next) = text.split_once(' ')?;
        Some(Flushes { count: count.parse().ok()?, next: next.parse().ok()? })
    };
    Ok(match meta::find(db, &key(conversation, subpath))? {
        None => Ok(None),
        Some(value) => {
            let flushes = value.and_then(read).map(Some);
            flushes.ok_or_else(|| "how many flushes of it were stored cannot be read".to_owned())
        }
    })
}

fn key(conversation: SessionId, subpath: &str) -> String {
    format!("{}{conversation}:{subpath}", meta::LINES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_known_by_the_number_of_those_that_were_stored() {
        let flushes = Flushes { count: 3, next: 3 };
        let missing = |from, limit, found: &[i64]| {
            let found: Vec<_> = found.iter().copied().map(Some).collect();
            flushes.missing(from, limit, &found).is_some()
        };
        for (from, limit, found) in
            [(0, 9, &[0, 1, 2][..]), (0, 2, &[0, 1]), (1, 9, &[1, 2]), (2, 1, &[2]), (3, 9, &[]), (7, 9, &[])]
        {
            assert!(!missing(from, limit, found), "{from} {limit} {found:?}");
        }
        for (from, limit, found) in [
            (0, 9, &[0, 1][..]),
            (0, 9, &[]),
            (0, 9, &[0, 2]),
            (0, 2, &[0, 2]),
            (1, 9, &[2]),
            (0, 9, &[0, 1, 3]),
        ] {
            assert!(missing(from, limit, found), "{from} {limit} {found:?}");
        }
        // Whoever leaves numbers out has them counted where all are asked for.
        let flushes = Flushes { count: 2, next: 3 };
        assert_eq!(flushes.missing(0, 9, &[Some(0), Some(2)]), None);
        assert!(flushes.missing(0, 9, &[Some(2)]).is_some());
        assert_eq!(flushes.missing(1, 9, &[Some(2)]), None);
    }
}
