//! Leases and the tree lock: one holder, in this process or another, and free when it dies.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use support::{Role, my_role, name, say, wait_for_the_end};
use treewarden_proto::SessionId;
use treewarden_store::{Held, Holder, Lease, LeaseError, TreeLock};

const ID: &str = "11111111-2222-4333-8444-555555555555";

fn id() -> SessionId {
    ID.parse().unwrap()
}

/// Takes the lease in the config directory `dir`, with a state directory of its own below it.
fn lease(dir: &Path, id: SessionId, who: &str) -> Result<Lease, LeaseError> {
    Lease::acquire(dir, &dir.join("state"), id, &Holder::this_process(&name(who)))
}

/// Who holds it.
fn held(error: LeaseError) -> Held {
    match error {
        LeaseError::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

/// Takes both locks, or says who holds the first that was refused.
fn both(dir: &Path, who: &str) -> Result<(Lease, TreeLock), Held> {
    let holder = Holder::this_process(&name(who));
    Ok((lease(dir, id(), who).map_err(held)?, TreeLock::acquire(dir, &holder)?))
}

#[test]
#[ignore = "a role of other tests"]
fn role_holder() {
    let Some((dir, who)) = my_role() else { return };
    match both(&dir, &who) {
        Ok(_locks) => {
            say("held");
            wait_for_the_end();
        }
        Err(held) => say(&format!("refused: {held}")),
    }
}

#[test]
fn a_lease_and_a_tree_lock_are_refused_in_the_same_process() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::this_process(&name("first"));
    let first = lease(dir.path(), id(), "first").unwrap();
    let tree = TreeLock::acquire(dir.path(), &holder).unwrap();
    let second = Holder::this_process(&name("second"));
    let refused = held(lease(dir.path(), id(), "second").unwrap_err());
    assert_eq!(refused.by.as_deref(), Some(&holder));
    assert_eq!(TreeLock::acquire(dir.path(), &second).unwrap_err().by.as_deref(), Some(&holder));
    drop(first);
    drop(tree);
    drop(both(dir.path(), "second").unwrap());
}

#[test]
fn leases_of_two_conversations_do_not_meet() {
    let dir = tempfile::tempdir().unwrap();
    let _first = lease(dir.path(), id(), "one").unwrap();
    drop(lease(dir.path(), SessionId::random(), "one").unwrap());
}

#[test]
fn another_process_is_refused_and_told_who_holds() {
    let dir = tempfile::tempdir().unwrap();
    let _locks = both(dir.path(), "here").unwrap();
    let other = Role::start("role_holder", dir.path(), "there");
    let said = other.said();
    let pid = std::process::id();
    assert!(said.starts_with(&format!("refused: here of process {pid} of user ")), "{said}");
}

#[test]
fn sigkill_of_the_holder_frees_its_locks() {
    let dir = tempfile::tempdir().unwrap();
    let other = Role::start("role_holder", dir.path(), "there");
    assert_eq!(other.said(), "held");
    let held = both(dir.path(), "here").unwrap_err();
    let by = held.by.expect("the holder can be read");
    assert_eq!(by.name, name("there"));
    if cfg!(target_os = "linux") {
        assert!(by.started > 0 && !by.host.is_empty());
    }
    assert_ne!(by.pid, std::process::id());
    other.kill();
    drop(both(dir.path(), "here").unwrap());
}

#[test]
fn a_child_process_does_not_keep_the_lock_of_its_dead_parent() {
    let dir = tempfile::tempdir().unwrap();
    let locks = both(dir.path(), "here").unwrap();
    // The role runs while this process holds the locks, and would keep them if the file were open in it.
    let other = Role::start("role_holder", dir.path(), "there");
    assert!(other.said().starts_with("refused"));
    drop(locks);
    drop(both(dir.path(), "again").unwrap());
}

#[test]
fn there_are_never_two_holders() {
    let dir = tempfile::tempdir().unwrap();
    let (threads, until) = (4, Instant::now() + Duration::from_millis(300));
    let barrier = Arc::new(Barrier::new(threads));
    let mark = dir.path().join("mark");
    let racers: Vec<_> = (0..threads)
        .map(|_| {
            let (dir, mark, barrier) = (dir.path().to_owned(), mark.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                let mut wins = 0;
                while Instant::now() < until {
                    if let Ok(_lock) = TreeLock::acquire(&dir, &Holder::this_process(&name("racer"))) {
                        // The mark is there exactly while somebody holds the lock.
                        std::fs::File::create_new(&mark).expect("nobody else holds the lock");
                        wins += 1;
                        std::fs::remove_file(&mark).unwrap();
                    }
                }
                wins
            })
        })
        .collect();
    let wins: u32 = racers.into_iter().map(|racer| racer.join().unwrap()).sum();
    assert!(wins > 0);
    assert!(dir.path().join("tree.lock").exists(), "the file stays, so that all lock the same one");
}

#[test]
fn a_lock_file_that_was_removed_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(both(dir.path(), "here").unwrap());
    std::fs::remove_file(dir.path().join("tree.lock")).unwrap();
    let _locks = both(dir.path(), "here").unwrap();
    let _held = both(dir.path(), "there").unwrap_err();
}

#[test]
fn a_lease_is_handed_over_and_one_of_no_conversation_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let id = SessionId::random();
    let file = dir.path().join(format!("treewarden/leases/{id}.lock"));
    let first = lease(dir.path(), id, "pool").unwrap();
    first.hand_over(&Holder::this_process(&name("assistant"))).unwrap();
    let refused = held(lease(dir.path(), id, "other").unwrap_err());
    assert_eq!(refused.by.expect("the holder is told").name, name("assistant"));
    first.forget();
    assert!(!file.exists());
    drop(lease(dir.path(), id, "other").expect("it is free"));
    assert!(file.exists());
}
