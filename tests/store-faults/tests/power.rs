//! A power cut at any instant: the store is opened on what a machine may have kept.
//!
//! `power`: what was acknowledged is there. `process`: what is there is what was done up to some step, all of it and nothing
//! later. Both: what is done afterwards is done, and is there after one more opening.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]
#![allow(clippy::print_stdout, reason = "how much was tried is for whoever looks")]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OpenFlags};
use support::{BESIDE, WITNESS, folder, lease, name, names, on_another_boot, open, options, wait};
use tempfile::TempDir;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_sqlite::SqliteStore;
use treewarden_store::{Backend, Change, Durability, NewTurn, Problem, Settle, StoredTurn, Told, TurnState};
use treewarden_store_faults::{
    Account, Chance, Cut, Disk, Step, Tape, cuts, register, seed, steps, write_down,
};

/// A run of steps on a store whose files are watched.
struct Run {
    /// Looked at by the tape to its end.
    _dir: TempDir,
    start: Disk,
    tape: Arc<Tape>,
    /// The highest epoch of the first name that was acknowledged before each number of steps.
    epochs: Vec<u64>,
}

/// Does the steps one after another, with checkpoints and openings in between.
fn run(dir: TempDir, layer: &str, durability: Durability, steps: &[Step], chance: &mut Chance) -> Run {
    let start = Disk::of(dir.path()).unwrap();
    let tape = Tape::new(dir.path(), BESIDE);
    register(layer, tape.clone());
    let open = || {
        let store = SqliteStore::open(dir.path(), options(durability).vfs(layer)).unwrap();
        tape.synced(WITNESS);
        store
    };
    let mut epochs = vec![0];
    wait(async {
        let (mut store, mut tenures) = (open(), Vec::new());
        for (n, step) in steps.iter().enumerate() {
            tape.begun(n + 1);
            step.run(&store, &mut tenures).await.unwrap();
            tape.acknowledged(n + 1);
            let epoch =
                tenures.iter().filter(|tenure| tenure.name == names()[0]).map(|tenure| tenure.epoch).max();
            epochs.push(epoch.unwrap_or(0));
            match chance.below(60) {
                0 => checkpoint(dir.path(), layer, "TRUNCATE"),
                1 | 2 => checkpoint(dir.path(), layer, "PASSIVE"),
                3 => {
                    drop(store);
                    store = open();
                }
                _ => {}
            }
        }
    });
    Run { _dir: dir, start, tape, epochs }
}

/// As another process does it at any time.
fn checkpoint(dir: &Path, layer: &str, how: &str) {
    let db =
        Connection::open_with_flags_and_vfs(dir.join("treewarden.db"), OpenFlags::default(), layer).unwrap();
    db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(())).unwrap();
}

/// What is done after the cut: a turn of a name is asked and answered.
fn later(chance: &mut Chance) -> Vec<Step> {
    let (name, turn, at) = (names()[0].clone(), TurnId::new(), 1_800_000_000_000);
    let new = NewTurn {
        turn,
        name: name.clone(),
        session_id: SessionId::random(),
        prompt: format!("\"later {}\"", chance.number()).into(),
        at_most_once: false,
        opened_at: at,
    };
    let outcome = r#"{"outcome":"completed","text":"later"}"#.into();
    let settle = vec![Settle { turn, outcome, answered_in: None, at }];
    let change = Change { settle, ..Change::default() };
    // Not the taking first: it has no byte that differs from the one of before the cut. Written over that one, it would let the
    // commits behind it in SQLite's log be read again, which is no lie, and would look like one here.
    vec![Step::Open(new), Step::Take(name.clone()), Step::Commit(name, Box::new(change))]
}

