//! Disks that are full, that cannot be written, that do not sync: nothing acknowledged is lost, and the rest is told.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]
#![allow(clippy::print_stdout, reason = "how much was tried is for whoever looks")]

mod support;

use std::ffi::c_int;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rusqlite::ffi;
use support::{folder, name, names, open, options, wait};
use treewarden_proto::{SessionId, TurnId};
use treewarden_sqlite::SqliteStore;
use treewarden_store::{
    Backend, Change, CommitError, Durability, NewTurn, OpenError, Settle, StoreError, StoreErrorKind,
};
use treewarden_store_faults::{Account, Chance, Layer, Op, Refused, Step, register, seed, steps};
use treewarden_testkit::role::my_role;

/// A disk that refuses from the n-th write, or the n-th sync, on.
#[derive(Debug, Default)]
struct Refusing {
    left: AtomicUsize,
    refuses: AtomicBool,
    syncs: bool,
    /// Once is enough: after that it is as before.
    once: bool,
}

impl Refusing {
    fn after(&self, n: usize) {
        self.left.store(n, Ordering::SeqCst);
        self.refuses.store(true, Ordering::SeqCst);
    }

    /// There is room again; tells whether anything was refused.
    fn ends(&self) -> bool {
        self.refuses.store(false, Ordering::SeqCst);
        self.left.load(Ordering::SeqCst) == 0
    }
}

impl Layer for Refusing {
    fn change(&self, op: Op, go: &mut dyn FnMut() -> c_int) -> c_int {
        let is_one = if self.syncs { matches!(op, Op::Sync { .. }) } else { matches!(op, Op::Write { .. }) };
        if is_one && self.refuses.load(Ordering::SeqCst) {
            if self.left.load(Ordering::SeqCst) == 0 {
                if self.once {
                    self.refuses.store(false, Ordering::SeqCst);
                }
                return if self.syncs { ffi::SQLITE_IOERR_FSYNC } else { ffi::SQLITE_FULL };
            }
            self.left.fetch_sub(1, Ordering::SeqCst);
        }
        go()
    }
}

/// What a refused step says, and whether it may have been done all the same.
fn told(refused: Refused) -> (StoreError, bool) {
    match refused {
        Refused::Commit(CommitError::Unknown(error)) => (error, true),
        Refused::Commit(CommitError::Failed { error, retryable }) => {
            assert!(retryable, "{error}");
            (error, false)
        }
        Refused::Store(error) | Refused::Open(OpenError::Failed(error)) => {
            let is_unknown = error.kind() == StoreErrorKind::Unknown;
            (error, is_unknown)
        }
        other => panic!("{other:?}"),
    }
}

/// Does each step again until it is done: the disk refuses from the n-th write on, until something was refused.
async fn insist(store: &SqliteStore, steps: &[Step], layer: &Refusing, at: usize) {
    let mut tenures = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        if let Err(refused) = step.run(store, &mut tenures).await {
            let (error, may_be_done) = told(refused);
            let expected = if layer.syncs { StoreErrorKind::Unknown } else { StoreErrorKind::DiskFull };
            assert_eq!(error.kind(), expected, "write {at}, step {n}: {error}");
            assert!(error.to_string().contains("treewarden.db"), "{error}");
            layer.ends();
            match step.run(store, &mut tenures).await {
                // The one that nobody knew of was stored.
                Err(Refused::Open(OpenError::Exists)) if may_be_done => {}
                again => again.unwrap_or_else(|refused| panic!("write {at}, step {n}: {refused:?}")),
            }
        }
    }
}

fn refuse_at_each(name: &str, durability: Durability, layer: Refusing, count: usize) {
    let mut chance = Chance::new(seed());
    let steps = steps(&names(), 40, &mut chance);
    let layer = Arc::new(layer);
    register(name, layer.clone());
    let (mut at, mut refused) = (0, 0);
    for _ in 0..count {
        let dir = folder();
        let store = SqliteStore::open(dir.path(), options(durability).vfs(name)).unwrap();
        layer.after(at);
        wait(insist(&store, &steps, &layer, at));
        refused += usize::from(layer.ends());
        drop(store);
        let store = open(dir.path(), durability).unwrap();
        let mut expected = Account::default();
        steps.iter().for_each(|step| expected.apply(step));
        let found = wait(Account::read(&store, &names())).unwrap();
        assert_eq!(found.difference(&expected), [""; 0], "write {at}");
        assert_eq!(wait(store.problems()).unwrap(), [], "write {at}");
        at += 1 + chance.below(4);
    }
    println!("{name}: refused at {refused} of {count} places, the last was {at}");
    assert!(refused * 2 > count);
}

#[test]
fn a_disk_that_is_full_at_any_write_refuses_in_words_and_loses_nothing() {
    refuse_at_each("full-process", Durability::Process, Refusing::default(), 40);
    refuse_at_each("full-power", Durability::Power, Refusing::default(), 25);
}

#[test]
fn a_sync_that_fails_is_told_as_unknown_and_the_same_asked_again_is_stored_once() {
    let layer = Refusing { syncs: true, once: true, ..Refusing::default() };
    refuse_at_each("syncs-power", Durability::Power, layer, 15);
}

