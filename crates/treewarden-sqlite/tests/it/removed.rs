//! What is removed under a running program: said before anything is stored in vain, and made anew where that is right.

use std::fs;

use treewarden_store::{Backend, CommitError, OpenError, StoreErrorKind, Told};

use crate::support::{Role, my_role, name, new_turn, of_record, open, record, say, tenure, wait_for_the_end};

#[tokio::test]
async fn nothing_is_stored_where_nobody_will_read_it() {
    for gone in ["treewarden.db", "treewarden.db-wal", "treewarden.db-shm", ""] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let store = open(&state);
        let tenure = tenure(&store, "a").await;
        if gone.is_empty() {
            fs::remove_dir_all(&state).unwrap();
        } else {
            fs::remove_file(state.join(gone)).unwrap();
        }
        let Err(OpenError::Failed(refused)) = store.open(new_turn("a")).await else { panic!("{gone}") };
        assert_eq!(refused.kind(), StoreErrorKind::Removed, "{refused}");
        assert!(
            refused.to_string().contains(gone) && refused.to_string().contains("start it again"),
            "{refused}"
        );
        let refused = store.commit(tenure, of_record(&record("a"))).await.unwrap_err();
        assert!(matches!(refused, CommitError::Failed { retryable: false, .. }), "{refused}");
        assert_eq!(store.look_again().unwrap_err().kind(), StoreErrorKind::Removed);
    }
}

#[tokio::test]
async fn the_log_is_looked_for_beside_the_file_itself_where_the_database_is_a_link() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(open(dir.path()));
    let (link, file) = (dir.path().join("treewarden.db"), disk.path().join("store.db"));
    fs::rename(&link, &file).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let store = open(dir.path());
    store.open(new_turn("a")).await.unwrap();
    assert_eq!(store.look_again().unwrap(), None);
    fs::remove_file(disk.path().join("store.db-wal")).unwrap();
    assert_eq!(store.look_again().unwrap_err().kind(), StoreErrorKind::Removed);
    assert!(matches!(store.open(new_turn("a")).await, Err(OpenError::Failed(_))));
}

#[tokio::test]
async fn a_state_directory_that_was_replaced_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let store = open(&state);
    assert_eq!(store.look_again().unwrap(), None);
    fs::remove_dir_all(&state).unwrap();
    let another = open(&state);
    assert_eq!(store.look_again().unwrap_err().kind(), StoreErrorKind::Removed);
    assert!(matches!(store.open(new_turn("a")).await, Err(OpenError::Failed(_))));
    assert_eq!(another.look_again().unwrap(), None);
    another.open(new_turn("a")).await.unwrap();
}

#[test]
fn a_lock_that_was_removed_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let lock = dir.path().join("treewarden.db.lock");
    fs::remove_file(&lock).unwrap();
    assert_eq!(store.look_again().unwrap(), Some(lock.clone()));
    assert_eq!(store.look_again().unwrap(), None);
    assert!(fs::File::open(&lock).unwrap().try_lock().is_err(), "others are kept from setting it aside");
}

#[test]
#[ignore = "a role of other tests"]
fn role_writer() {
    let Some((dir, _)) = my_role() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = open(&dir);
    runtime.block_on(async {
        store.commit(tenure(&store, "one").await, of_record(&record("one"))).await.unwrap();
    });
    fs::remove_file(dir.join("treewarden.db-wal")).unwrap();
    assert_eq!(store.look_again().unwrap_err().kind(), StoreErrorKind::Removed);
    say("looked");
    wait_for_the_end();
}

#[tokio::test]
async fn what_was_committed_to_a_log_that_was_removed_is_in_the_database_once_that_was_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let role = Role::start("removed::role_writer", dir.path(), "");
    assert_eq!(role.said(), "looked");
    role.kill();
    assert!(matches!(open(dir.path()).record(name("one")).await.unwrap(), Told::Record(_)));
}
