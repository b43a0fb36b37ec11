//! What is written in a transaction: a name is taken, a turn opened, a change committed.
//!
//! It is for what stands in the rows afterwards. It is not for transactions, nor for who waits for them. Nothing here may write
//! over a row whose checksum does not fit: its damage would get a sum that fits.

use std::hash::{BuildHasher, Hash, Hasher};

use treewarden_proto::{SessionName, TurnId};
use treewarden_store::{
    Change, Committed, NewTurn, OpenError, SessionRecord, Settle, StoreError, StoreErrorKind, Taken, Tenure,
    Told, now,
};

use crate::checksum::Bad;
use crate::error::Fault;
use crate::lost;
use crate::problems;
use crate::prune::expired_of;
use crate::quarantine::{set_names_aside, set_turns_aside};
use crate::row::line;
use crate::row::name::NameRow;
use crate::row::turn::StoredRow;
use crate::transaction::Transaction;

/// Another holds the name: its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost(pub(crate) u64);

/// Takes a name, with an epoch that it never had.
pub(crate) fn take(to: &Transaction<'_>, name: &SessionName) -> Result<Taken, Fault> {
    let mut row = match row_of(to, name)? {
        Some(row) => row,
        None => {
            let mut row = NameRow::new(to.number()?, name.clone());
            row.lost = lost::told_of_others(to.db())?.map(Into::into);
            row
        }
    };
    // Drawn for the whole store, so that it is a higher one also where the row had to be made anew.
    row.epoch = to.number()?.cast_unsigned();
    row.put(to.db())?;
    let told = match row.told() {
        Ok(told) => told,
        Err(reason) => {
            set_names_aside(to, &[Bad { row: row.id, reason: reason.clone() }])?;
            // What was set aside left a row with an epoch of its own.
            return match row_of(to, name)? {
                Some(row) => {
                    Ok(taken(&row, row.told().unwrap_or(Told::Lost { why: reason, session_id: None })))
                }
                None => {
                    let why = format!(
                        "take the name {name}: its record cannot be read ({reason}) and is set aside; ask again, or look at `treewarden ps`"
                    );
                    Err(StoreError::new(StoreErrorKind::Corrupt, why).into())
                }
            };
        }
    };
    Ok(taken(&row, told))
}

fn taken(row: &NameRow, told: Told) -> Taken {
    Taken { tenure: Tenure { name: row.name.clone(), epoch: row.epoch, seq: row.seq }, told }
}

/// The row of a name; one that cannot be read is set aside, and another stands in its place, of a record that is lost.
pub(crate) fn row_of(to: &Transaction<'_>, name: &SessionName) -> Result<Option<NameRow>, Fault> {
    let bad = match NameRow::find(to.db(), name)? {
        None => return Ok(None),
        Some(Ok(row)) => return Ok(Some(row)),
        Some(Err(bad)) => bad,
    };
    set_names_aside(to, &[bad])?;
    Ok(NameRow::find(to.db(), name)?.and_then(Result::ok))
}

/// Opens a turn.
pub(crate) fn open(to: &Transaction<'_>, new: &NewTurn) -> Result<Result<(), OpenError>, Fault> {
    if held(to, new.turn)?.is_some() {
        return Ok(Err(OpenError::Exists));
    }
    if let Some(expired) = expired_of(to, new)? {
        return Ok(Err(expired));
    }
    StoredRow::new(to.number()?, new).insert(to.db())?;
    Ok(Ok(()))
}

/// A turn that the store holds; one that cannot be read is set aside.
fn held(to: &Transaction<'_>, turn: TurnId) -> Result<Option<StoredRow>, Fault> {
    match StoredRow::find(to.db(), turn)? {
        Some(Err(bad)) => set_turns_aside(to, &[bad]).map(|()| None),
        Some(Ok(row)) => Ok(Some(row)),
        None => Ok(None),
    }
}

