//! Removes rows, and keeps what is to be known of their ids.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, params};
use treewarden_proto::{SessionName, TurnId};
use treewarden_store::{NewTurn, OpenError, expiry};
use uuid::Uuid;

use super::plan::Old;
use crate::commit::row_of;
use crate::error::Fault;
use crate::meta;
use crate::row::expired;
use crate::row::name::NameRow;
use crate::transaction::Transaction;

/// Removes rows; returns how many of them were still there.
pub(super) fn remove(to: &Transaction<'_>, old: &[Old], now: u64) -> Result<usize, Fault> {
    let mut removed = 0;
    let mut highest: BTreeMap<&SessionName, TurnId> = BTreeMap::new();
    for Old { seq, name, turn, digest } in old {
        let id = turn.as_uuid().as_bytes().as_slice();
        let gone = to
            .db()
            .prepare_cached("DELETE FROM turns WHERE seq = ? AND turn = ? AND settled_at IS NOT NULL")?
            .execute(params![seq, id])?;
        // Another process may have removed it.
        if gone == 0 {
            continue;
        }
        removed += 1;
        match digest {
            Some(digest) => expired::insert(to.db(), *turn, *digest, now)?,
            None => {
                let highest = highest.entry(name).or_insert(*turn);
                *highest = (*highest).max(*turn);
            }
        }
    }
    for (name, turn) in &highest {
        let mut row = match row_of(to, name)? {
            Some(row) => row,
            // Of a turn that was opened under a name that nobody took.
            None => NameRow::new(to.number()?, (*name).clone()),
        };
        row.watermark = row.watermark.max(Some(*turn));
        row.put(to.db())?;
    }
    let of_all = highest.into_values().max();
    if of_all > watermark(to.db())?
        && let Some(turn) = of_all
    {
        meta::put(to.db(), meta::WATERMARK, turn.as_uuid().as_bytes().as_slice())?;
    }
    Ok(removed)
}

/// The highest watermark of all names.
fn watermark(db: &Connection) -> Result<Option<TurnId>, Fault> {
    let found = match meta::get(db, meta::WATERMARK)? {
        Some(Value::Blob(id)) => Uuid::from_slice(&id).ok(),
        _ => None,
    };
    Ok(found.map(TurnId::from_uuid))
}

/// Why a turn that is not held may not be opened, if its id was removed.
pub(crate) fn expired_of(to: &Transaction<'_>, new: &NewTurn) -> Result<Option<OpenError>, Fault> {
    match expiry::made_at(new.turn) {
        // The usual one, of which nothing is looked up.
        Some(made_at) if expiry::is_fresh(made_at, new.opened_at) => Ok(None),
        Some(_) => {
            let watermark = row_of(to, &new.name)?.and_then(|row| row.watermark);
            let expired =
                watermark.is_some_and(|watermark| expiry::has_expired(new.turn, new.opened_at, watermark));
            Ok(expired.then_some(OpenError::Expired))
        }
        None => Ok(expired::find(to.db(), new.turn)?.map(|digest| {
            // Of a row that is damaged the digest is not known: that the id was here is.
            let same = digest.is_none_or(|digest| digest == expiry::digest(new.turn, &new.prompt));
            if same { OpenError::Expired } else { OpenError::Exists }
        })),
    }
}

/// Whether the turn of an id that is not held may have been removed.
pub(crate) fn is_expired(db: &Connection, turn: TurnId) -> Result<bool, Fault> {
    match expiry::made_at(turn) {
        Some(_) => Ok(watermark(db)?.is_some_and(|watermark| turn <= watermark)),
        None => Ok(expired::find(db, turn)?.is_some()),
    }
}
