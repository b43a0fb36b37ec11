//! Problems are told as what they are and whose, as long as they are some, and news of the whole store once.

use std::fs;
use std::path::Path;

use treewarden_proto::TurnId;
use treewarden_sqlite::SqliteStore;
use treewarden_store::{Backend, Concern, NewTurn, Problem, ProblemKind, StoreErrorKind, Told};

use crate::support::{held, name, new_turn, of_record, open, record, settles, sql, tenure};

async fn problems(store: &SqliteStore) -> Vec<Problem> {
    store.problems().await.unwrap()
}

/// As a host does that has told of all.
async fn tell(store: &SqliteStore) {
    let last = problems(store).await.iter().map(|problem| problem.number).max().unwrap();
    store.note_told(last).await.unwrap();
}

/// A session with a settled turn, of which the outcome is damaged while the store is open or before it is opened.
async fn damaged(dir: &Path, is_open: bool) -> (SqliteStore, NewTurn) {
    let store = open(dir);
    let (record, turn) = (record("a"), new_turn("a"));
    let tenure = store.commit(tenure(&store, "a").await, of_record(&record)).await.unwrap().next;
    store.open(turn.clone()).await.unwrap();
    store.commit(tenure, settles(turn.turn, r#"{"outcome":"completed"}"#)).await.unwrap();
    let damage = "UPDATE turns SET outcome = '{\"outcome\":\"failed\"}'";
    if is_open {
        sql(dir, damage);
        return (store, turn);
    }
    drop(store);
    sql(dir, damage);
    (open(dir), turn)
}

#[tokio::test]
async fn a_damaged_turn_is_told_as_that_with_its_session_and_never_as_unknown() {
    for is_open in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, NewTurn { turn, .. }) = damaged(dir.path(), is_open).await;
        // Also when it was set aside long ago.
        for n in 0..3 {
            let error = store.turn(turn).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt);
            let words =
                format!("a turn of a (id {turn}) is damaged: its prompt and its outcome cannot be read");
            assert!(error.to_string().contains(&words), "{error}");
            let [problem] = &*problems(&store).await else { panic!("one problem") };
            assert!(problem.reason.contains(&words), "{problem:?}");
            assert_eq!((problem.kind, &*problem.key), (ProblemKind::Turn, &*turn.to_string()));
            assert_eq!(problem.concern, Concern::Turn { ids: vec![turn], names: vec![name("a")] });
            if n > 0 {
                drop(store);
                store = open(dir.path());
            }
        }
        assert_eq!(store.turn(TurnId::new()).await.unwrap(), None, "an unknown one is unknown");
    }
}

#[tokio::test]
async fn whose_a_turn_is_is_told_also_where_that_is_what_was_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (store, NewTurn { turn, .. }) = damaged(dir.path(), true).await;
    drop(store);
    let file = dir.path().join("treewarden.db");
    let mut bytes = fs::read(&file).unwrap();
    // The name in the row stands between the id of the turn and that of the conversation.
    let at =
        bytes.windows(17).position(|window| window[..16] == *turn.as_uuid().as_bytes() && window[16] == b'a');
    bytes[at.unwrap() + 16] = b'c';
    fs::write(&file, bytes).unwrap();
    let store = open(dir.path());
    let [problem] = &*problems(&store).await else { panic!("one problem") };
    assert_eq!(problem.concern.names(), [name("a")], "{problem:?}");
}

#[tokio::test]
async fn what_is_found_while_the_store_is_open_rings_and_so_does_what_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut bell = store.bell();
    let (read, written) = (new_turn("a"), new_turn("a"));
    for turn in [&read, &written] {
        store.open(turn.clone()).await.unwrap();
    }
    assert!(!bell.has_changed().unwrap());
    sql(dir.path(), "UPDATE turns SET prompt = '\"another\"'");
    // By a reader, by the writer, and where lines that are gone are no row that could be set aside.
    store.turn(read.turn).await.unwrap_err();
    assert!(bell.has_changed().unwrap());
    bell.mark_unchanged();
    store.commit(tenure(&store, "a").await, settles(written.turn, "1")).await.unwrap();
    assert!(bell.has_changed().unwrap());
    bell.mark_unchanged();
    sql(dir.path(), "UPDATE names SET seq = 77 WHERE name = 'a'");
    assert!(matches!(store.record(name("a")).await.unwrap(), Told::Lost { .. }));
    assert!(bell.has_changed().unwrap());
    assert_eq!(problems(&store).await.len(), 3);
    bell.mark_unchanged();
    store.forgive_lost().await.unwrap();
    assert!(bell.has_changed().unwrap());
    assert_eq!(problems(&store).await, []);
    bell.mark_unchanged();
    drop(store);
    assert!(bell.changed().await.is_err(), "nobody waits for a store that is gone");
}

