//! A row of `expired_ids`: the id of a turn that was removed, where the id itself says nothing of its age.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use treewarden_proto::TurnId;
use uuid::Uuid;

use super::{cells, uuid};
use crate::checksum::sum;
use crate::error::Fault;

const TABLE: &str = "expired_ids";

/// Keeps an id, with the digest of its turn's prompt, from this time on.
pub(crate) fn insert(db: &Connection, turn: TurnId, digest: Uuid, at: u64) -> Result<(), Fault> {
    let (id, digest, at) = (turn.as_uuid().as_bytes(), digest.as_bytes(), at.cast_signed());
    let sum = sum(TABLE, &[ValueRef::Blob(id), ValueRef::Blob(digest), ValueRef::Integer(at)]);
    db.prepare_cached("INSERT OR REPLACE INTO expired_ids(turn, digest, at, sum) VALUES (?,?,?,?)")?
        .execute(params![id.as_slice(), digest.as_slice(), at, sum])?;
    Ok(())
}

/// Whether an id is kept, and with which digest: none if the row is damaged.
pub(crate) fn find(db: &Connection, turn: TurnId) -> Result<Option<Option<Uuid>>, Fault> {
    Ok(db
        .prepare_cached("SELECT turn, digest, at, sum FROM expired_ids WHERE turn = ?")?
        .query_row([turn.as_uuid().as_bytes().as_slice()], |row| {
            Ok(cells::<3>(TABLE, row)?.and_then(|[_, digest, _]| uuid(digest)).ok())
        })
        .optional()?)
}

/// Forgets so many ids that were kept before this time; returns how many there were.
pub(crate) fn forget(db: &Connection, before: u64, most: usize) -> Result<usize, Fault> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    Ok(db
        .prepare_cached(
            "DELETE FROM expired_ids WHERE turn IN (SELECT turn FROM expired_ids WHERE at < ? LIMIT ?)",
        )?
        .execute(params![before.cast_signed(), most])?)
}