/// Stores a change, unless it was stored before or another holds the name. `digest` is [that](digest) of the change.
pub(crate) fn commit(
    to: &Transaction<'_>,
    tenure: &Tenure,
    change: &Change,
    digest: i64,
    keeps_turns: bool,
) -> Result<Result<Committed, Lost>, Fault> {
    let Some(mut row) = row_of(to, &tenure.name)? else { return Ok(Err(Lost(0))) };
    if row.epoch != tenure.epoch {
        return Ok(Err(Lost(row.epoch)));
    }
    let next = Tenure { seq: tenure.seq + 1, ..tenure.clone() };
    let mut committed = Committed { next, already: Vec::new(), unknown: Vec::new() };
    // Its answer was lost: what is there now is what it came to.
    let again = row.seq == tenure.seq + 1 && row.last == digest;
    if !again && row.seq != tenure.seq {
        return Ok(Err(Lost(row.epoch)));
    }
    let mut turns = Turns { to, name: &tenure.name, again, keeps_turns, committed: &mut committed };
    change.sent.iter().try_for_each(|turn| turns.note(*turn, 0))?;
    change.interrupted.iter().try_for_each(|turn| turns.note(*turn, 1))?;
    change.settle.iter().try_for_each(|settle| turns.settle(settle))?;
    if again {
        return Ok(Ok(committed));
    }
    for lines in &change.lines {
        if !line::insert(to.db(), lines)? {
            let why = format!(
                "store the lines of {}: others stand in the place of flush {} of {:?} already",
                lines.conversation, lines.seq, lines.subpath
            );
            return Err(StoreError::new(StoreErrorKind::Other, why).into());
        }
    }
    if let Some(record) = &change.record {
        if record.name != tenure.name {
            let why = format!("store the record of {} under the name {}", record.name, tenure.name);
            return Err(StoreError::new(StoreErrorKind::Other, why).into());
        }
        if row.lost.is_some() {
            problems::mend(to, &row.name)?;
        } else if is_of_another_conversation(&row, record) {
            problems::end(to, &row.name)?;
        }
        row.record = Some(json(record)?.into());
        (row.lost, row.lost_id) = (None, None);
    }
    (row.seq, row.last) = (tenure.seq + 1, digest);
    row.put(to.db())?;
    Ok(Ok(committed))
}

/// The name has another conversation from now on.
fn is_of_another_conversation(row: &NameRow, next: &SessionRecord) -> bool {
    matches!(row.told(), Ok(Told::Record(record)) if record.session_id != next.session_id)
}

/// The turns that a change is about.
struct Turns<'a> {
    to: &'a Transaction<'a>,
    name: &'a SessionName,
    /// It is stored already: what is there is told, and nothing is written.
    again: bool,
    keeps_turns: bool,
    committed: &'a mut Committed,
}

impl Turns<'_> {
    /// One of the name, to be written; without one it is noted that there is none.
    fn find(&mut self, turn: TurnId) -> Result<Option<StoredRow>, Fault> {
        let found = held(self.to, turn)?.filter(|row| row.name == *self.name);
        // Where turns are not stored there is nothing to be said of one that is not.
        if found.is_none() && self.keeps_turns && !self.committed.unknown.contains(&turn) {
            self.committed.unknown.push(turn);
        }
        Ok(found)
    }

    fn note(&mut self, turn: TurnId, interruptions: u32) -> Result<(), Fault> {
        let Some(mut row) = self.find(turn)? else { return Ok(()) };
        if self.again || row.outcome.is_some() || (row.sent && interruptions == 0) {
            return Ok(());
        }
        row.sent = true;
        row.interruptions = row.interruptions.saturating_add(interruptions);
        row.update(self.to.db())
    }

    fn settle(&mut self, settle: &Settle) -> Result<(), Fault> {
        let Some(mut row) = self.find(settle.turn)? else { return Ok(()) };
        match row.outcome {
            // It was this very change that stored it, or one that says the same.
            Some(outcome) if outcome == settle.outcome => return Ok(()),
            Some(outcome) => {
                self.committed.already.push((settle.turn, outcome));
                return Ok(());
            }
            // It was opened since: what is stored already is stored once.
            None if self.again => return Ok(()),
            None => {}
        }
        row.outcome = Some(settle.outcome.clone());
        row.settled_at = Some(settle.at);
        if let Some(id) = settle.answered_in.filter(|id| *id != row.session_id) {
            row.session_id = id;
            row.update_conversation(self.to.db())?;
        }
        row.update(self.to.db())
    }
}

fn json(record: &SessionRecord) -> Result<String, Fault> {
    serde_json::to_string(&SessionRecord { updated_at: now(), ..record.clone() }).map_err(|error| {
        let why = format!("store the record of {}: it cannot be written as JSON ({error})", record.name);
        StoreError::new(StoreErrorKind::Other, why).into()
    })
}

/// What a change is known by when it is asked for again.
///
/// It need not be the same in another version of the program: whoever asks again is the process that asked before.
pub(crate) fn digest(change: &Change) -> i64 {
    let Change { record, settle, sent, interrupted, lines } = change;
    let mut hash = foldhash::quality::FixedState::default().build_hasher();
    record.as_ref().and_then(|record| serde_json::to_vec(record).ok()).hash(&mut hash);
    for Settle { turn, outcome, answered_in, at } in settle {
        (turn, outcome, answered_in, at).hash(&mut hash);
    }
    // With the number of each list, or else a turn could move from one to the next.
    (settle.len(), sent, interrupted).hash(&mut hash);
    for lines in lines {
        (lines.conversation, &lines.subpath, lines.seq, &lines.entries).hash(&mut hash);
    }
    hash.finish().cast_signed()
}
