//! Puts the tail into the database: one row for each turn, however many facts there are of it.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, params};
use treewarden_proto::TurnId;

use super::fact::{Line, lines};
use super::{Fact, Opened, Outcome, segment};
use crate::StoreError;
use crate::store::{atomically, now};

/// Up to where the database has the tail: a segment, and a place in it.
pub(crate) fn folded(db: &Connection) -> Result<(u64, u64), StoreError> {
    let place = db.prepare_cached("SELECT segment, place FROM folded")?.query_row([], |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    Ok(place)
}

/// Where a database that has nothing of the tail begins: at the oldest segment that is there.
pub(crate) fn first_segment(dir: &Path) -> Result<u64, StoreError> {
    Ok(segment::numbers(dir)?.first().copied().unwrap_or(1))
}

/// Puts into the database what it does not have yet.
pub(crate) fn fold(db: &Connection, dir: &Path) -> Result<(), StoreError> {
    if is_folded(db, dir)? { Ok(()) } else { atomically(db, |db| apply(db, dir)) }
}

/// Does so for the transaction that is under way, which is not to be committed.
pub(crate) fn fold_for_now(db: &Connection, dir: &Path) -> Result<(), StoreError> {
    apply(db, dir)
}

/// Does so over a connection that syncs its commits, and removes the segments that are done.
pub(crate) fn fold_for_good(db: &Connection, dir: &Path) -> Result<(), StoreError> {
    atomically(db, |db| apply(db, dir))?;
    // Only after the commit, which is synced: a segment that went before would be the only copy, and a power
    // loss would take its turns.
    let (number, _) = folded(db)?;
    for done in segment::numbers(dir)?.into_iter().filter(|segment| *segment < number) {
        segment::remove(dir, done)?;
    }
    Ok(())
}

fn is_folded(db: &Connection, dir: &Path) -> Result<bool, StoreError> {
    let mut at = folded(db)?;
    loop {
        let (number, place) = at;
        match std::fs::metadata(segment::path(dir, number)) {
            Ok(file) => return Ok(file.len() <= place),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        // Another process may have gone on and removed the segment since the place was read: then a later one may hold
        // what was just stored, and whoever asks for that would be told that it is nowhere.
        let now = folded(db)?;
        if now == at {
            return Ok(true);
        }
        at = now;
    }
}

fn apply(db: &Connection, dir: &Path) -> Result<(), StoreError> {
    // Read within the transaction: another process may have gone on with it.
    let (mut number, mut place) = folded(db)?;
    loop {
        let bytes = segment::rest(dir, number, place)?;
        let mut batch = Batch::default();
        let (mut sealed, mut failed) = (false, None);
        let read = lines(&bytes, |at, line, read| {
            match read {
                Line::Fact(Fact::Sealed) => sealed = true,
                Line::Fact(fact) => batch.add(fact),
                // Cut short by a full disk, or by a kill amid the write: nobody was told that it is stored.
                Line::Torn => {}
                Line::Damaged(reason) => {
                    let key = format!("turns-{number}.log:{}", place + at as u64);
                    failed = quarantine(db, &key, &reason, line).err();
                }
            }
            !sealed && failed.is_none()
        });
        if let Some(error) = failed {
            return Err(error);
        }
        batch.store(db)?;
        (number, place) = if sealed { (number + 1, 0) } else { (number, place + read as u64) };
        if !sealed {
            break;
        }
    }
    db.prepare_cached("UPDATE folded SET segment = ?, place = ?")?
        .execute(params![number.cast_signed(), place.cast_signed()])?;
    Ok(())
}

fn quarantine(db: &Connection, key: &str, reason: &str, line: &[u8]) -> Result<(), StoreError> {
    tracing::error!(reason, key, "a fact of the journal cannot be read and is set aside");
    db.execute(
        "INSERT INTO quarantine(kind, key, reason, body, at) VALUES ('turn', ?, ?, ?, ?)",
        params![key, reason, String::from_utf8_lossy(line), now().cast_signed()],
    )?;
    Ok(())
}

/// What the facts of a piece of the tail come to.
#[derive(Default)]
struct Batch<'a> {
    changes: Vec<Change<'a>>,
    of: HashMap<TurnId, usize>,
}

/// What became of one turn.
#[derive(Default)]
struct Change<'a> {
    opened: Option<Opened<'a>>,
    sent: bool,
    interruptions: u32,
    settled: Option<Outcome<'a>>,
}

impl<'a> Batch<'a> {
    fn of(&mut self, turn: TurnId) -> &mut Change<'a> {
        let at = *self.of.entry(turn).or_insert_with(|| {
            self.changes.push(Change::default());
            self.changes.len() - 1
        });
        &mut self.changes[at]
    }

    fn add(&mut self, fact: Fact<'a>) {
        match fact {
            Fact::Opened(opened) => {
                let change = self.of(opened.turn);
                change.opened.get_or_insert(opened);
            }
            Fact::Sent(turn) => self.of(turn).sent = true,
            Fact::Interrupted(turn) => {
                let change = self.of(turn);
                change.sent = true;
                change.interruptions += 1;
            }
            Fact::Settled(settled) => {
                let change = self.of(settled.turn);
                change.settled.get_or_insert(settled);
            }
            Fact::Sealed => {}
        }
    }

    fn store(self, db: &Connection) -> Result<(), StoreError> {
        let mut turns: Vec<(usize, TurnId)> = self.of.into_iter().map(|(turn, at)| (at, turn)).collect();
        // The database numbers them as they come, and the open turns of a session are run in that order.
        turns.sort_unstable_by_key(|(at, _)| *at);
        for ((_, turn), change) in turns.into_iter().zip(&self.changes) {
            change.store(db, &turn.to_string())?;
        }
        Ok(())
    }
}

impl Change<'_> {
    fn store(&self, db: &Connection, turn: &str) -> Result<(), StoreError> {
        let settled = self.settled.as_ref();
        let (at, outcome) = settled.map(|settled| (settled.at.cast_signed(), settled.outcome)).unzip();
        let answered_in = settled.and_then(|settled| settled.answered_in);
        if let Some(opened) = &self.opened {
            let inserted = db
                .prepare_cached(
                    "INSERT OR IGNORE INTO turns(turn, name, session_id, prompt, at_most_once, opened_at, sent,
                       interruptions, outcome, settled_at) VALUES (?,?,?,?,?,?,?,?,?,?)",
                )?
                .execute(params![
                    turn,
                    opened.name,
                    answered_in.unwrap_or(opened.session_id).to_string(),
                    opened.prompt,
                    opened.at_most_once,
                    opened.at.cast_signed(),
                    self.sent,
                    self.interruptions,
                    outcome,
                    at
                ])?;
            // Otherwise the row is there: an earlier fold made it, and only what is new is added.
            if inserted == 1 {
                return Ok(());
            }
        }
        if self.sent {
            db.prepare_cached("UPDATE turns SET sent = 1, interruptions = interruptions + ? WHERE turn = ?")?
                .execute(params![self.interruptions, turn])?;
        }
        if outcome.is_some() {
            db.prepare_cached(
                "UPDATE turns SET outcome = ?, settled_at = ?, session_id = coalesce(?, session_id)
                 WHERE turn = ? AND outcome IS NULL",
            )?
            .execute(params![outcome, at, answered_in.map(|id| id.to_string()), turn])?;
        }
        Ok(())
    }
}