#[tokio::test]
async fn damage_that_cannot_be_set_aside_is_told_as_long_as_the_store_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let turn = new_turn("a");
    store.open(turn.clone()).await.unwrap();
    let bell = store.bell();
    // Nothing can be put into the quarantine.
    sql(
        dir.path(),
        "CREATE TRIGGER refuse BEFORE INSERT ON quarantine BEGIN SELECT RAISE(FAIL, 'the disk is odd'); END;
         UPDATE turns SET prompt = '\"another\"'",
    );
    let error = store.turn(turn.turn).await.unwrap_err();
    assert!(error.kind() == StoreErrorKind::Corrupt && error.to_string().contains("is damaged"), "{error}");
    assert!(bell.has_changed().unwrap());
    let [problem] = &*problems(&store).await else { panic!("one problem") };
    assert!(
        problem.reason.contains("nor set aside") && problem.reason.contains("the disk is odd"),
        "{problem:?}"
    );
    store.turn(turn.turn).await.unwrap_err();
    assert_eq!(problems(&store).await.len(), 1, "it is told once");
}

#[tokio::test]
async fn a_problem_of_a_turn_is_over_when_its_session_begins_anew_or_the_row_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, turn) = damaged(dir.path(), true).await;
    store.turn(turn.turn).await.unwrap_err();
    // Told or not, and whatever else is stored of the session.
    tell(&store).await;
    let Told::Record(mut kept) = store.record(name("a")).await.unwrap() else { panic!("it is there") };
    kept.model = Some("another".to_owned());
    let tenure = store.commit(tenure(&store, "a").await, of_record(&kept)).await.unwrap().next;
    drop(store);
    let store = open(dir.path());
    assert_eq!(problems(&store).await.len(), 1);
    assert!(!problems(&store).await[0].is_new, "it was told");
    store.commit(tenure, of_record(&record("a"))).await.unwrap();
    assert_eq!(problems(&store).await, []);
    store.turn(turn.turn).await.unwrap_err();
    // What is damaged after that is told again.
    let next = new_turn("a");
    store.open(next.clone()).await.unwrap();
    sql(dir.path(), "UPDATE turns SET prompt = '\"another\"'");
    store.turn(next.turn).await.unwrap_err();
    assert_eq!(problems(&store).await.len(), 1);
    store.open(next.clone()).await.unwrap();
    assert_eq!(problems(&store).await, [], "a row of its id is there again");
    assert_eq!(held(&store, next.turn).await.prompt, "a prompt");
}

#[tokio::test]
async fn news_of_the_whole_store_are_told_by_one_host_and_a_loss_until_it_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    drop(store);
    // Whether the newest turns are there is not known: that is news, and nothing is lost.
    fs::write(dir.path().join("treewarden.commits"), "else").unwrap();
    let store = open(dir.path());
    assert_eq!(problems(&store).await[0].kind, ProblemKind::Older);
    drop(store);
    let store = open(dir.path());
    assert!(problems(&store).await[0].is_new, "nobody has told of it");
    tell(&store).await;
    assert_eq!(problems(&store).await.len(), 1, "whoever asks this host is told");
    drop(store);
    let store = open(dir.path());
    assert_eq!(problems(&store).await, [], "it was told");
    store.commit(tenure(&store, "a").await, of_record(&record("a"))).await.unwrap();
    drop(store);
    // A record goes with the database, which no lease names: what was lost is told until it is mended.
    fs::remove_file(dir.path().join("treewarden.db")).unwrap();
    for _ in 0..3 {
        let store = open(dir.path());
        assert_eq!(
            problems(&store).await.iter().map(|problem| problem.kind).collect::<Vec<_>>(),
            [ProblemKind::Removed]
        );
        tell(&store).await;
    }
    let store = open(dir.path());
    store.forgive_lost().await.unwrap();
    assert_eq!(problems(&store).await, []);
}

#[tokio::test]
async fn what_is_noted_after_the_notes_before_it_were_lost_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (store, turn) = damaged(dir.path(), true).await;
    store.turn(turn.turn).await.unwrap_err();
    tell(&store).await;
    store.forgive_lost().await.unwrap();
    sql(dir.path(), "DELETE FROM quarantine");
    let next = new_turn("a");
    store.open(next.clone()).await.unwrap();
    sql(dir.path(), "UPDATE turns SET prompt = '\"another\"'");
    store.turn(next.turn).await.unwrap_err();
    assert_eq!(problems(&store).await.len(), 1);
    drop(store);
    assert!(problems(&open(dir.path())).await[0].is_new);
}