/// Looks at what a cut left, opens it, and goes on; returns how many steps of the run were there, and what is said of it.
fn look(
    cut: &Cut,
    run: &Run,
    accounts: &[Account],
    durability: Durability,
    chance: &mut Chance,
) -> (usize, Vec<Problem>) {
    let dir = folder();
    write_down(&cut.image, dir.path()).unwrap();
    on_another_boot(dir.path());
    let how = &cut.how;
    let names = names();
    // Each conversation that was acknowledged has its lease file: those are old by now.
    let had = &accounts[cut.acknowledged].records;
    had.values().for_each(|record| lease(dir.path(), &record.name, record.session_id));
    let least = if durability == Durability::Power { cut.acknowledged } else { 0 };
    let store = open(dir.path(), durability).unwrap_or_else(|error| panic!("{how}: {error}"));
    let found = wait(Account::read(&store, &names)).unwrap_or_else(|error| panic!("{how}: {error}"));
    let Some(there) = (least..=cut.begun).rev().find(|&n| accounts[n] == found) else {
        let newest =
            accounts[least..=cut.begun].iter().map(|account| found.difference(account)).min_by_key(Vec::len);
        panic!("{how}: nothing that was there after {least} to {} steps: {newest:?}", cut.begun);
    };
    for record in had.values().filter(|record| !accounts[there].records.contains_key(&record.name)) {
        let told = wait(store.record(record.name.clone())).unwrap();
        let Told::Lost { session_id, .. } = told else {
            panic!("{how}: {} would begin blank: {told:?}", record.name)
        };
        assert_eq!(session_id, Some(record.session_id), "{how}");
    }
    let problems = wait(store.problems()).unwrap();
    let more = later(chance);
    let mut account = accounts[there].clone();
    wait(async {
        let mut tenures = Vec::new();
        for step in &more {
            step.run(&store, &mut tenures).await.unwrap_or_else(|error| panic!("{how}: {error:?}"));
            account.apply(step);
        }
        if durability == Durability::Power {
            assert!(tenures[0].epoch > run.epochs[cut.acknowledged], "{how}: an epoch is given twice");
        }
    });
    drop(store);
    let store = open(dir.path(), durability).unwrap_or_else(|error| panic!("{how}, later: {error}"));
    assert!(
        wait(Account::read(&store, &names)).unwrap() == account,
        "{how}: what was done later is not there"
    );
    assert_eq!(wait(store.problems()).unwrap(), problems, "{how}");
    (there, problems)
}

/// So many cuts of the usual test, or what `TREEWARDEN_SOAK` says.
fn limit(usual: usize) -> usize {
    std::env::var("TREEWARDEN_SOAK").ok().and_then(|limit| limit.parse().ok()).unwrap_or(usual)
}

fn cut_everywhere(durability: Durability, layer: &str, count: usize, limit: usize) {
    let mut chance = Chance::new(seed());
    let steps = steps(&names(), count, &mut chance);
    let accounts = Account::after_each(&steps);
    let run = run(folder(), layer, durability, &steps, &mut chance);
    let (mut lost, mut said) = (0, HashMap::<String, usize>::new());
    let shown = cuts(&run.start, &run.tape.entries(), limit, &mut chance.clone(), |cut| {
        let (there, problems) = look(&cut, &run, &accounts, durability, &mut chance);
        lost += usize::from(there < cut.acknowledged);
        assert!(
            there >= cut.acknowledged || !problems.is_empty(),
            "{}: nothing is said of what is missing",
            cut.how
        );
        for problem in problems {
            *said.entry(format!("{:?}", problem.kind)).or_default() += 1;
        }
    });
    println!(
        "{durability:?}: {} steps, {shown} states after a cut, {lost} without something acknowledged; said: {said:?}",
        steps.len()
    );
    assert!(shown * 3 > limit, "too few states differ: {shown}");
    if durability == Durability::Power {
        assert_eq!(said.len(), 0, "nothing is missing, and nothing is to be said");
    } else {
        assert!(lost > 0, "else the cuts are too mild to show anything");
        assert_eq!(said.keys().collect::<Vec<_>>(), ["Cut"], "nothing else happened to it");
    }
}

#[test]
fn with_power_durability_everything_acknowledged_survives_a_power_cut() {
    cut_everywhere(Durability::Power, "power", 120, limit(600));
}

#[test]
fn with_process_durability_a_power_cut_leaves_what_was_there_after_some_step() {
    cut_everywhere(Durability::Process, "process", 200, limit(800));
}

