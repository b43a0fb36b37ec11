//! What is removed as it is old: what is known afterwards, what becomes of its pages, and that nobody waits for it.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use treewarden_proto::TurnId;
use treewarden_sqlite::SqliteStore;
use treewarden_store::{Backend, Keep, NewTurn, OpenError, ProblemKind, StoredTurn};
use uuid::{NoContext, Timestamp, Uuid};

use crate::support::{name, new_turn, open, settles, sql, tenure};

const NEWEST: Keep = Keep { turns: Some(1), age: None, ids: Duration::from_secs(3600) };

/// So many days ago, in Unix milliseconds.
fn days_ago(days: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap() - days * 86_400_000
}

/// Turns that were opened a day ago, each a second after the one before, and settled.
async fn old_turns(store: &SqliteStore, session: &str, count: u64, prompt: &str) -> Vec<NewTurn> {
    let mut tenure = tenure(store, session).await;
    let mut turns = Vec::new();
    for n in 0..count {
        let at = days_ago(1) + n * 1000;
        let made = Uuid::new_v7(Timestamp::from_unix(NoContext, at / 1000, 0));
        let turn = NewTurn {
            turn: TurnId::from_uuid(made),
            opened_at: at,
            prompt: format!("\"{prompt}\"").into(),
            ..new_turn(session)
        };
        store.open(turn.clone()).await.unwrap();
        let change = settles(turn.turn, r#"{"outcome":"failed"}"#);
        tenure = store.commit(tenure, change).await.unwrap().next;
        turns.push(turn);
    }
    turns
}

fn again(turn: &NewTurn) -> NewTurn {
    NewTurn { opened_at: days_ago(0), ..turn.clone() }
}

fn pragma(dir: &Path, name: &str) -> i64 {
    let db = Connection::open(dir.join("treewarden.db")).unwrap();
    db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn pages_that_become_free_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    old_turns(&store, "a", 100, &"x".repeat(50_000)).await;
    let before = pragma(dir.path(), "page_count");
    assert!(before > 1000, "{before} pages");
    assert_eq!(store.prune(NEWEST).await.unwrap().turns, 99);
    assert_eq!(pragma(dir.path(), "auto_vacuum"), 2);
    let (pages, free) = (pragma(dir.path(), "page_count"), pragma(dir.path(), "freelist_count"));
    assert!(free <= 256 && pages - free < 100, "{pages} pages, of which {free} are free");
}

#[tokio::test]
async fn more_than_one_step_removes_is_removed_of_each_session() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for session in ["a", "b", "c"] {
        old_turns(&store, session, 250, "a prompt").await;
    }
    assert_eq!(store.prune(NEWEST).await.unwrap().turns, 3 * 249);
    assert_eq!(store.prune(NEWEST).await.unwrap().turns, 0);
    for session in ["a", "b", "c"] {
        assert_eq!(store.turns(name(session), 1000).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_id_that_was_removed_is_refused_after_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let dated = old_turns(&store, "a", 3, "a prompt").await;
    let foreign = NewTurn { turn: TurnId::from_uuid(Uuid::new_v4()), opened_at: 7, ..new_turn("b") };
    store.open(foreign.clone()).await.unwrap();
    store.commit(tenure(&store, "b").await, settles(foreign.turn, "1")).await.unwrap();
    assert_eq!(store.prune(Keep { turns: Some(0), ..NEWEST }).await.unwrap().turns, 4);
    drop(store);
    let store = open(dir.path());
    for turn in dated.iter().chain([&foreign]) {
        assert_eq!(store.turn(turn.turn).await.unwrap(), Some(StoredTurn::Expired));
        assert!(matches!(store.open(again(turn)).await, Err(OpenError::Expired)), "{turn:?}");
    }
    assert_eq!(store.problems().await.unwrap(), []);
    // One whose note is damaged is refused as well: that it was here is known.
    sql(dir.path(), "UPDATE expired_ids SET digest = zeroblob(16)");
    assert!(matches!(store.open(again(&foreign)).await, Err(OpenError::Expired)));
}

#[tokio::test]
async fn a_turn_that_cannot_be_read_is_set_aside_and_the_others_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let turns = old_turns(&store, "a", 5, "a prompt").await;
    sql(dir.path(), "UPDATE turns SET prompt = '\"another\"' WHERE seq = (SELECT min(seq) FROM turns)");
    assert_eq!(store.prune(NEWEST).await.unwrap().turns, 3);
    let problems = store.problems().await.unwrap();
    assert_eq!((problems.len(), problems[0].kind), (1, ProblemKind::Turn));
    assert_eq!(problems[0].key, turns[0].turn.to_string());
    assert_eq!(store.turns(name("a"), 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_are_opened_and_settled_while_old_ones_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    old_turns(&store, "a", 1000, "a prompt").await;
    let pruning = tokio::spawn({
        let store = store.clone();
        async move { store.prune(NEWEST).await }
    });
    let mut tenure = tenure(&store, "b").await;
    let mut settled = 0;
    while !pruning.is_finished() || settled < 20 {
        let turn = NewTurn { opened_at: days_ago(0), ..new_turn("b") };
        store.open(turn.clone()).await.unwrap();
        tenure = store.commit(tenure, settles(turn.turn, "1")).await.unwrap().next;
        settled += 1;
    }
    assert_eq!(pruning.await.unwrap().unwrap().turns, 999);
    assert!(store.open_turns(name("b")).await.unwrap().is_empty());
}
