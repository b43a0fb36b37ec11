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
