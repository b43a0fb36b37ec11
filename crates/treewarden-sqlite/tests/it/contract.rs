//! What the contract says, of this store: who may write, what is stored once, what is found again.

use serde_json::json;
use treewarden_proto::{SessionId, TurnId};
use treewarden_sqlite::SqliteStore;
use treewarden_store::{
    Backend, Change, CommitError, Completed, Lines, NewTurn, OpenError, Settle, Tenure, Told, TurnState,
};

use crate::support::{held, name, new_turn, of_record, open, options, record, settles, tenure};

#[tokio::test]
async fn what_is_committed_is_found_after_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let taken = store.take(name("a")).await.unwrap();
    assert_eq!(taken.told, Told::Never);
    let turn = NewTurn { at_most_once: true, ..new_turn("a") };
    store.open(turn.clone()).await.unwrap();
    let waiting = new_turn("a");
    store.open(waiting.clone()).await.unwrap();
    let mut record = record("a");
    record.extra.insert("colour".to_owned(), json!({ "deep": [1, null] }));
    let change = Change {
        record: Some(record.clone()),
        sent: vec![turn.turn],
        interrupted: vec![turn.turn, turn.turn],
        ..settles(turn.turn, r#"{"outcome":"completed","text":"\ud800 1e999"}"#)
    };
    let committed = store.commit(taken.tenure.clone(), change).await.unwrap();
    assert_eq!(committed.next, Tenure { seq: 1, ..taken.tenure });
    assert_eq!((committed.already.len(), committed.unknown.len()), (0, 0));
    drop(store);
    let store = open(dir.path());
    let Told::Record(found) = store.record(name("a")).await.unwrap() else { panic!("it has a record") };
    record.updated_at = found.updated_at;
    assert_eq!(*found, record);
    assert_eq!(store.records().await.unwrap(), [record]);
    let row = held(&store, turn.turn).await;
    assert_eq!((row.state, row.interruptions, row.at_most_once), (TurnState::Settled, 2, true));
    assert_eq!((row.prompt, row.opened_at, row.settled_at), (json!("a prompt"), 7, Some(9)));
    assert_eq!(row.outcome.unwrap()["text"], "\u{fffd} 1e999");
    let open_turns: Vec<_> = store.open_turns(name("a")).await.unwrap().iter().map(|row| row.turn).collect();
    assert_eq!(open_turns, [waiting.turn]);
    let newest: Vec<_> = store.turns(name("a"), 9).await.unwrap().iter().map(|row| row.turn).collect();
    assert_eq!(newest, [waiting.turn, turn.turn]);
    assert_eq!(store.turns(name("a"), 1).await.unwrap().len(), 1);
    assert_eq!(store.turn(TurnId::new()).await.unwrap(), None);
    assert_eq!(store.problems().await.unwrap(), []);
}

#[tokio::test]
async fn whoever_took_the_name_last_writes_it_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()), open(dir.path()));
    let first = tenure(&one, "a").await;
    let taken = two.take(name("a")).await.unwrap();
    assert!(taken.tenure.epoch > first.epoch);
    let lost = one.commit(first.clone(), of_record(&record("a"))).await.unwrap_err();
    assert!(matches!(lost, CommitError::LeaseLost { epoch } if epoch == taken.tenure.epoch), "{lost}");
    assert_eq!(one.record(name("a")).await.unwrap(), Told::Never);
    let next = two.commit(taken.tenure.clone(), of_record(&record("a"))).await.unwrap().next;
    // A copy of the right, used once more for something else.
    let stale = two.commit(taken.tenure, of_record(&record("a"))).await.unwrap_err();
    assert!(matches!(stale, CommitError::LeaseLost { .. }), "{stale}");
    let again = one.take(name("a")).await.unwrap();
    assert!(again.tenure.epoch > next.epoch && again.tenure.seq == next.seq);
    let never = Tenure { name: name("b"), epoch: 1, seq: 0 };
    assert!(matches!(one.commit(never, Change::default()).await, Err(CommitError::LeaseLost { .. })));
}

#[tokio::test]
async fn the_same_change_with_the_same_tenure_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let taken = tenure(&store, "a").await;
    let (turn, settled) = (new_turn("a"), new_turn("a"));
    store.open(turn.clone()).await.unwrap();
    store.open(settled.clone()).await.unwrap();
    let next = store.commit(taken, settles(settled.turn, "1")).await.unwrap().next;
    let mut change = settles(turn.turn, "2");
    change.settle.extend(settles(settled.turn, "3").settle);
    change.interrupted.push(turn.turn);
    let nobodys = TurnId::new();
    change.sent.push(nobodys);
    let committed = store.commit(next.clone(), change.clone()).await.unwrap();
    assert_eq!(committed.already, [(settled.turn, "1".into())]);
    assert_eq!(committed.unknown, [nobodys]);
    for store in [&store, &open(dir.path())] {
        assert_eq!(store.commit(next.clone(), change.clone()).await.unwrap(), committed);
    }
    assert_eq!(held(&store, turn.turn).await.interruptions, 1);
}

