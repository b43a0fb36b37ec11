//! What the store holds, and one step for each call.

use std::collections::{BTreeMap, HashMap};

use treewarden_proto::{SessionId, SessionName, TurnId, frame};
use uuid::Uuid;

use crate::{
    Change, CommitError, Committed, Completed, Lines, NameState, NewTurn, OpenError, SessionRecord,
    StoreError, StoreErrorKind, StoredTurn, Taken, Tenure, Told, TurnRow, TurnState, expiry,
};

/// So many turns that the CLI wrote nowhere are told at most.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) names: BTreeMap<SessionName, Name>,
    /// In the order in which they were opened.
    pub(super) turns: BTreeMap<i64, Turn>,
    pub(super) places: HashMap<TurnId, i64>,
    lines: BTreeMap<(SessionId, String, u64), Box<str>>,
    /// Ids of removed turns that say nothing of their age.
    pub(super) expired: HashMap<TurnId, Gone>,
    opened: i64,
}

#[derive(Debug, Default)]
pub(super) struct Name {
    epoch: u64,
    seq: u64,
    /// The last change of this epoch.
    last: Option<Change>,
    record: Option<SessionRecord>,
    /// The highest id of its turns that was removed, of those that say their age.
    pub(super) watermark: Option<TurnId>,
}

#[derive(Debug)]
pub(super) struct Turn {
    /// Without its outcome.
    pub(super) row: TurnRow,
    pub(super) prompt: Box<str>,
    pub(super) outcome: Option<Box<str>>,
}

#[derive(Debug)]
pub(super) struct Gone {
    pub(super) digest: Uuid,
    pub(super) at: u64,
}

impl Turn {
    fn told(&self) -> Result<TurnRow, StoreError> {
        // It is kept as it came, and a CLI writes what a strict reader refuses: half of a surrogate pair, 1e999.
        let outcome = self.outcome.as_deref().map(frame::value).transpose()?;
        Ok(TurnRow { outcome, ..self.row.clone() })
    }

    pub(super) fn completed(&self) -> Option<Completed> {
        Completed::of(self.row.turn, self.outcome.as_deref()?)
    }
}

impl State {
    pub(super) fn take(&mut self, name: SessionName) -> Taken {
        let told = self.told(&name);
        let held = self.names.entry(name.clone()).or_default();
        held.epoch += 1;
        held.last = None;
        Taken { tenure: Tenure { name, epoch: held.epoch, seq: held.seq }, told }
    }

    pub(super) fn told(&self, name: &SessionName) -> Told {
        let record = self.names.get(name).and_then(|name| name.record.clone());
        record.map_or(Told::Never, |record| Told::Record(Box::new(record)))
    }

    pub(super) fn name_state(&self, name: &SessionName) -> Result<NameState, StoreError> {
        Ok(NameState { told: self.told(name), open: self.open_turns(name)? })
    }

    pub(super) fn records(&self) -> Vec<SessionRecord> {
        self.names.values().filter_map(|name| name.record.clone()).collect()
    }

    pub(super) fn open(&mut self, new: NewTurn) -> Result<(), OpenError> {
        let NewTurn { turn, name, session_id, prompt, at_most_once, opened_at } = new;
        let value = serde_json::from_str(&prompt).map_err(StoreError::from)?;
        if self.places.contains_key(&turn) {
            return Err(OpenError::Exists);
        }
        if let Some(gone) = self.expired.get(&turn) {
            let same = gone.digest == expiry::digest(turn, &prompt);
            return Err(if same { OpenError::Expired } else { OpenError::Exists });
        }
        let watermark = self.names.get(&name).and_then(|name| name.watermark);
        if watermark.is_some_and(|watermark| expiry::has_expired(turn, opened_at, watermark)) {
            return Err(OpenError::Expired);
        }
        self.opened += 1;
        let row = TurnRow {
            seq: self.opened,
            opened_at,
            ..TurnRow::new(turn, name, session_id, value, at_most_once)
        };
        self.places.insert(turn, row.seq);
        self.turns.insert(row.seq, Turn { row, prompt, outcome: None });
        Ok(())
    }

    pub(super) fn commit(&mut self, tenure: Tenure, change: Change) -> Result<Committed, CommitError> {
        let Some(name) = self.names.get(&tenure.name).filter(|name| name.epoch == tenure.epoch) else {
            let epoch = self.names.get(&tenure.name).map_or(0, |name| name.epoch);
            return Err(CommitError::LeaseLost { epoch });
        };
        if name.seq == tenure.seq + 1 && name.last.as_ref() == Some(&change) {
            return Ok(self.answer(tenure, &change));
        }
        if name.seq != tenure.seq {
            return Err(CommitError::LeaseLost { epoch: name.epoch });
        }
        self.refuse(&tenure.name, &change)?;
        self.apply(&tenure.name, &change);
        let answer = self.answer(tenure.clone(), &change);
        if let Some(name) = self.names.get_mut(&tenure.name) {
            name.seq += 1;
            name.last = Some(change);
        }
        Ok(answer)
    }

