//! The journal's order, its history, what pruning leaves, and many callers with power durability.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use serde_json::value::RawValue;
use support::name;
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{Durability, SessionRecord, Settled, Store, StoreErrorKind, StoreOptions, TurnRow};

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

fn row(session: &str, id: SessionId) -> TurnRow {
    TurnRow::new(TurnId::new(), name(session), id, "a prompt".into(), false)
}

fn settled(store: &Store, row: &TurnRow, outcome: &str) {
    store.open_turn(row).unwrap();
    assert!(matches!(store.settle(row.turn, &raw(outcome)).unwrap(), Settled::Now));
}

fn history(store: &Store, session: &str) -> Vec<TurnId> {
    store.turns(&name(session), 1000).unwrap().into_iter().map(|row| row.turn).collect()
}

fn last_completed(store: &Store, id: SessionId) -> Option<TurnId> {
    store.completed(id).unwrap().first().map(|completed| completed.turn)
}

#[test]
fn turns_come_newest_first_and_no_more_than_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let rows: Vec<_> = (0..5).map(|_| row("a", SessionId::random())).collect();
    rows.iter().for_each(|row| store.open_turn(row).unwrap());
    store.open_turn(&row("b", SessionId::random())).unwrap();
    store.settle(rows[3].turn, &raw("{}")).unwrap();
    let newest: Vec<_> = rows.iter().rev().map(|row| row.turn).collect();
    assert_eq!(history(&store, "a"), newest);
    assert_eq!(store.turns(&name("a"), 2).unwrap().len(), 2);
    let open: Vec<_> = store.open_turns(&name("a")).unwrap().into_iter().map(|row| row.turn).collect();
    assert_eq!(open, [0, 1, 2, 4].map(|n: usize| rows[n].turn));
}

#[test]
fn pruning_leaves_open_turns_the_newest_and_the_last_completed_one() {
    for durability in [Durability::Process, Durability::Power] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default().durability(durability)).unwrap();
        let id = SessionId::random();
        let rows: Vec<_> = (0..8).map(|_| row("a", id)).collect();
        settled(&store, &rows[0], r#"{"outcome":"completed"}"#);
        store.open_turn(&rows[1]).unwrap();
        settled(&store, &rows[2], r#"{"outcome":"completed"}"#);
        rows[3..].iter().for_each(|row| settled(&store, row, r#"{"outcome":"failed"}"#));
        assert_eq!(store.prune(2).unwrap(), 4);
        assert_eq!(history(&store, "a"), [7, 6, 2, 1].map(|n: usize| rows[n].turn));
        assert_eq!(last_completed(&store, id), Some(rows[2].turn));
        assert_eq!(store.prune(0).unwrap(), 2);
        assert_eq!(history(&store, "a"), [2, 1].map(|n: usize| rows[n].turn));
        assert_eq!(store.prune(0).unwrap(), 0);
    }
}

#[test]
fn a_turn_belongs_to_the_conversation_that_answered_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let (asked, answered) = (SessionId::random(), SessionId::random());
    // The database has the opening of the first alone, and all of the second at once.
    for is_folded in [true, false] {
        let (before, moved) = (row("a", asked), row("a", asked));
        settled(&store, &before, r#"{"outcome":"completed"}"#);
        store.open_turn(&moved).unwrap();
        assert!(!is_folded || store.turn(moved.turn).unwrap().is_some());
        store
            .settle_json(moved.turn, Some(answered), || Ok(r#"{"outcome":"completed"}"#.to_owned()))
            .unwrap();
        assert_eq!(last_completed(&store, asked), Some(before.turn));
        assert_eq!(last_completed(&store, answered), Some(moved.turn));
        assert_eq!(store.turn(moved.turn).unwrap().unwrap().session_id, answered);
    }
}

#[test]
fn a_turn_that_was_never_opened_cannot_be_settled() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let turn = TurnId::new();
    let error = store.settle(turn, &raw("{}")).unwrap_err();
    assert!(error.to_string().contains(&turn.to_string()), "{error}");
}

#[tokio::test]
async fn many_callers_with_power_durability_each_get_their_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default().durability(Durability::Power)).unwrap();
    // More than the queue holds, on one thread: a call that blocked it would never end.
    let callers = (0..2000).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let row = row("a", SessionId::random());
            store.open_turn_durable(&row).await.unwrap();
            let again = store.open_turn_durable(&row).await.unwrap_err();
            assert_eq!(again.kind(), StoreErrorKind::Other);
            let outcome = raw(&n.to_string());
            assert!(matches!(store.settle_durable(row.turn, &outcome).await.unwrap(), Settled::Now));
            match store.settle_durable(row.turn, &raw("0")).await.unwrap() {
                Settled::Already(first) => assert_eq!(first.get(), n.to_string()),
                Settled::Now => panic!("the turn was settled twice"),
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(store.turns(&name("a"), 5000).unwrap().len(), 2000);
    assert_eq!(store.open_turns(&name("a")).unwrap(), []);
}

#[test]
fn sync_calls_of_many_threads_end_with_power_durability() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default().durability(Durability::Power)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..10).for_each(|_| settled(&store, &row("a", SessionId::random()), "{}")));
        }
    });
    drop(store);
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    assert_eq!(store.turns(&name("a"), 1000).unwrap().len(), 160);
}

