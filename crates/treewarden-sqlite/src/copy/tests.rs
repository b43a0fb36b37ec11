//! Copies that are killed at each step: what is left is taken for nothing that it is not.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use treewarden_proto::SessionName;
use treewarden_store::{Backend, Change, SessionRecord};

use super::{Restore, RestoreError, remove_left, restore};
use crate::{SqliteOptions, SqliteStore};

const KILL_AT: &str = "TREEWARDEN_TEST_KILL_AT_STEP";
const DIR: &str = "TREEWARDEN_TEST_COPY_OF";
const TO: &str = "TREEWARDEN_TEST_COPY_TO";

/// Kills this process at the step that it was told.
pub(super) fn step(name: &str) {
    if std::env::var(KILL_AT).is_ok_and(|at| at == name) {
        let _killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, SqliteOptions::default()).expect("opened")
}

/// Stores a record for each of the names.
fn with_records(dir: &Path, names: &[&str]) {
    let store = open(dir);
    for name in names {
        let name = SessionName::new(name).expect("a valid name");
        let record = SessionRecord::new(name.clone(), treewarden_proto::SessionId::random());
        block_on(async {
            let tenure = store.take(name).await.expect("taken").tenure;
            let change = Change { record: Some(record), ..Change::default() };
            store.commit(tenure, change).await.expect("stored");
        });
    }
}

fn names(dir: &Path) -> Vec<String> {
    let store = open(dir);
    assert_eq!(block_on(store.problems()).expect("read").iter().filter(|one| one.key.is_empty()).count(), 0);
    let mut names: Vec<_> =
        block_on(store.records()).expect("read").into_iter().map(|record| record.name.to_string()).collect();
    names.sort();
    names
}

/// What a process does that is killed: called by the tests below, in a process of its own.
#[test]
fn is_killed_at_a_step_of_a_copy() {
    let (Ok(dir), Ok(to)) = (std::env::var(DIR), std::env::var(TO)) else { return };
    if to.ends_with("copy") {
        drop(block_on(open(Path::new(&dir)).backup(PathBuf::from(to))));
    } else {
        drop(restore(Path::new(&dir), Path::new(&to), Restore { replace: true, damaged: false }));
    }
    panic!("it was to be killed");
}

#[track_caller]
fn kill_at(step: &str, dir: &Path, to: &Path) {
    let mut process = Command::new(std::env::current_exe().expect("a path"));
    process.args(["--exact", "copy::tests::is_killed_at_a_step_of_a_copy", "--nocapture"]);
    let ended = process.env(KILL_AT, step).env(DIR, dir).env(TO, to).output().expect("it ran");
    assert_eq!(ended.status.signal(), Some(9), "{step}: {ended:?}");
}

#[test]
fn a_backup_that_is_killed_at_any_step_leaves_a_whole_copy_or_what_restore_refuses_in_words() {
    let dir = tempfile::tempdir().expect("a folder");
    with_records(dir.path(), &["a", "b"]);
    for (step, said) in [
        ("folder", Some("no database in it")),
        ("begun", Some("begun and not finished")),
        ("copied", Some("begun and not finished")),
        ("named", None),
    ] {
        let place = tempfile::tempdir().expect("a folder");
        let (copy, into) = (place.path().join("copy"), place.path().join("into"));
        kill_at(step, dir.path(), &copy);
        let restored = restore(&copy, &into, Restore::default());
        match (said, restored) {
            (None, Ok(_)) => assert_eq!(names(&into), ["a", "b"]),
            (Some(said), Err(error @ RestoreError::Failed(_))) => {
                assert!(error.to_string().contains(said), "{step}: {error}");
            }
            (_, other) => panic!("{step}: {other:?}"),
        }
        // What is left is not mixed with another copy, and an empty folder is nobody's.
        match block_on(open(dir.path()).backup(copy)) {
            Ok(()) => assert_eq!(step, "folder"),
            Err(error) if step == "named" => assert!(error.to_string().contains("not empty"), "{error}"),
            Err(error) => assert!(error.to_string().contains("was not finished"), "{step}: {error}"),
        }
    }
    assert_eq!(names(dir.path()), ["a", "b"]);
}

#[test]
fn a_restore_that_is_killed_at_any_step_leaves_what_was_there_or_the_copy_and_the_next_one_ends_it() {
    let dir = tempfile::tempdir().expect("a folder");
    with_records(dir.path(), &["new"]);
    let copy = dir.path().join("the copy");
    block_on(open(dir.path()).backup(copy.clone())).expect("copied");
    for step in ["prepared", "logs", "aside", "named"] {
        let into = tempfile::tempdir().expect("a folder");
        with_records(into.path(), &["old"]);
        kill_at(step, &copy, into.path());
        let left = if step == "named" { ["new"] } else { ["old"] };
        assert_eq!(names(into.path()), left, "{step}");
        let restored =
            restore(&copy, into.path(), Restore { replace: true, damaged: false }).expect("restored");
        assert_eq!(names(into.path()), ["new"], "{step}");
        assert_eq!(names(&restored.aside.expect("it was set aside")), left, "{step}");
        let files: Vec<_> =
            fs::read_dir(into.path()).expect("listed").map(|file| file.expect("one").file_name()).collect();
        assert!(!files.iter().any(|file| file.to_string_lossy().contains("restored")), "{step}: {files:?}");
    }
}

#[test]
fn nothing_is_left_of_a_copy_that_is_not_finished() {
    let dir = tempfile::tempdir().expect("a folder");
    let names = ["treewarden.db", "treewarden.db-wal", "treewarden.db-shm", "treewarden.db-journal"];
    for name in names {
        fs::write(dir.path().join(name), "").expect("written");
    }
    remove_left(&dir.path().join("treewarden.db")).expect("removed");
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
}
