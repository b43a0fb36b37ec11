//! Other programs at the same database: those that hold its lock, that write as well, that remove it.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use support::{DEADLINE, folder, name, open, options, wait};
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_sqlite::SqliteStore;
use treewarden_store::{
    Backend, Change, CommitError, Durability, NewTurn, OpenError, SessionRecord, Settle, StoreError,
    StoreErrorKind, StoredTurn, Tenure, Told,
};
use treewarden_testkit::role::{Role, my_role, say, wait_for_the_end};

fn turn_of(name: &SessionName, turn: TurnId) -> NewTurn {
    let (session_id, prompt) = (SessionId::random(), "\"a prompt\"".into());
    NewTurn { turn, name: name.clone(), session_id, prompt, at_most_once: false, opened_at: 1 }
}

fn settled(turn: TurnId) -> Change {
    let outcome = r#"{"outcome":"completed"}"#.into();
    Change { settle: vec![Settle { turn, outcome, answered_in: None, at: 2 }], ..Change::default() }
}

/// Holds the write lock of the database from when it says so until it is ended.
#[test]
#[ignore = "a role of other tests"]
fn role_locker() {
    let Some((dir, how)) = my_role() else { return };
    let db = Connection::open(dir.join("treewarden.db")).unwrap();
    db.busy_timeout(DEADLINE).unwrap();
    db.execute_batch(&format!("BEGIN {how}")).unwrap();
    say("locked");
    wait_for_the_end();
    db.execute_batch("ROLLBACK").unwrap();
}

/// Keeps readers away as well, as a program does that copies the database or looks at it by itself.
#[test]
#[ignore = "a role of other tests"]
fn role_keeper() {
    let Some((dir, _)) = my_role() else { return };
    let db = Connection::open(dir.join("treewarden.db")).unwrap();
    db.busy_timeout(DEADLINE).unwrap();
    db.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT").unwrap();
    say("locked");
    wait_for_the_end();
    drop(db);
}

#[test]
fn an_opening_that_another_program_keeps_waiting_names_the_file_and_the_program_and_how_long_it_waited() {
    let dir = folder();
    drop(open(dir.path(), Durability::Process).unwrap());
    let keeper = Role::start("role_keeper", dir.path(), "");
    assert_eq!(keeper.said(), "locked");
    let with = options(Durability::Process).opening(Duration::from_secs(3));
    let error = SqliteStore::open(dir.path(), with).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Busy, "{error}");
    for part in
        ["treewarden.db", "that were waited", "end that program", &format!("process {}", keeper.pid())]
    {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    // One that lets go in time is seen by nobody.
    let at = dir.path().to_owned();
    let opening = std::thread::spawn(move || {
        SqliteStore::open(&at, options(Durability::Process).opening(DEADLINE)).map(drop)
    });
    keeper.finish();
    opening.join().unwrap().unwrap();
}

/// Of each of eight sessions a turn that is sent and waits for its outcome.
async fn eight_sent(store: &SqliteStore) -> Vec<(Tenure, TurnId)> {
    let mut sent = Vec::new();
    for n in 0..8 {
        let (name, turn) = (name(&format!("s{n}")), TurnId::new());
        let taken = store.take(name.clone()).await.unwrap();
        store.open(turn_of(&name, turn)).await.unwrap();
        sent.push((taken.tenure, turn));
    }
    sent
}

