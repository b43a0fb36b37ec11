//! What the store knows of itself: few values by their names, each with its checksum.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use crate::checksum::sum;
use crate::error::Fault;

/// The life of the database: another one, or one that was put back from a copy, has another. Sixteen random bytes.
pub(crate) const GENERATION: &str = "generation";
/// How many transactions were stored.
pub(crate) const COMMITS: &str = "commits";
/// The last number that was drawn: of a turn, of a name, or for an epoch. None is drawn twice.
pub(crate) const NUMBERS: &str = "numbers";
/// The generation that was there before, if this one was begun in its place.
pub(crate) const AFTER: &str = "after";
/// The last segment of an earlier version's journal that was [taken](crate::import).
pub(crate) const IMPORTED: &str = "imported";
/// Why names of which nothing is known are [lost](crate::lost), if they are.
pub(crate) const LOST: &str = "lost";

/// The highest id of a turn that was removed, of those that say when they were made: of all names.
pub(crate) const WATERMARK: &str = "watermark";

/// The highest number of a problem of which a host has told.
pub(crate) const TOLD: &str = "told";
/// The highest number of a problem when all were [given up](crate::lost::forgive).
pub(crate) const GIVEN_UP: &str = "given-up";
/// The highest number of a problem when the last record was put in the place of one that was lost.
pub(crate) const MENDED: &str = "mended";
/// With a name behind it, the highest number of a problem when that name came to another conversation.
pub(crate) const OVER: &str = "over:";
/// With the name of a transcript's file behind it, how many flushes of it were stored, and the number of the next one.
pub(crate) const LINES: &str = "lines:";

/// Beyond whatever a number that is lost can have been.
const LEAP: i64 = 1 << 32;

/// Stores a value.
pub(crate) fn put(db: &Connection, key: &str, value: impl ToSql) -> Result<(), Fault> {
    let cell = match value.to_sql()? {
        ToSqlOutput::Borrowed(cell) => {
            Value::try_from(cell).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?
        }
        ToSqlOutput::Owned(cell) => cell,
        _ => Value::Null,
    };
    let sum = sum("meta", &[ValueRef::Text(key.as_bytes()), ValueRef::from(&cell)]);
    db.prepare_cached(
        "INSERT INTO meta VALUES (?,?,?) ON CONFLICT(key) DO UPDATE SET value = excluded.value, sum = excluded.sum",
    )?
    .execute(params![key, cell, sum])?;
    Ok(())
}

/// A value; `None` if there is none that can be read.
pub(crate) fn get(db: &Connection, key: &str) -> Result<Option<Value>, Fault> {
    Ok(find(db, key)?.flatten())
}

/// A value, if there is one, and `Some(None)` if it cannot be read.
pub(crate) fn find(db: &Connection, key: &str) -> Result<Option<Option<Value>>, Fault> {
    let found = db.prepare_cached("SELECT value, sum FROM meta WHERE key = ?")?.query_row([key], |row| {
        let cell = row.get_ref(0)?;
        let is_right =
            row.get_ref(1)? == ValueRef::Integer(sum("meta", &[ValueRef::Text(key.as_bytes()), cell]));
        Ok(is_right.then(|| Value::try_from(cell).ok()).flatten())
    });
    Ok(found.optional()?)
}

/// A count; one that cannot be read goes on beyond everything that it can have been.
pub(crate) fn count(db: &Connection, key: &str) -> Result<i64, Fault> {
    if let Some(Value::Integer(count)) = get(db, key)? {
        return Ok(count);
    }
    tracing::error!(key, "a count of the state database cannot be read, and goes on further up");
    beyond(db)
}

/// A count that is beyond everything that stands in the rows, and whatever was drawn for rows that are gone.
pub(crate) fn beyond(db: &Connection) -> Result<i64, Fault> {
    let highest: i64 = db.query_row(
        "SELECT max(coalesce((SELECT max(max(epoch), max(id)) FROM names), 0), coalesce((SELECT max(seq) FROM turns), 0))",
        [],
        |row| row.get(0),
    )?;
    Ok(highest.saturating_add(LEAP))
}
