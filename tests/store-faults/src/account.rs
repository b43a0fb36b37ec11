//! What a store holds, as a value: made of the steps that were done, and read from a store.

use std::collections::BTreeMap;

use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{Backend, SessionRecord, StoreError, Told, TurnRow, TurnState};

use crate::steps::Step;

/// What a store holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// The record of each name that has one.
    pub records: BTreeMap<SessionName, SessionRecord>,
    /// The turns of each name, in the order in which they were opened.
    pub turns: BTreeMap<SessionName, Vec<TurnRow>>,
    /// The flushes of each conversation's transcript.
    pub lines: BTreeMap<SessionId, Vec<String>>,
}

impl Account {
    /// What is held after one more step.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Take(_) => {}
            Step::Open(new) => {
                let prompt = serde_json::from_str(&new.prompt).expect("a prompt is JSON");
                let (name, at_most_once) = (new.name.clone(), new.at_most_once);
                let mut row = TurnRow::new(new.turn, name, new.session_id, prompt, at_most_once);
                row.opened_at = new.opened_at;
                self.turns.entry(new.name.clone()).or_default().push(row);
            }
            Step::Commit(name, change) => {
                if let Some(record) = &change.record {
                    self.records.insert(name.clone(), record.clone());
                }
                for lines in &change.lines {
                    self.lines.entry(lines.conversation).or_default().push(lines.entries.to_string());
                }
                let rows = self.turns.entry(name.clone()).or_default();
                for turn in &change.sent {
                    row(rows, turn).state = TurnState::Sent;
                }
                for turn in &change.interrupted {
                    let row = row(rows, turn);
                    row.interruptions += 1;
                    // The CLI that died under it had it.
                    row.state = TurnState::Sent;
                }
                for settle in &change.settle {
                    let row = row(rows, &settle.turn);
                    row.state = TurnState::Settled;
                    row.outcome = Some(serde_json::from_str(&settle.outcome).expect("an outcome is JSON"));
                    row.settled_at = Some(settle.at);
                    row.session_id = settle.answered_in.unwrap_or(row.session_id);
                }
            }
        }
        self.turns.retain(|_, rows| !rows.is_empty());
    }

    /// What is held after each number of steps, from none on.
    pub fn after_each(steps: &[Step]) -> Vec<Self> {
        let mut account = Self::default();
        let mut all = vec![account.clone()];
        for step in steps {
            account.apply(step);
            all.push(account.clone());
        }
        all
    }

    /// Where two accounts differ, shortly: for whoever sees a test fail.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let mut told = Vec::new();
        if self.records != other.records {
            told.push("their records".to_owned());
        }
        if self.lines != other.lines {
            told.push("their lines".to_owned());
        }
        for name in self.turns.keys().chain(other.turns.keys()) {
            let rows = |account: &Self| account.turns.get(name).cloned().unwrap_or_default();
            let (ours, theirs) = (rows(self), rows(other));
            if ours.len() != theirs.len() {
                told.push(format!("{} turns of {name} against {}", ours.len(), theirs.len()));
            }
            for (ours, theirs) in ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs) {
                let short = |row: &TurnRow| {
                    let TurnRow { turn, state, interruptions, settled_at, .. } = row;
                    format!("{turn} {state:?} {interruptions} {settled_at:?}")
                };
                told.push(format!("{} against {}", short(ours), short(theirs)));
            }
        }
        told
    }

    /// The open turns of a name.
    pub fn open_turns(&self, name: &SessionName) -> Vec<TurnId> {
        let rows = self.turns.get(name).into_iter().flatten();
        rows.filter(|row| row.outcome.is_none()).map(|row| row.turn).collect()
    }

    /// Reads what a store holds of some names, and of the conversations of their records.
    ///
    /// # Errors
    ///
    /// [`StoreError`] of the store.
    pub async fn read(store: &dyn Backend, names: &[SessionName]) -> Result<Self, StoreError> {
        let mut account = Self::default();
        for name in names {
            if let Told::Record(mut record) = store.record(name.clone()).await? {
                // When it was put is the store's to say.
                record.updated_at = 0;
                let lines = store.lines(record.session_id, String::new(), 0, usize::MAX).await?;
                if !lines.is_empty() {
                    account.lines.insert(
                        record.session_id,
                        lines.into_iter().map(|lines| lines.entries.into()).collect(),
                    );
                }
                account.records.insert(name.clone(), *record);
            }
            let mut rows = store.turns(name.clone(), usize::MAX).await?;
            rows.reverse();
            let open: Vec<_> = rows.iter().filter(|row| row.outcome.is_none()).map(|row| row.turn).collect();
            let told: Vec<_> =
                store.open_turns(name.clone()).await?.into_iter().map(|row| row.turn).collect();
            assert_eq!(open, told, "the open turns of {name} are told in two ways");
            // Its place among the turns of all names is the store's to give.
            rows.iter_mut().for_each(|row| row.seq = 0);
            if !rows.is_empty() {
                account.turns.insert(name.clone(), rows);
            }
        }
        Ok(account)
    }
}

fn row<'a>(rows: &'a mut [TurnRow], turn: &TurnId) -> &'a mut TurnRow {
    rows.iter_mut().find(|row| row.turn == *turn).expect("a turn of the name")
}