fn new_turn(turn: TurnId, bytes: usize) -> NewTurn {
    let (name, session_id) = (name("a"), SessionId::random());
    let prompt = format!("\"{}\"", "x".repeat(bytes)).into();
    NewTurn { turn, name, session_id, prompt, at_most_once: false, opened_at: 1 }
}

fn settled(turn: TurnId, bytes: usize) -> Change {
    let outcome = format!("{{\"outcome\":\"completed\",\"text\":\"{}\"}}", "y".repeat(bytes)).into();
    Change { settle: vec![Settle { turn, outcome, answered_in: None, at: 2 }], ..Change::default() }
}

/// Fills the disk until nothing more goes, but for so many bytes.
fn fill(dir: &Path, but: usize) {
    let mut ballast = std::fs::File::create(dir.join("ballast")).unwrap();
    while ballast.write_all(&[0; 4096]).is_ok() {}
    let len = ballast.metadata().unwrap().len();
    ballast.set_len(len.saturating_sub(but as u64)).unwrap();
}

/// Turns until the disk is full; and a prompt that fits, whose outcome does not.
async fn on_a_small_disk(dir: &Path, durability: Durability) {
    let store = open(dir, durability).unwrap();
    let tenure = store.take(name("a")).await.unwrap().tenure;
    fill(dir, 1_000_000);
    let turn = TurnId::new();
    store.open(new_turn(turn, 300_000)).await.unwrap();
    let error = store.commit(tenure.clone(), settled(turn, 1_500_000)).await.unwrap_err();
    let CommitError::Failed { error, retryable: true } = error else { panic!("{error:?}") };
    assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    // What is smaller still goes.
    let mut stored = vec![TurnId::new()];
    store.open(new_turn(stored[0], 10)).await.unwrap();
    let error = loop {
        assert!(stored.len() < 1000, "so small a disk does not hold this");
        let turn = TurnId::new();
        match store.open(new_turn(turn, 20_000)).await {
            Ok(()) => stored.push(turn),
            Err(OpenError::Failed(error)) => break error,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{error}");
    // What was acknowledged stands, and what was refused does not.
    assert_eq!(store.turns(name("a"), 2000).await.unwrap().len(), stored.len() + 1);
    std::fs::remove_file(dir.join("ballast")).unwrap();
    let done = store.commit(tenure, settled(turn, 1_500_000)).await.unwrap();
    assert_eq!((done.already, done.unknown), (vec![], vec![]));
    drop(store);
    // On a disk without room for a page SQLite can make no log.
    fill(dir, 0);
    if let Err(error) = open(dir, durability) {
        assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{error}");
        assert!(error.to_string().contains("make room"), "{error}");
    }
    // With room for that, what is there can be read.
    fill(dir, 200_000);
    let store = open(dir, durability).unwrap_or_else(|error| panic!("what is there can be read: {error}"));
    let turns = store.turns(name("a"), 2000).await.unwrap();
    assert_eq!(turns.len(), stored.len() + 1);
    assert_eq!(turns.iter().filter(|row| row.outcome.is_some()).count(), 1);
    assert_eq!(store.problems().await.unwrap(), []);
}

fn mount(dir: &Path, how: &str) {
    let done = Command::new("mount").args(["-o", how]).arg(dir).status().unwrap();
    assert!(done.success(), "mount -o {how}");
}

/// A disk that becomes read-only under the store, and is so when it is opened.
async fn on_a_read_only_disk(dir: &Path) {
    let store = open(&dir.join("state"), Durability::Process).unwrap();
    let tenure = store.take(name("a")).await.unwrap().tenure;
    let turn = TurnId::new();
    store.open(new_turn(turn, 10)).await.unwrap();
    drop(store);
    mount(dir, "remount,ro");
    let error = open(&dir.join("state"), Durability::Process).unwrap_err();
    assert!(error.to_string().contains(&dir.join("state").display().to_string()), "{error}");
    assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
    mount(dir, "remount,rw");
    let store = open(&dir.join("state"), Durability::Process).unwrap();
    let done = store.commit(tenure, settled(turn, 10)).await.unwrap();
    assert_eq!((done.already, done.unknown), (vec![], vec![]));
}

/// Runs in a mount namespace of its own, in a folder that is a disk of 8 MiB.
#[test]
#[ignore = "a role of other tests"]
fn role_small_disk() {
    let Some((dir, _)) = my_role() else { return };
    for (sub, durability) in [("process", Durability::Process), ("power", Durability::Power)] {
        let dir = dir.join(sub);
        std::fs::create_dir(&dir).unwrap();
        wait(on_a_small_disk(&dir, durability));
        std::fs::remove_dir_all(&dir).unwrap();
    }
    wait(on_a_read_only_disk(&dir));
}

#[test]
fn a_small_disk_and_a_read_only_one_are_told_in_words_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, "sh"]).arg(dir.path());
        command
    };
    let mount = "mount -t tmpfs -o size=8m none \"$1\"";
    if !inside(mount).status().is_ok_and(|status| status.success()) {
        println!("skipped: no mount namespace can be made here");
        return;
    }
    let role = "ROLE_DIR=\"$1\" ROLE_ARGUMENT= exec \"$2\" role_small_disk --exact --ignored --nocapture";
    let exe = std::env::current_exe().unwrap();
    let status = inside(&format!("{mount} && {role}")).arg(exe).status().unwrap();
    assert!(status.success());
}
