//! Random schedules, in which a store must answer as the one in memory does.
//!
//! A schedule that fails is made as short as it can be, and shown.
//!
//! ```text
//! Vec<Op> ─► Play ─► each step: asked of MemoryStore and of the store ─► the answers are equal? ─► in the end: all that can be read is equal?
//! ```
//!
//! It finds what nobody thought of; what somebody did has a check of its own, which says what is wrong in words. What two stores may differ in is taken
//! out before the comparison: epochs, places of rows, times of writing. Each store gets the tenures that it gave itself.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{
    Backend, Change, CommitError, Committed, Keep, Lines, MemoryStore, NewTurn, OpenError, SessionRecord,
    Settle, StoredTurn, Tenure, Told, TurnRow,
};
use uuid::Uuid;

use super::setup::{DAY, MINUTE, Place, made, name, now, plain, saying, undated};

/// Few names, so that steps meet; one is below the other, which must be nothing to a store.
const NAMES: [&str; 2] = ["a", "a/b"];
/// Few ids as well: half of them say when they were made.
const TURNS: usize = 6;

/// A step, with indices in place of names and ids, so that a short one reads well when it fails.
#[derive(Debug, Clone)]
enum Op {
    /// Somebody takes the name; tenures that were given before are of the past.
    Take { name: usize },
    /// A turn is opened, perhaps for the second time, under another name, with another prompt, or a day later.
    Open { name: usize, turn: usize, other_prompt: bool, late: bool },
    /// A change, with the newest tenure of the name or with one that is `back` older; nothing where there is none.
    Commit { name: usize, back: usize, change: Small },
    /// The last commit that was tried, once more.
    Again,
    /// All but so many turns are removed.
    Prune { turns: usize },
}

/// A change in a few small numbers.
#[derive(Debug, Clone)]
struct Small {
    /// What the record says, if there is one.
    record: Option<u8>,
    /// The turn, what its outcome says, and whether another conversation answered.
    settle: Vec<(usize, u8, bool)>,
    sent: Vec<usize>,
    interrupted: Vec<usize>,
    /// The number of a flush and what it says; two names write to one conversation, so that places are taken.
    line: Option<(u64, u8)>,
}

/// Any schedule: commits are most of it, most of them with the newest tenure, as most steps would else do nothing.
fn schedules() -> impl Strategy<Value = Vec<Op>> {
    let turns = || vec(0..TURNS, 0..2);
    let small = (
        proptest::option::of(0..3u8),
        vec((0..TURNS, 0..5u8, any::<bool>()), 0..3),
        turns(),
        turns(),
        proptest::option::of((0..3u64, 0..2u8)),
    );
    let small = small.prop_map(|(record, settle, sent, interrupted, line)| Small {
        record,
        settle,
        sent,
        interrupted,
        line,
    });
    let name = || 0..NAMES.len();
    let op = prop_oneof![
        2 => name().prop_map(|name| Op::Take { name }),
        4 => (name(), 0..TURNS, any::<bool>(), any::<bool>()).prop_map(|(name, turn, other_prompt, late)| {
            Op::Open { name, turn, other_prompt, late }
        }),
        8 => (name(), prop_oneof![6 => Just(0usize), 1 => 1..4usize], small)
            .prop_map(|(name, back, change)| Op::Commit { name, back, change }),
        1 => Just(Op::Again),
        1 => (0..3usize).prop_map(|turns| Op::Prune { turns }),
    ];
    vec(op, 1..40)
}

/// Both stores, the ids of the schedule, and the tenures that were given, of each store its own.
struct Play {
    store: Arc<dyn Backend>,
    model: MemoryStore,
    /// When the first id was made, three days ago: old enough to be removed.
    begun: u64,
    turns: Vec<TurnId>,
    /// For each name all that were given, newest last: the one of the model, and the one of the store.
    tenures: [Vec<(Tenure, Tenure)>; NAMES.len()],
    /// The commit that `Again` asks once more: name, tenures, change.
    last: Option<(usize, (Tenure, Tenure), Change)>,
}

fn conversation(of: usize) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(100 + of as u128))
}