    /// Refuses what cannot be stored as a whole, before any of it is.
    fn refuse(&self, name: &SessionName, change: &Change) -> Result<(), CommitError> {
        let other = change.record.as_ref().filter(|record| record.name != *name);
        let taken = change
            .lines
            .iter()
            .find(|lines| self.lines.get(&key(lines)).is_some_and(|entries| *entries != lines.entries));
        let why = match (other, taken) {
            (Some(other), _) => format!("store the record of {} under the name {name}", other.name),
            (_, Some(Lines { conversation, subpath, seq, .. })) => {
                format!("store flush {seq} of {subpath:?} of {conversation}: others stand at its place")
            }
            (None, None) => return Ok(()),
        };
        let error = StoreError::new(StoreErrorKind::Other, why);
        Err(CommitError::Failed { error, retryable: false })
    }

    fn apply(&mut self, name: &SessionName, change: &Change) {
        if let (Some(record), Some(held)) = (&change.record, self.names.get_mut(name)) {
            held.record = Some(SessionRecord { updated_at: crate::now(), ..record.clone() });
        }
        for turn in &change.sent {
            if let Some(turn) = self.open_of(name, *turn) {
                turn.row.state = TurnState::Sent;
            }
        }
        for turn in &change.interrupted {
            if let Some(turn) = self.open_of(name, *turn) {
                turn.row.state = TurnState::Sent;
                turn.row.interruptions += 1;
            }
        }
        for settle in &change.settle {
            if let Some(turn) = self.open_of(name, settle.turn) {
                turn.row.state = TurnState::Settled;
                turn.row.settled_at = Some(settle.at);
                turn.row.session_id = settle.answered_in.unwrap_or(turn.row.session_id);
                turn.outcome = Some(settle.outcome.clone());
            }
        }
        self.lines.extend(change.lines.iter().map(|lines| (key(lines), lines.entries.clone())));
    }

    fn open_of(&mut self, name: &SessionName, turn: TurnId) -> Option<&mut Turn> {
        let turn = self.turns.get_mut(self.places.get(&turn)?)?;
        (turn.row.name == *name && turn.outcome.is_none()).then_some(turn)
    }

    /// What is answered to a change that is stored: the same however often it is asked.
    fn answer(&self, tenure: Tenure, change: &Change) -> Committed {
        let held = |turn: &TurnId| {
            let turn = self.turns.get(self.places.get(turn)?)?;
            (turn.row.name == tenure.name).then_some(turn)
        };
        let other = |settle: &crate::Settle| {
            let stands = held(&settle.turn)?.outcome.as_ref()?;
            (*stands != settle.outcome).then(|| (settle.turn, stands.clone()))
        };
        let already = change.settle.iter().filter_map(other).collect();
        let settled = change.settle.iter().map(|settle| settle.turn);
        let named = change.sent.iter().chain(&change.interrupted).copied().chain(settled);
        let mut unknown = Vec::new();
        for turn in named.filter(|turn| held(turn).is_none()) {
            if !unknown.contains(&turn) {
                unknown.push(turn);
            }
        }
        Committed { next: Tenure { seq: tenure.seq + 1, ..tenure }, already, unknown }
    }

    pub(super) fn turn(&self, turn: TurnId) -> Result<Option<StoredTurn>, StoreError> {
        if let Some(held) = self.places.get(&turn).and_then(|seq| self.turns.get(seq)) {
            return Ok(Some(StoredTurn::Held(Box::new(held.told()?))));
        }
        // Whoever asks does not say whose turn it is: the highest of all watermarks counts.
        let watermark = self.names.values().filter_map(|name| name.watermark).max();
        let by_age = expiry::made_at(turn).is_some() && watermark.is_some_and(|watermark| turn <= watermark);
        Ok((by_age || self.expired.contains_key(&turn)).then_some(StoredTurn::Expired))
    }

    fn of<'a>(&'a self, name: &'a SessionName) -> impl DoubleEndedIterator<Item = &'a Turn> {
        self.turns.values().filter(move |turn| turn.row.name == *name)
    }

    pub(super) fn open_turns(&self, name: &SessionName) -> Result<Vec<TurnRow>, StoreError> {
        self.of(name).filter(|turn| turn.outcome.is_none()).map(Turn::told).collect()
    }

    pub(super) fn newest(&self, name: &SessionName, limit: usize) -> Result<Vec<TurnRow>, StoreError> {
        self.of(name).rev().take(limit).map(Turn::told).collect()
    }

    pub(super) fn completed(&self, conversation: SessionId) -> Vec<Completed> {
        let mut found = Vec::new();
        let of = self.turns.values().rev().filter(|turn| turn.row.session_id == conversation);
        for completed in of.filter_map(Turn::completed) {
            // Of many that were written nowhere the newest are enough; the one that was written is looked for behind them.
            if completed.written || found.len() < MOST {
                found.push(completed);
            }
            if completed.written {
                break;
            }
        }
        found
    }

    pub(super) fn lines(
        &self,
        conversation: SessionId,
        subpath: &str,
        from: u64,
        limit: usize,
    ) -> Vec<Lines> {
        let (first, last) =
            ((conversation, subpath.to_owned(), from), (conversation, subpath.to_owned(), u64::MAX));
        let found = self.lines.range(first..=last).take(limit);
        found
            .map(|((_, subpath, seq), entries)| Lines {
                conversation,
                subpath: subpath.clone(),
                seq: *seq,
                entries: entries.clone(),
            })
            .collect()
    }
}

fn key(lines: &Lines) -> (SessionId, String, u64) {
    (lines.conversation, lines.subpath.clone(), lines.seq)
}
