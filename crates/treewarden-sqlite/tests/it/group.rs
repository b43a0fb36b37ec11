//! Callers at one time share a commit, and its sync.

use rusqlite::Connection;
use treewarden_sqlite::SqliteStore;
use treewarden_store::Backend;

use crate::support::{commits, new_turn, options};

#[tokio::test]
async fn what_waits_at_one_time_is_stored_by_one_commit() {
    for durability in ["process", "power"] {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path(), options(durability)).unwrap();
        store.open(new_turn("a")).await.unwrap();
        let before = commits(dir.path());
        let lock = Connection::open(dir.path().join("treewarden.db")).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let callers: Vec<_> = (0..64)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { store.open(new_turn(&format!("session-{n}"))).await })
            })
            .collect();
        // All of them have asked then: this thread runs some dozens of tasks, and then us.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        drop(lock);
        for caller in callers {
            caller.await.unwrap().unwrap();
        }
        // Those that the writer found first, and all that waited behind them.
        assert!(commits(dir.path()) - before <= 2, "64 callers share two commits");
    }
}