fn told_of_the_lock(error: &CommitError) {
    let CommitError::Failed { error, retryable: true } = error else { panic!("{error:?}") };
    assert_eq!(error.kind(), StoreErrorKind::Busy);
    for part in ["treewarden.db", "locked"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// The lock is held until every outcome has its answer: none waits for another's, and none for the lock's end.
fn outcomes_under_a_lock(how: &str, begin: Duration) {
    let dir = folder();
    let with = options(Durability::Process).limits(begin, DEADLINE);
    let store = Arc::new(SqliteStore::open(dir.path(), with).unwrap());
    wait(async {
        let sent = eight_sent(&store).await;
        let locker = Role::start("role_locker", dir.path(), how);
        assert_eq!(locker.said(), "locked");
        let mut answers = tokio::task::JoinSet::new();
        for (tenure, turn) in sent.clone() {
            let store = Arc::clone(&store);
            answers.spawn(async move { store.commit(tenure, settled(turn)).await });
        }
        // What is only read is answered meanwhile.
        for (tenure, turn) in &sent {
            assert!(matches!(store.turn(*turn).await.unwrap(), Some(StoredTurn::Held(_))));
            assert_eq!(store.open_turns(tenure.name.clone()).await.unwrap().len(), 1);
        }
        while let Some(answer) = answers.join_next().await {
            told_of_the_lock(&answer.unwrap().unwrap_err());
        }
        // A turn that cannot be stored is not to be sent.
        let refused = store.open(turn_of(&sent[0].0.name, TurnId::new())).await.unwrap_err();
        let OpenError::Failed(error) = refused else { panic!("{refused:?}") };
        assert_eq!(error.kind(), StoreErrorKind::Busy, "{error}");
        locker.finish();
        // The same is asked again, and is stored once.
        for (tenure, turn) in &sent {
            let done = store.commit(tenure.clone(), settled(*turn)).await.unwrap();
            assert_eq!((done.already, done.unknown), (vec![], vec![]));
        }
    });
    drop(store);
    let store = open(dir.path(), Durability::Process).unwrap();
    wait(async {
        for n in 0..8 {
            let turns = store.turns(name(&format!("s{n}")), 10).await.unwrap();
            assert!(turns.len() == 1 && turns[0].outcome.is_some());
        }
        assert_eq!(store.problems().await.unwrap(), []);
    });
}

#[test]
fn outcomes_under_a_lock_that_another_program_holds_are_all_answered_in_words_and_stored_later() {
    for how in ["IMMEDIATE", "EXCLUSIVE"] {
        outcomes_under_a_lock(how, Duration::from_secs(1));
    }
}

/// The long form, with the usual limits: `just soak-store`.
#[test]
#[ignore = "takes as long as the store waits"]
fn soak_outcomes_under_a_lock() {
    outcomes_under_a_lock("IMMEDIATE", Duration::from_secs(10));
}

#[test]
fn a_lock_that_ends_in_time_is_seen_by_nobody() {
    let dir = folder();
    let with = options(Durability::Process).limits(DEADLINE, 2 * DEADLINE);
    let store = Arc::new(SqliteStore::open(dir.path(), with).unwrap());
    wait(async {
        let sent = eight_sent(&store).await;
        let locker = Role::start("role_locker", dir.path(), "IMMEDIATE");
        assert_eq!(locker.said(), "locked");
        let mut answers = tokio::task::JoinSet::new();
        for (tenure, turn) in sent {
            let store = Arc::clone(&store);
            answers.spawn(async move { store.commit(tenure, settled(turn)).await });
        }
        tokio::task::yield_now().await;
        locker.finish();
        while let Some(answer) = answers.join_next().await {
            answer.unwrap().unwrap();
        }
    });
}

/// Asks and settles turns of a name of its own, and says what was acknowledged.
#[test]
#[ignore = "a role of other tests"]
fn role_writer() {
    let Some((dir, argument)) = my_role() else { return };
    let (durability, turns) = argument.split_once(' ').unwrap();
    let durability = if durability == "power" { Durability::Power } else { Durability::Process };
    let store = open(&dir, durability).unwrap();
    let name = name(&format!("w{}", std::process::id()));
    wait(async {
        let mut taken = store.take(name.clone()).await.unwrap();
        let record = Some(SessionRecord::new(name.clone(), SessionId::random()));
        taken.tenure = store.commit(taken.tenure, Change { record, ..Change::default() }).await.unwrap().next;
        say(&format!("record {name}"));
        for _ in 0..turns.parse().unwrap() {
            let turn = TurnId::new();
            store.open(turn_of(&name, turn)).await.unwrap();
            say(&format!("opened {turn}"));
            taken.tenure = store.commit(taken.tenure, settled(turn)).await.unwrap().next;
            say(&format!("settled {turn}"));
        }
    });
    say("done");
}

fn check(store: &SqliteStore, said: &[String]) {
    wait(async {
        for line in said {
            let (what, key) = line.split_once(' ').unwrap();
            match what {
                "record" => {
                    assert!(matches!(store.record(name(key)).await.unwrap(), Told::Record(_)), "{line}")
                }
                what => {
                    let Some(StoredTurn::Held(row)) = store.turn(key.parse().unwrap()).await.unwrap() else {
                        panic!("{line}: was acknowledged and is not there")
                    };
                    assert!(what == "opened" || row.outcome.is_some(), "{line}");
                }
            }
        }
        assert_eq!(store.problems().await.unwrap(), []);
    });
}

#[test]
fn eight_processes_that_write_at_once_keep_all_that_they_acknowledge() {
    for durability in ["process", "power"] {
        let dir = folder();
        let writers: Vec<_> =
            (0..8).map(|_| Role::start("role_writer", dir.path(), &format!("{durability} 25"))).collect();
        let mut said = Vec::new();
        for (n, writer) in writers.into_iter().enumerate() {
            // Half of them are killed at work.
            let most = if n % 2 == 0 { usize::MAX } else { 10 };
            let lines = std::iter::from_fn(|| Some(writer.said()).filter(|line| line != "done"));
            said.extend(lines.take(most));
            said.extend(writer.kill().into_iter().filter(|line| line != "done"));
        }
        let keys: HashSet<_> = said.iter().collect();
        assert!(keys.len() >= 4 * 51 + 4 * 10, "{}", keys.len());
        check(&open(dir.path(), Durability::Process).unwrap(), &said);
    }
}

fn told_of_the_removal(error: &StoreError, path: &Path) {
    assert_eq!(error.kind(), StoreErrorKind::Removed, "{error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[test]
fn a_store_whose_files_are_removed_under_it_says_so_and_acknowledges_nothing() {
    for file in ["treewarden.db", "treewarden.db-wal", "."] {
        let dir = folder();
        let at = dir.path().join("state");
        let store = open(&at, Durability::Process).unwrap();
        wait(async {
            let (name, turn) = (name("a"), TurnId::new());
            let taken = store.take(name.clone()).await.unwrap();
            store.open(turn_of(&name, turn)).await.unwrap();
            let path = if file == "." { at.clone() } else { at.join(file) };
            if file == "." {
                fs::remove_dir_all(&path).unwrap()
            } else {
                fs::remove_file(&path).unwrap()
            };
            let error = store.commit(taken.tenure.clone(), settled(turn)).await.unwrap_err();
            let CommitError::Failed { error, retryable: false } = error else { panic!("{file}: {error:?}") };
            told_of_the_removal(&error, &path);
            let error = store.open(turn_of(&name, TurnId::new())).await.unwrap_err();
            let OpenError::Failed(error) = error else { panic!("{file}: {error:?}") };
            told_of_the_removal(&error, &path);
            told_of_the_removal(&store.take(name.clone()).await.unwrap_err(), &path);
            told_of_the_removal(&store.look_again().unwrap_err(), &path);
        });
    }
}