/// The memory of this process, in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "takes a while: run it with `just soak-sessions`"]
fn soak_a_store_of_100_000_sessions_keeps_little_in_memory() {
    const SESSIONS: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let before = memory();
    let mut most = before;
    for n in 0..SESSIONS {
        let row = row(&format!("session-{n}"), SessionId::random());
        store.put(&SessionRecord::new(row.name.clone(), row.session_id)).unwrap();
        assert!(store.open_turns(&row.name).unwrap().is_empty());
        // Every tenth stays open.
        if n % 10 == 0 {
            store.open_turn(&row).unwrap();
        } else {
            settled(&store, &row, r#"{"outcome":"completed"}"#);
        }
        if n % 1000 == 0 {
            most = most.max(memory());
        }
    }
    println!("{SESSIONS} sessions: {before} KiB before, {most} KiB at most");
    // Segments that are put into the database, of 8 MiB at most; SQLite's pages, 2 MiB for each connection; an entry for
    // each turn that is open or was settled in the segment of the moment.
    assert!(most - before <= 24 * 1024, "{} KiB", most - before);
    assert_eq!(store.open_turns(&name("session-7")).unwrap().len(), 0);
    assert_eq!(store.open_turns(&name("session-10")).unwrap().len(), 1);
}

const SAID: &str = r#""text":"said""#;

fn completed(store: &Store, id: SessionId) -> Vec<(TurnId, bool, bool)> {
    let completed = store.completed(id).unwrap();
    completed.into_iter().map(|turn| (turn.turn, turn.written, turn.answered)).collect()
}

#[test]
fn completed_turns_are_told_down_to_the_newest_that_the_cli_must_have_written() {
    let outcomes = [
        (r#","result":{"num_turns":3}"#, true),
        (r#","result":{"num_turns":0,"terminal_reason":"completed"}"#, true),
        ("", true),
        (r#","result":null"#, true),
        (r#","result":{"num_turns":0}"#, false),
        (r#","result":{"num_turns":0,"terminal_reason":null}"#, false),
        (r#","result":{}"#, false),
    ];
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    for (outcome, written) in outcomes {
        let id = SessionId::random();
        let rows: Vec<_> = (0..5).map(|_| row("a", id)).collect();
        settled(&store, &rows[0], r#"{"outcome":"completed"}"#);
        settled(&store, &rows[1], r#"{"outcome":"completed","text":"","result":{"num_turns":1}}"#);
        settled(&store, &rows[2], r#"{"outcome":"interrupted"}"#);
        settled(&store, &rows[3], &format!(r#"{{"outcome":"completed",{SAID}{outcome}}}"#));
        settled(&store, &rows[4], r#"{"outcome":"failed"}"#);
        let mut expected = vec![(rows[3].turn, written, true)];
        if !written {
            expected.push((rows[1].turn, true, false));
        }
        assert_eq!(completed(&store, id), expected, "{outcome}");
        // What is pruned is not demanded, and what is demanded is not pruned.
        store.prune(0).unwrap();
        assert_eq!(completed(&store, id).last(), expected.last(), "{outcome}");
    }
}

#[test]
fn no_more_completed_turns_are_told_than_a_start_can_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    let id = SessionId::random();
    assert_eq!(completed(&store, id), []);
    let rows: Vec<_> = (0..70).map(|_| row("a", id)).collect();
    rows.iter().for_each(|row| {
        settled(&store, row, &format!(r#"{{"outcome":"completed",{SAID},"result":{{"num_turns":0}}}}"#));
    });
    let newest: Vec<_> = rows.iter().rev().take(64).map(|row| (row.turn, false, true)).collect();
    assert_eq!(completed(&store, id), newest);
}

#[test]
fn an_outcome_is_read_back_whatever_the_cli_wrote_in_its_result() {
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    let results = [
        (
            r#"{"type":"result","result":"cut \ud83d"}"#.to_owned(),
            serde_json::json!({ "type": "result", "result": "cut \u{fffd}" }),
        ),
        (r#"{"\udc00":1}"#.to_owned(), serde_json::json!({ "\u{fffd}": 1 })),
        (r#"{"cost":1e999}"#.to_owned(), r#"{"cost":1e999}"#.into()),
        (deep.clone(), deep.into()),
    ];
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    for (result, expected) in results {
        let row = row("a", SessionId::random());
        let outcome = format!(r#"{{"outcome":"completed",{SAID},"result":{result}}}"#);
        settled(&store, &row, &outcome);
        let read = store.turn(row.turn).unwrap().unwrap().outcome.unwrap();
        assert_eq!((&read["text"], &read["result"]), (&"said".into(), &expected), "{result}");
        // It is stored as it came.
        let again = store.settle(row.turn, &raw("{}")).unwrap();
        assert!(matches!(again, Settled::Already(first) if first.get() == outcome));
    }
    assert_eq!(store.problems().unwrap(), []);
    assert_eq!(history(&store, "a").len(), 4);
}
