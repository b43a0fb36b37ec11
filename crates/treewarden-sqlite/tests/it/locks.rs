//! Another program has the database's write lock.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{Backend, CommitError, OpenError, StoreErrorKind};

use crate::support::{name, new_turn, of_record, open, record, settles, tenure};

/// Has the write lock until it is dropped.
fn locked(dir: &Path) -> Connection {
    let db = Connection::open(dir.join("treewarden.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    db
}

#[tokio::test]
async fn whoever_waits_for_another_program_is_told_so_in_time_and_nothing_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let limits = SqliteOptions::default().limits(Duration::from_millis(600), Duration::from_secs(120));
    let store = SqliteStore::open(dir.path(), limits).unwrap();
    let tenure = tenure(&store, "a").await;
    let turn = new_turn("a");
    let lock = locked(dir.path());
    let (opened, committed) =
        tokio::join!(store.open(turn.clone()), store.commit(tenure.clone(), of_record(&record("a"))));
    let Err(OpenError::Failed(error)) = opened else { panic!("{opened:?}") };
    assert_eq!(error.kind(), StoreErrorKind::Busy);
    for said in ["treewarden.db", "another program keeps it locked for", "nothing was stored"] {
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(matches!(committed, Err(CommitError::Failed { retryable: true, .. })), "{committed:?}");
    // Whoever asks what is there waits for nobody.
    assert_eq!(store.turn(turn.turn).await.unwrap(), None);
    drop(lock);
    // The jobs that nobody waits for any more are never run.
    store.open(new_turn("b")).await.unwrap();
    assert_eq!(store.turns(name("a"), 9).await.unwrap(), []);
    store.open(turn.clone()).await.unwrap();
    let next = store.commit(tenure, of_record(&record("a"))).await.unwrap().next;
    store.commit(next, settles(turn.turn, "1")).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_ends_in_time_is_noticed_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let lock = locked(dir.path());
    let turn = new_turn("a");
    let opened = tokio::spawn({
        let (store, turn) = (store.clone(), turn.clone());
        async move { store.open(turn).await }
    });
    // Whoever reads goes on meanwhile; and by then the job waits.
    for _ in 0..50 {
        assert_eq!(store.turn(turn.turn).await.unwrap(), None);
    }
    drop(lock);
    opened.await.unwrap().unwrap();
}
