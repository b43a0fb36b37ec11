//! Many processes open one state directory at once, and are killed while they do: none is told that it is busy.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::path::Path;
use std::sync::{Arc, Barrier};

use support::{Role, my_role, name, say};
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{Durability, Store, StoreError, StoreErrorKind, StoreOptions, TurnRow};

const PROCESSES: usize = 6;
const ROUNDS: usize = 15;

fn open(dir: &Path, power: bool) -> Store {
    let durability = if power { Durability::Power } else { Durability::Process };
    Store::open(dir, StoreOptions::default().durability(durability)).unwrap()
}

/// Asks again for as long as another process is at the database; whoever waits for the role has the deadline.
fn while_busy<T>(mut ask: impl FnMut() -> Result<T, StoreError>) -> T {
    loop {
        match ask() {
            Err(error) if error.kind() == StoreErrorKind::Busy => {}
            ended => return ended.unwrap(),
        }
    }
}

/// Opens the store, writes to it and closes it, again and again, and says each time that it could.
#[test]
#[ignore = "a role of other tests"]
fn role_opener() {
    let Some((dir, durability)) = my_role() else { return };
    loop {
        let store = open(&dir, durability == "power");
        let row = TurnRow::new(TurnId::new(), name("opener"), SessionId::random(), "a prompt".into(), false);
        // What is asked of a store that is open is `Busy` sooner: two seconds are short for a process that waits for its
        // share of the processor while it holds the lock.
        while_busy(|| store.open_turn(&row));
        assert!(while_busy(|| store.turn(row.turn)).is_some(), "the database has what was just stored");
        say("opened");
    }
}

#[test]
fn processes_that_open_one_directory_and_are_killed_never_find_it_busy() {
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let kind = |n: usize| if (round + n).is_multiple_of(3) { "power" } else { "process" };
        let mut openers: Vec<_> =
            (0..PROCESSES).map(|n| Role::start("role_opener", dir.path(), kind(n))).collect();
        // Each is killed wherever it is after its first openings, and another one comes in its place.
        for (n, opener) in openers.iter_mut().enumerate() {
            assert_eq!(opener.said(), "opened");
            let next = Role::start("role_opener", dir.path(), kind(n));
            let _said = std::mem::replace(opener, next).kill();
        }
        openers.iter().for_each(|opener| assert_eq!(opener.said(), "opened"));
        openers.into_iter().for_each(|opener| drop(opener.kill()));
        assert_eq!(open(dir.path(), false).problems().unwrap(), []);
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
                    drop(open(dir.path(), n % 4 == 0));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