impl Play {
    async fn new(place: &Place) -> Self {
        let begun = now() - 3 * DAY;
        let turns = (0..).map(|n| if n % 2 == 0 { made(begun + n * MINUTE) } else { undated() });
        Self {
            store: place.store().await,
            model: MemoryStore::new(),
            begun,
            turns: turns.take(TURNS).collect(),
            tenures: [Vec::new(), Vec::new()],
            last: None,
        }
    }

    /// Asks both, and fails where they answer differently.
    async fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Take { name: of } => {
                let (model, real) =
                    (self.model.take(name(NAMES[of])).await, self.store.take(name(NAMES[of])).await);
                let (Ok(model), Ok(real)) = (model, real) else { panic!("a name cannot be taken") };
                prop_assert_eq!(model.tenure.seq, real.tenure.seq);
                prop_assert_eq!(of_record(model.told), of_record(real.told));
                self.tenures[of].push((model.tenure, real.tenure));
            }
            Op::Open { name: of, turn, other_prompt, late } => {
                let made = self.begun + u64::try_from(turn).expect("few") * MINUTE;
                let new = NewTurn {
                    turn: self.turns[turn],
                    name: name(NAMES[of]),
                    session_id: conversation(of),
                    prompt: if other_prompt { r#""other""# } else { r#""one""# }.into(),
                    at_most_once: other_prompt,
                    opened_at: if late { made + DAY } else { made },
                };
                let model = self.model.open(new.clone()).await;
                prop_assert_eq!(of_open(model), of_open(self.store.open(new).await));
            }
            Op::Commit { name: of, back, change } => {
                let tenures = &self.tenures[of];
                let Some(tenure) = tenures.len().checked_sub(1 + back).map(|at| tenures[at].clone()) else {
                    return Ok(());
                };
                let change = self.change(of, change);
                self.last = Some((of, tenure, change));
                self.commit().await?;
            }
            Op::Again => self.commit().await?,
            Op::Prune { turns } => {
                let keep = Keep { turns: Some(turns), age: None, ids: std::time::Duration::from_secs(3600) };
                let (model, real) = (self.model.prune(keep).await, self.store.prune(keep).await);
                prop_assert_eq!(model.expect("pruned"), real.expect("pruned"));
            }
        }
        Ok(())
    }

    /// The change of these numbers, the same for both stores.
    fn change(&self, of: usize, change: Small) -> Change {
        let ids = |turns: Vec<usize>| turns.into_iter().map(|turn| self.turns[turn]).collect();
        let settle = |(turn, said, moves): (usize, u8, bool)| Settle {
            turn: self.turns[turn],
            outcome: match said {
                0 => r#"{"outcome":"failed"}"#.into(),
                1 => r#"{"outcome":"completed","result":{"num_turns":0}}"#.into(),
                said => format!(r#"{{"outcome":"completed","text":"{said}"}}"#).into(),
            },
            answered_in: moves.then(|| conversation(of + 2)),
            at: self.begun + DAY,
        };
        Change {
            record: change.record.and_then(|said| saying(NAMES[of], &said.to_string()).record),
            settle: change.settle.into_iter().map(settle).collect(),
            sent: ids(change.sent),
            interrupted: ids(change.interrupted),
            lines: change
                .line
                .map(|(seq, said)| Lines {
                    conversation: conversation(0),
                    subpath: String::new(),
                    seq,
                    entries: said.to_string().into(),
                })
                .into_iter()
                .collect(),
        }
    }

    /// Asks both for the last commit; the tenures of the next one are kept where both have stored it.
    async fn commit(&mut self) -> Result<(), TestCaseError> {
        let Some((of, (model, real), change)) = self.last.clone() else { return Ok(()) };
        let model = self.model.commit(model, change.clone()).await;
        let real = self.store.commit(real, change).await;
        prop_assert_eq!(of_commit(&model), of_commit(&real));
        if let (Ok(model), Ok(real)) = (model, real) {
            self.tenures[of].push((model.next, real.next));
        }
        Ok(())
    }

    /// Looks whether both hold the same.
    async fn compare(&self) -> Result<(), TestCaseError> {
        let (model, real): (&dyn Backend, &dyn Backend) = (&self.model, &*self.store);
        for of in NAMES.map(name) {
            let told = (model.record(of.clone()).await, real.record(of.clone()).await);
            prop_assert_eq!(of_record(told.0.expect("read")), of_record(told.1.expect("read")));
            let both = (model.name_state(of.clone()).await, real.name_state(of.clone()).await);
            let (model_both, real_both) = (both.0.expect("read"), both.1.expect("read"));
            prop_assert_eq!(of_record(model_both.told), of_record(real_both.told));
            prop_assert_eq!(of_rows(model_both.open), of_rows(real_both.open));
            let open = (model.open_turns(of.clone()).await, real.open_turns(of.clone()).await);
            prop_assert_eq!(of_rows(open.0.expect("read")), of_rows(open.1.expect("read")));
            let all = (model.turns(of.clone(), 100).await, real.turns(of, 100).await);
            prop_assert_eq!(of_rows(all.0.expect("read")), of_rows(all.1.expect("read")));
        }
        for turn in &self.turns {
            let held = (model.turn(*turn).await, real.turn(*turn).await);
            prop_assert_eq!(of_turn(held.0.expect("read")), of_turn(held.1.expect("read")));
        }
        for of in 0..4 {
            let (id, none) = (conversation(of), String::new);
            let completed = (model.completed(id).await, real.completed(id).await);
            prop_assert_eq!(completed.0.expect("read"), completed.1.expect("read"));
            let lines = (model.lines(id, none(), 0, 100).await, real.lines(id, none(), 0, 100).await);
            prop_assert_eq!(lines.0.expect("read"), lines.1.expect("read"));
        }
        let records = (model.records().await, real.records().await);
        let plain = |records: Vec<SessionRecord>| records.into_iter().map(plain).collect::<Vec<_>>();
        prop_assert_eq!(plain(records.0.expect("read")), plain(records.1.expect("read")));
        Ok(())
    }
}