/// The power goes again while what the first cut left is opened and gone on with.
#[test]
fn a_second_power_cut_takes_nothing_of_what_the_first_one_left() {
    let mut chance = Chance::new(seed());
    let before = steps(&names(), 60, &mut chance);
    let accounts = Account::after_each(&before);
    let first = run(folder(), "first-cut", Durability::Process, &before, &mut chance);
    let mut lefts = Vec::new();
    cuts(&first.start, &first.tape.entries(), 24, &mut chance, |cut| lefts.push(cut));
    let mut shown = 0;
    for (n, left) in lefts.iter().enumerate() {
        let dir = folder();
        write_down(&left.image, dir.path()).unwrap();
        // What the cut left is known by opening a copy of it.
        let copy = folder();
        write_down(&left.image, copy.path()).unwrap();
        on_another_boot(copy.path());
        on_another_boot(dir.path());
        let found = wait(Account::read(&open(copy.path(), Durability::Power).unwrap(), &names())).unwrap();
        assert!(accounts.contains(&found), "{}", left.how);
        let more = later(&mut chance);
        let mut states = vec![found];
        for step in &more {
            let mut next = states[states.len() - 1].clone();
            next.apply(step);
            states.push(next);
        }
        let second = run(dir, &format!("second-cut-{n}"), Durability::Power, &more, &mut chance);
        let entries = second.tape.entries();
        shown += cuts(&second.start, &entries, 12, &mut chance.clone(), |cut| {
            let cut = Cut { how: format!("{}; then {}", left.how, cut.how), ..cut };
            look(&cut, &second, &states, Durability::Power, &mut chance);
        });
    }
    println!("{} first cuts, {shown} states after a second one", lefts.len());
    assert!(shown > 100);
}

/// Asks and settles turns of one name; says what was acknowledged.
async fn chat(store: &SqliteStore, name: SessionName, turns: usize, acknowledge: impl Fn(TurnId, TurnState)) {
    let mut tenure = store.take(name.clone()).await.unwrap().tenure;
    for n in 0..turns {
        let (turn, session_id) = (TurnId::new(), SessionId::random());
        let prompt = format!("\"{}\"", "p".repeat(100 * (n % 7))).into();
        let new = NewTurn { turn, name: name.clone(), session_id, prompt, at_most_once: false, opened_at: 1 };
        store.open(new).await.unwrap();
        acknowledge(turn, TurnState::Queued);
        let settle = Settle { turn, outcome: r#"{"outcome":"failed"}"#.into(), answered_in: None, at: 2 };
        let change = Change { settle: vec![settle], ..Change::default() };
        tenure = store.commit(tenure, change).await.unwrap().next;
        acknowledge(turn, TurnState::Settled);
    }
}

#[test]
fn commits_that_share_a_sync_are_all_there_once_one_of_them_was_acknowledged() {
    let mut chance = Chance::new(seed());
    let dir = folder();
    let (start, tape) = (Disk::of(dir.path()).unwrap(), Tape::new(dir.path(), BESIDE));
    register("together", tape.clone());
    let store = Arc::new(SqliteStore::open(dir.path(), options(Durability::Power).vfs("together")).unwrap());
    let said = Arc::new(Mutex::new(Vec::new()));
    wait(async {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..12 {
            let (store, said, tape) = (Arc::clone(&store), Arc::clone(&said), tape.clone());
            tasks.spawn(async move {
                chat(&store, name(&format!("s{n}")), 8, |turn, state| {
                    let mut said = said.lock().unwrap();
                    said.push((turn, state));
                    tape.acknowledged(said.len());
                })
                .await;
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
    let said = said.lock().unwrap().clone();
    let shown = cuts(&start, &tape.entries(), limit(250), &mut chance, |cut| {
        let dir = folder();
        write_down(&cut.image, dir.path()).unwrap();
        let store =
            open(dir.path(), Durability::Power).unwrap_or_else(|error| panic!("{}: {error}", cut.how));
        let reached: HashMap<TurnId, TurnState> = said[..cut.acknowledged].iter().copied().collect();
        wait(async {
            for (turn, state) in reached {
                let Some(StoredTurn::Held(row)) = store.turn(turn).await.unwrap() else {
                    panic!("{}: a turn that was acknowledged is not there", cut.how);
                };
                assert!(state == TurnState::Queued || row.state == TurnState::Settled, "{}", cut.how);
            }
        });
    });
    println!("{} acknowledgements of 12 sessions at once, {shown} states after a cut", said.len());
}