#[tokio::test]
async fn a_turn_of_another_conversation_is_that_ones_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (turn, answered_in) = (new_turn("a"), SessionId::random());
    store.open(turn.clone()).await.unwrap();
    let outcome = r#"{"outcome":"completed","text":"yes","result":{"num_turns":1}}"#.into();
    let settle = Settle { turn: turn.turn, outcome, answered_in: Some(answered_in), at: 9 };
    let change = Change { settle: vec![settle], ..Change::default() };
    store.commit(tenure(&store, "a").await, change).await.unwrap();
    assert_eq!(store.completed(turn.session_id).await.unwrap(), []);
    let expected = Completed { turn: turn.turn, written: true, answered: true };
    assert_eq!(store.completed(answered_in).await.unwrap(), [expected]);
    // What another name asked is not settled by this one.
    let other = new_turn("b");
    store.open(other.clone()).await.unwrap();
    let committed = store.commit(tenure(&store, "a").await, settles(other.turn, "1")).await.unwrap();
    assert_eq!(committed.unknown, [other.turn]);
    assert_eq!(held(&store, other.turn).await.state, TurnState::Queued);
}

#[tokio::test]
async fn completed_goes_back_to_what_the_cli_must_have_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let session_id = SessionId::random();
    let mut tenure = tenure(&store, "a").await;
    let mut turns = Vec::new();
    for outcome in [
        r#"{"outcome":"completed"}"#,
        r#"{"outcome":"completed","text":"w","result":{"num_turns":2}}"#,
        r#"{"outcome":"failed"}"#,
        r#"{"outcome":"completed","text":"","result":{"num_turns":0}}"#,
    ] {
        let turn = NewTurn { session_id, ..new_turn("a") };
        store.open(turn.clone()).await.unwrap();
        tenure = store.commit(tenure, settles(turn.turn, outcome)).await.unwrap().next;
        turns.push(turn.turn);
    }
    let expected = [
        Completed { turn: turns[3], written: false, answered: false },
        Completed { turn: turns[1], written: true, answered: true },
    ];
    assert_eq!(store.completed(session_id).await.unwrap(), expected);
}

#[tokio::test]
async fn a_turn_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let turn = new_turn("a");
    store.open(turn.clone()).await.unwrap();
    for store in [&store, &open(dir.path())] {
        assert!(matches!(store.open(turn.clone()).await, Err(OpenError::Exists)));
    }
    assert_eq!(store.turns(name("a"), 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn lines_are_found_in_order_and_none_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let conversation = SessionId::random();
    let lines = |seq: u64, entries: &str| Lines {
        conversation,
        subpath: "subagents/one.jsonl".to_owned(),
        seq,
        entries: entries.into(),
    };
    let all = [lines(0, "{}\n"), lines(1, "\u{0}"), lines(2, "")];
    let change = Change { lines: all.to_vec(), ..Change::default() };
    let next = store.commit(tenure(&store, "a").await, change).await.unwrap().next;
    let find = |from, limit| store.lines(conversation, "subagents/one.jsonl".to_owned(), from, limit);
    assert_eq!(find(0, 9).await.unwrap(), all);
    assert_eq!(find(1, 1).await.unwrap(), all[1..2]);
    assert_eq!(store.lines(conversation, String::new(), 0, 9).await.unwrap(), []);
    let over = Change { lines: vec![lines(3, "x"), lines(1, "other")], ..of_record(&record("a")) };
    let refused = store.commit(next.clone(), over).await.unwrap_err();
    assert!(matches!(&refused, CommitError::Failed { retryable: false, .. }), "{refused}");
    assert!(refused.to_string().contains("flush 1"), "{refused}");
    // All of it or nothing.
    assert_eq!(find(0, 9).await.unwrap(), all);
    assert_eq!(store.record(name("a")).await.unwrap(), Told::Never);
    store.commit(next, of_record(&record("a"))).await.unwrap();
}

#[tokio::test]
async fn with_durability_nothing_only_what_an_earlier_host_left_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let (left, turn) = (new_turn("a"), new_turn("a"));
    open(dir.path()).open(left.clone()).await.unwrap();
    let store = SqliteStore::open(dir.path(), options("nothing")).unwrap();
    assert!(!store.keeps_turns());
    store.open(turn.clone()).await.unwrap();
    assert_eq!(store.turn(turn.turn).await.unwrap(), None);
    assert_eq!(store.open_turns(name("a")).await.unwrap().len(), 1);
    let mut change = settles(left.turn, "1");
    change.settle.extend(settles(turn.turn, "2").settle);
    change.record = Some(record("a"));
    let committed = store.commit(tenure(&store, "a").await, change).await.unwrap();
    assert_eq!(committed.unknown, []);
    assert_eq!(held(&store, left.turn).await.state, TurnState::Settled);
    assert!(matches!(store.record(name("a")).await.unwrap(), Told::Record(_)));
}