fn of_record(told: Told) -> Result<Option<SessionRecord>, String> {
    match told {
        Told::Never => Ok(None),
        Told::Record(record) => Ok(Some(plain(*record))),
        Told::Lost { why, .. } => Err(why),
    }
}

fn of_open(opened: Result<(), OpenError>) -> &'static str {
    match opened {
        Ok(()) => "opened",
        Err(OpenError::Exists) => "exists",
        Err(OpenError::Expired) => "expired",
        Err(OpenError::Failed(error)) => panic!("{error}"),
    }
}

type Answer = (Vec<(TurnId, Box<str>)>, Vec<TurnId>);

/// What a commit came to, but for the epochs, which are each store's own.
fn of_commit(committed: &Result<Committed, CommitError>) -> Result<Answer, &'static str> {
    match committed {
        Ok(Committed { already, unknown, .. }) => {
            let (mut already, mut unknown) = (already.clone(), unknown.clone());
            already.sort_unstable();
            unknown.sort_unstable();
            Ok((already, unknown))
        }
        Err(CommitError::LeaseLost { .. }) => Err("lost"),
        Err(CommitError::Failed { retryable: false, .. }) => Err("failed"),
        Err(error) => panic!("{error}"),
    }
}

fn of_turn(turn: Option<StoredTurn>) -> Result<Option<TurnRow>, &'static str> {
    match turn {
        None => Ok(None),
        Some(StoredTurn::Held(row)) => Ok(Some(TurnRow { seq: 0, ..*row })),
        Some(StoredTurn::Expired) => Err("expired"),
    }
}

/// Without the places that the store gave, whose order is that of the rows.
fn of_rows(rows: Vec<TurnRow>) -> Vec<TurnRow> {
    rows.into_iter().map(|row| TurnRow { seq: 0, ..row }).collect()
}

async fn play(place: &Place, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut play = Play::new(place).await;
    for op in ops {
        play.step(op).await?;
    }
    play.compare().await
}

/// 48 schedules of 1 to 39 steps. A failed one is shortened and shown; none is written to a file, as the next run has others.
pub(super) async fn any_schedule_has_the_answers_of_the_store_in_memory(place: Place) {
    let runtime = tokio::runtime::Handle::current();
    // The runner is no future: it has a thread of its own, on which the stores are waited for.
    let run = move || {
        let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
        let checked = TestRunner::new(config).run(&schedules(), |ops| runtime.block_on(play(&place, ops)));
        checked.map_err(|error| error.to_string())
    };
    match tokio::task::spawn_blocking(run).await.expect("the runner tells of panics") {
        Ok(()) => {}
        Err(error) => panic!("{error}"),
    }
}
