//! Copies of a store: made while it is in use, opened, and put back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;
use treewarden_sqlite::{RestoreError, SqliteOptions, SqliteStore, restore};
use treewarden_store::{Backend, Change, NewTurn, StoreErrorKind, StoredTurn, Told};

use crate::support::{name, new_turn, of_record, open, record, settles, sql, tenure};

fn generation(dir: &Path) -> Vec<u8> {
    let db = Connection::open(dir.join("treewarden.db")).unwrap();
    db.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0)).unwrap()
}

/// A store with a record, an open turn and a settled one.
async fn used(dir: &Path) -> (SqliteStore, NewTurn, NewTurn) {
    let store = open(dir);
    let (waits, done) = (new_turn("a"), new_turn("a"));
    store.open(waits.clone()).await.unwrap();
    store.open(done.clone()).await.unwrap();
    let change = Change { record: Some(record("a")), ..settles(done.turn, r#"{"outcome":"completed"}"#) };
    store.commit(tenure(&store, "a").await, change).await.unwrap();
    (store, waits, done)
}

#[tokio::test]
async fn a_copy_opens_and_has_all_that_was_there() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, waits, done) = used(dir.path()).await;
    let to = place.path().join("below/copy");
    store.backup(to.clone()).await.unwrap();
    let later = new_turn("a");
    store.open(later.clone()).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&to), mode(&to.join("treewarden.db"))), (0o700, 0o600));
    let files: Vec<_> = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["treewarden.db"], "it is one file");
    let copy = open(&to);
    assert_eq!(copy.records().await.unwrap(), store.records().await.unwrap());
    assert_eq!(copy.turn(done.turn).await.unwrap(), store.turn(done.turn).await.unwrap());
    let open_turns = copy.open_turns(name("a")).await.unwrap();
    assert_eq!(open_turns.iter().map(|row| row.turn).collect::<Vec<_>>(), [waits.turn]);
    assert_eq!(copy.turn(later.turn).await.unwrap(), None);
    assert_eq!(copy.problems().await.unwrap(), []);
}

#[tokio::test]
async fn a_folder_that_is_used_takes_no_copy_and_stays_as_it_is() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    fs::write(place.path().join("of another"), "").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for to in [place.path(), dir.path()] {
        let error = store.backup(to.to_owned()).await.unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
    }
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o755);
    let error = store.backup(place.path().join("of another")).await.unwrap_err();
    assert!(error.to_string().contains("of another"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_are_stored_while_a_copy_is_made_and_each_copy_is_of_one_moment() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    let copies: Vec<_> = (0..4).map(|n| place.path().join(n.to_string())).collect();
    let making = tokio::spawn({
        let (store, copies) = (store.clone(), copies.clone());
        async move {
            for copy in copies {
                store.backup(copy).await.unwrap();
            }
        }
    });
    // Each commit counts one up in the record and settles its turn: a copy has both or neither.
    let mut held = tenure(&store, "b").await;
    let mut settled = 0_u64;
    while !making.is_finished() || settled < 20 {
        let turn = new_turn("b");
        store.open(turn.clone()).await.unwrap();
        settled += 1;
        let mut record = record("b");
        record.created_at = settled;
        let change = Change { record: Some(record), ..settles(turn.turn, "1") };
        held = store.commit(held, change).await.unwrap().next;
    }
    making.await.unwrap();
    for copy in copies {
        let copy = open(&copy);
        let count = match copy.record(name("b")).await.unwrap() {
            Told::Record(record) => record.created_at,
            _ => 0,
        };
        let turns = copy.turns(name("b"), 100_000).await.unwrap();
        assert_eq!(turns.iter().filter(|row| row.outcome.is_some()).count() as u64, count);
    }
}

#[tokio::test]
async fn a_copy_is_put_back_as_a_new_generation_and_what_was_there_is_set_aside() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, waits, done) = used(dir.path()).await;
    let copy = place.path().join("copy");
    store.backup(copy.clone()).await.unwrap();
    let later = new_turn("a");
    store.open(later.clone()).await.unwrap();
    store.commit(tenure(&store, "b").await, of_record(&record("b"))).await.unwrap();
    let error = restore(&copy, dir.path(), true).unwrap_err();
    assert!(matches!(error, RestoreError::InUse(_)), "{error}");
    drop(store);
    let error = restore(&copy, dir.path(), false).unwrap_err();
    assert!(matches!(error, RestoreError::Occupied(_)), "{error}");
    assert_eq!(open(dir.path()).records().await.unwrap().len(), 2, "nothing was changed");
    let before = generation(dir.path());
    let aside = restore(&copy, dir.path(), true).unwrap().unwrap();
    assert_ne!(generation(dir.path()), before);
    assert_eq!(generation(&copy), before);
    let store = open(dir.path());
    assert_eq!(store.records().await.unwrap().len(), 1);
    assert!(matches!(store.turn(done.turn).await.unwrap(), Some(StoredTurn::Held(_))));
    assert_eq!(store.turn(later.turn).await.unwrap(), None);
    // It goes on from there: the open turn is settled, and new ones come.
    let held = tenure(&store, "a").await;
    store.commit(held, settles(waits.turn, "1")).await.unwrap();
    store.open(new_turn("a")).await.unwrap();
    let old = open(&aside);
    assert_eq!(old.records().await.unwrap().len(), 2);
    assert!(old.turn(later.turn).await.unwrap().is_some());
    // Once more, and under another number.
    drop(store);
    assert_ne!(restore(&copy, dir.path(), true).unwrap().unwrap(), aside);
}

#[tokio::test]
async fn a_copy_is_put_into_a_directory_that_has_nothing() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    let (copy, to) = (place.path().join("copy"), place.path().join("below/new"));
    store.backup(copy.clone()).await.unwrap();
    assert_eq!(restore(&copy, &to, false).unwrap(), None);
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(open(&to).records().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_copy_is_not_put_back_and_what_is_there_stays() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    let copy = |name: &str| place.path().join(name);
    for name in ["newer", "older", "damaged", "cut"] {
        store.backup(copy(name)).await.unwrap();
    }
    drop(store);
    sql(&copy("newer"), "PRAGMA user_version = 99");
    sql(&copy("older"), "PRAGMA user_version = 3");
    let damaged = copy("damaged").join("treewarden.db");
    let mut bytes = fs::read(&damaged).unwrap();
    let page = bytes.len() / 2 / 4096 * 4096;
    bytes[page..page + 4096].fill(0xa5);
    fs::write(&damaged, bytes).unwrap();
    fs::write(copy("cut").join("treewarden.db"), "no database").unwrap();
    fs::create_dir(copy("empty")).unwrap();
    for name in ["newer", "older", "damaged", "cut", "empty", "nowhere"] {
        let error = restore(&copy(name), dir.path(), true).unwrap_err();
        assert!(matches!(error, RestoreError::Failed(_)), "{name}: {error}");
        if let (RestoreError::Failed(error), "newer") = (&error, name) {
            assert_eq!(error.kind(), StoreErrorKind::NewerSchema);
        }
        let files: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(files.iter().all(|file| !file.to_string_lossy().contains("restored")), "{name}: {files:?}");
    }
    let store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
    assert_eq!(store.records().await.unwrap().len(), 1);
    assert_eq!(store.problems().await.unwrap(), []);
}
