//! Many processes open one state directory at once, and are killed while they do: none is told that it is busy.

use std::sync::{Arc, Barrier};

use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{Backend, StoreErrorKind};

use crate::support::{Role, my_role, new_turn, open, options, say};

const PROCESSES: usize = 6;
const ROUNDS: usize = 15;

/// Opens the store, writes to it and closes it, again and again, and says each time that it could.
#[test]
#[ignore = "a role of other tests"]
fn role_opener() {
    let Some((dir, durability)) = my_role() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    loop {
        let store = SqliteStore::open(&dir, options(&durability)).unwrap();
        let turn = new_turn("opener");
        runtime.block_on(async {
            store.open(turn.clone()).await.unwrap();
            assert!(store.turn(turn.turn).await.unwrap().is_some(), "the database has what was just stored");
        });
        say("opened");
    }
}

#[tokio::test]
async fn processes_that_open_one_directory_and_are_killed_never_find_it_busy() {
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let kind = |n: usize| if (round + n).is_multiple_of(3) { "power" } else { "process" };
        let start = |n| Role::start("openings::role_opener", dir.path(), kind(n));
        let mut openers: Vec<_> = (0..PROCESSES).map(start).collect();
        // Each is killed wherever it is after its first openings, and another one comes in its place.
        for (n, opener) in openers.iter_mut().enumerate() {
            assert_eq!(opener.said(), "opened");
            let _said = std::mem::replace(opener, start(n)).kill();
        }
        openers.iter().for_each(|opener| assert_eq!(opener.said(), "opened"));
        openers.into_iter().for_each(|opener| drop(opener.kill()));
        assert_eq!(open(dir.path()).problems().await.unwrap(), []);
    }
}

#[test]
fn threads_that_make_one_store_at_once_never_find_it_busy() {
    for _ in 0..ROUNDS {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let go = Arc::new(Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let (dir, go) = (Arc::clone(&dir), Arc::clone(&go));
                std::thread::spawn(move || {
                    go.wait();
                    let durability = if n % 4 == 0 { "power" } else { "process" };
                    drop(SqliteStore::open(dir.path(), options(durability)).unwrap());
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_filesystem_where_sqlite_can_keep_no_log_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    // This layer of SQLite has no shared memory, as some network filesystems have none.
    let error = SqliteStore::open(dir.path(), SqliteOptions::default().vfs("unix-none")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other);
    for said in ["treewarden.db", "its filesystem cannot have the log that SQLite needs", "on a local disk"] {
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_a_kind_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let error = SqliteStore::open(&file.join("state"), SqliteOptions::default()).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other, "{error}");
    #[cfg(target_os = "linux")]
    {
        // Nobody may make anything there, the super-user neither.
        let error = SqliteStore::open(std::path::Path::new("/sys/kernel/state"), SqliteOptions::default());
        assert_eq!(error.as_ref().unwrap_err().kind(), StoreErrorKind::ReadOnly, "{error:?}");
    }
}
