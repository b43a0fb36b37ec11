//! What was acknowledged survives SIGKILL; several processes share a store.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::collections::HashSet;

use serde_json::value::RawValue;
use support::{Role, my_role, name, say};
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{Durability, Settled, Store, StoreOptions, TurnRow, TurnState};

fn options(durability: &str) -> StoreOptions {
    let power = durability == "power";
    StoreOptions::default().durability(if power { Durability::Power } else { Durability::Process })
}

fn row(session: &str) -> TurnRow {
    TurnRow::new(TurnId::new(), name(session), SessionId::random(), "a prompt".into(), false)
}

#[test]
#[ignore = "a role of other tests"]
fn role_writer() {
    let Some((dir, durability)) = my_role() else { return };
    let store = Store::open(&dir, options(&durability)).unwrap();
    let outcome = RawValue::from_string(r#"{"outcome":"completed"}"#.into()).unwrap();
    let session = format!("writer-{}", std::process::id());
    loop {
        let row = row(&session);
        store.open_turn(&row).unwrap();
        say(&format!("opened {}", row.turn));
        store.settle(row.turn, &outcome).unwrap();
        say(&format!("settled {}", row.turn));
    }
}

/// Settles each turn that it is told of, with an outcome of its own, and says what that came to.
#[test]
#[ignore = "a role of other tests"]
fn role_settler() {
    let Some((dir, durability)) = my_role() else { return };
    let store = Store::open(&dir, options(&durability)).unwrap();
    let own = std::process::id().to_string();
    let turns = std::fs::read_to_string(dir.join("turns")).unwrap();
    say("ready");
    // Both begin at once.
    while !dir.join("go").exists() {
        std::thread::yield_now();
    }
    for turn in turns.lines() {
        let outcome = RawValue::from_string(own.clone()).unwrap();
        match store.settle(turn.parse().unwrap(), &outcome).unwrap() {
            Settled::Now => say(&format!("{turn} now {own}")),
            Settled::Already(first) => say(&format!("{turn} already {first}")),
        }
    }
    say("done");
}

#[test]
fn two_processes_that_settle_the_same_turns_agree_on_each() {
    for durability in ["process", "power"] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), options("process")).unwrap();
        let rows: Vec<TurnRow> = (0..300).map(|_| row("shared")).collect();
        let mut turns = String::new();
        for row in &rows {
            store.open_turn(row).unwrap();
            turns.push_str(&format!("{}\n", row.turn));
        }
        std::fs::write(dir.path().join("turns"), turns).unwrap();
        let settlers: Vec<_> = (0..2).map(|_| Role::start("role_settler", dir.path(), durability)).collect();
        settlers.iter().for_each(|settler| assert_eq!(settler.said(), "ready"));
        std::fs::write(dir.path().join("go"), "").unwrap();
        let said: Vec<Vec<String>> = settlers
            .iter()
            .map(|settler| {
                std::iter::from_fn(|| Some(settler.said()).filter(|said| said != "done")).collect()
            })
            .collect();
        let mut winners = HashSet::new();
        for (n, row) in rows.iter().enumerate() {
            let both: Vec<Vec<&str>> = said.iter().map(|said| said[n].split(' ').collect()).collect();
            let turn = row.turn.to_string();
            assert!(both.iter().all(|said| said[0] == turn));
            assert_eq!(both.iter().filter(|said| said[1] == "now").count(), 1, "{both:?}");
            assert_eq!(both[0][2], both[1][2], "both know the outcome that stands");
            let stored = store.turn(row.turn).unwrap().unwrap().outcome.unwrap();
            assert_eq!(stored.to_string(), both[0][2]);
            winners.insert(both[0][2].to_owned());
        }
        assert!(!winners.is_empty() && winners.len() <= 2);
        settlers.into_iter().for_each(Role::finish);
    }
}

fn check(durability: &str) {
    let dir = tempfile::tempdir().unwrap();
    let writers: Vec<_> = (0..2).map(|_| Role::start("role_writer", dir.path(), durability)).collect();
    let mut said = Vec::new();
    for writer in &writers {
        said.extend((0..40).map(|_| writer.said()));
    }
    said.extend(writers.into_iter().flat_map(Role::kill));
    let store = Store::open(dir.path(), options(durability)).unwrap();
    let mut opened = HashSet::new();
    for line in said {
        let (what, turn) = line.split_once(' ').unwrap();
        let row = store.turn(turn.parse().unwrap()).unwrap();
        let row = row.unwrap_or_else(|| panic!("{line}: was acknowledged and is not there"));
        assert!(what == "opened" || row.state == TurnState::Settled, "{line}: is {:?}", row.state);
        opened.insert(row.turn);
    }
    assert!(opened.len() >= 40);
    assert_eq!(store.problems().unwrap(), []);
}

#[test]
fn every_turn_that_two_killed_processes_acknowledged_is_there() {
    check("process");
}

#[test]
fn every_turn_that_two_killed_processes_acknowledged_is_there_with_power_durability() {
    check("power");
}

#[test]
fn the_first_outcome_stands_in_two_stores_of_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path(), options("process")).unwrap();
    let second = Store::open(dir.path(), options("power")).unwrap();
    let row = row("shared");
    first.open_turn(&row).unwrap();
    let outcome = |text: &str| RawValue::from_string(text.into()).unwrap();
    assert!(matches!(second.settle(row.turn, &outcome("1")).unwrap(), Settled::Now));
    match first.settle(row.turn, &outcome("2")).unwrap() {
        Settled::Already(stands) => assert_eq!(stands.get(), "1"),
        Settled::Now => panic!("the turn was settled twice"),
    }
}

#[test]
fn the_state_is_closed_to_others_even_if_it_was_open() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    std::fs::write(dir.path().join("treewarden.db"), "").unwrap();
    for (path, open) in [(dir.path().to_owned(), 0o755), (dir.path().join("treewarden.db"), 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(open)).unwrap();
    }
    let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
    store.open_turn(&row("one")).unwrap();
    assert_eq!(mode(dir.path()), 0o700);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
