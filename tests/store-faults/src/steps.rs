//! What is done to a store one after another, so that what it may hold after any number of them is known.

use serde_json::Value;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{
    Backend, Change, CommitError, Lines, NewTurn, OpenError, SessionRecord, Settle, StoreError, Tenure,
};

use crate::account::Account;
use crate::chance::Chance;

/// One thing that is asked of a store.
#[derive(Debug, Clone)]
pub enum Step {
    /// A name is taken.
    Take(SessionName),
    /// A turn is opened.
    Open(NewTurn),
    /// A change of a name is committed.
    Commit(SessionName, Box<Change>),
}

/// A store that did not do a step.
#[derive(Debug)]
pub enum Refused {
    /// A name was not taken, or something was not read.
    Store(StoreError),
    /// A turn was not opened.
    Open(OpenError),
    /// A change was not committed.
    Commit(CommitError),
}

impl Step {
    /// Asks it of a store, under the tenures that earlier steps got, and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`Refused`], with what the store says.
    pub async fn run(&self, store: &dyn Backend, tenures: &mut Vec<Tenure>) -> Result<(), Refused> {
        match self {
            Self::Take(name) => {
                let taken = store.take(name.clone()).await.map_err(Refused::Store)?;
                tenures.retain(|tenure| tenure.name != *name);
                tenures.push(taken.tenure);
            }
            Self::Open(turn) => store.open(turn.clone()).await.map_err(Refused::Open)?,
            Self::Commit(name, change) => {
                let at = tenures.iter().position(|tenure| tenure.name == *name).expect("a taken name");
                let done = store.commit(tenures[at].clone(), (**change).clone()).await;
                tenures[at] = done.map_err(Refused::Commit)?.next;
            }
        }
        Ok(())
    }
}

/// An id that is the same for the same chance.
fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(version: u8, chance: &mut Chance) -> T {
    let (a, b) = (chance.number(), chance.number());
    let (high, low) = (a >> 32, a & 0xffff);
    let text = format!(
        "{high:08x}-{low:04x}-{version}{:03x}-8{:03x}-{:012x}",
        a >> 16 & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    );
    text.parse().expect("an id")
}

/// Text that a page holds many of, or that many pages hold.
fn text(of: &str, n: usize, chance: &mut Chance) -> String {
    let len = if chance.one_in(12) { 20_000 } else { 20 + chance.below(600) };
    let mut text = format!("{of} {n} ");
    while text.len() < len {
        text.push_str(&chance.number().to_string());
    }
    text
}

/// So many steps for some names, chosen by chance; each name is taken and has a record first.
pub fn steps(names: &[SessionName], count: usize, chance: &mut Chance) -> Vec<Step> {
    let mut account = Account::default();
    let mut steps = Vec::new();
    let mut records = Vec::new();
    for name in names {
        let mut record = SessionRecord::new(name.clone(), id::<SessionId>(4, chance));
        record.created_at = 1_700_000_000_000;
        steps.push(Step::Take(name.clone()));
        let change = Change { record: Some(record.clone()), ..Change::default() };
        steps.push(Step::Commit(name.clone(), Box::new(change)));
        records.push((record, 0));
    }
    steps.iter().for_each(|step| account.apply(step));
    while steps.len() < count {
        let n = steps.len();
        let at = 1_700_000_000_000 + n as u64;
        let which = chance.below(names.len());
        let (name, (record, flushed)) = (&names[which], &mut records[which]);
        let open = account.open_turns(name);
        let pick = |chance: &mut Chance| open.get(chance.below(open.len())).copied();
        let mut change = Change::default();
        match chance.below(10) {
            0..=3 => {
                let prompt = Value::String(text("prompt", n, chance)).to_string().into();
                let (turn, session_id) = (id::<TurnId>(7, chance), record.session_id);
                let at_most_once = chance.one_in(4);
                let new =
                    NewTurn { turn, name: name.clone(), session_id, prompt, at_most_once, opened_at: at };
                steps.push(Step::Open(new));
            }
            4 => change.sent.extend(pick(chance)),
            5 => change.interrupted.extend(pick(chance)),
            6..=8 => {
                let outcome =
                    serde_json::json!({ "outcome": "completed", "text": text("answer", n, chance) });
                let settle =
                    |turn| Settle { turn, outcome: outcome.to_string().into(), answered_in: None, at };
                change.settle.extend(pick(chance).map(settle));
                record.model = Some(text("model", n, chance));
                change.record = Some(record.clone()).filter(|_| chance.one_in(3));
                let entries = text("line", n, chance).into();
                let lines =
                    Lines { conversation: record.session_id, subpath: String::new(), seq: *flushed, entries };
                change.lines.push(lines);
                *flushed += 1;
            }
            _ => steps.push(Step::Take(name.clone())),
        }
        if change != Change::default() {
            steps.push(Step::Commit(name.clone(), Box::new(change)));
        }
        steps[n..].iter().for_each(|step| account.apply(step));
    }
    steps
}
