//! A full disk is a kind of its own, and the store goes on when there is room again.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::path::Path;
use std::process::Command;

use support::{my_role, name};
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{Durability, Store, StoreErrorKind, StoreOptions, TurnRow};

fn row(prompt: String) -> TurnRow {
    TurnRow::new(TurnId::new(), name("a"), SessionId::random(), prompt.into(), false)
}

fn fill(dir: &Path, durability: Durability) {
    let store = Store::open(dir, StoreOptions::default().durability(durability)).unwrap();
    let mut stored = Vec::new();
    let error = loop {
        assert!(stored.len() < 1000, "4 MiB do not hold this");
        let row = row("x".repeat(20_000));
        match store.open_turn(&row) {
            Ok(()) => stored.push(row.turn),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{error}");
    assert!(!stored.is_empty());
    // What was acknowledged stands, and what was refused does not.
    assert_eq!(store.turns(&name("a"), 1000).unwrap().len(), stored.len());
    std::fs::remove_file(dir.join("ballast")).unwrap();
    store.open_turn(&row("x".repeat(20_000))).unwrap();
    drop(store);
    let store = Store::open(dir, StoreOptions::default()).unwrap();
    assert_eq!(store.turns(&name("a"), 1000).unwrap().len(), stored.len() + 1);
    assert_eq!(store.problems().unwrap(), []);
}

/// Opens a directory without an id, and then without room for one.
fn open_without_room_for_an_id(dir: &Path) {
    // It stays open: with no page left SQLite makes none of its files anew.
    let _first = Store::open(dir, StoreOptions::default()).unwrap();
    std::fs::remove_file(dir.join("host-id")).unwrap();
    let mut ballast = std::fs::File::create(dir.join("ballast")).unwrap();
    while std::io::Write::write_all(&mut ballast, &[0; 4096]).is_ok() {}
    let store = Store::open(dir, StoreOptions::default()).expect("what is there can be read");
    assert_eq!(store.host_id(), None);
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("host-id")).collect();
    assert!(left.is_empty(), "{left:?} would be left by each opening");
}

/// Runs in a mount namespace of its own.
#[test]
#[ignore = "a role of other tests"]
fn role_fill() {
    let Some((dir, _)) = my_role() else { return };
    for (sub, durability) in [("process", Durability::Process), ("power", Durability::Power)] {
        let dir = dir.join(sub);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("ballast"), vec![0; 1 << 20]).unwrap();
        fill(&dir, durability);
        std::fs::remove_dir_all(&dir).unwrap();
    }
    let dir = dir.join("id");
    std::fs::create_dir(&dir).unwrap();
    open_without_room_for_an_id(&dir);
}

#[test]
fn a_full_disk_refuses_turns_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, "sh"]).arg(dir.path());
        command
    };
    let mount = "mount -t tmpfs -o size=4m none \"$1\"";
    if !inside(mount).status().is_ok_and(|status| status.success()) {
        println!("skipped: no mount namespace can be made here");
        return;
    }
    let status =
        inside(&format!("{mount} && ROLE_DIR=\"$1\" ROLE_ARGUMENT= exec \"$2\" role_fill --exact --ignored"))
            .arg(std::env::current_exe().unwrap())
            .status()
            .unwrap();
    assert!(status.success());
}
