//! Copies of a block device under load: what ext4 really keeps when a machine's power is cut.
//!
//! It needs root, loop devices and ext4, and is no part of the gate: `just soak-store`.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::{lease, name, on_another_boot, open, wait};
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_sqlite::SqliteStore;
use treewarden_store::{
    Backend, Change, Durability, NewTurn, ProblemKind, SessionRecord, Settle, StoredTurn, Tenure, Told,
    TurnRow,
};
use treewarden_store_faults::{Chance, seed};
use treewarden_testkit::faults::{freeze, thaw};
use treewarden_testkit::role::{Role, my_role, say};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn durability(text: &str) -> Durability {
    if text == "power" { Durability::Power } else { Durability::Process }
}

fn run(command: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(command).args(arguments).output().map_err(|error| format!("{command}: {error}"))?;
    let words = || format!("{command} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(words()) }
}

async fn asked_and_answered(
    store: &SqliteStore,
    tenure: Tenure,
    number: usize,
    say: &mut impl FnMut(&str),
) -> Tenure {
    let (turn, name) = (TurnId::new(), tenure.name.clone());
    let prompt = format!("\"{number} {}\"", "p".repeat(300)).into();
    let session_id = SessionId::random();
    let new = NewTurn { turn, name, session_id, prompt, at_most_once: false, opened_at: 1 };
    store.open(new).await.unwrap();
    say(&format!("opened {turn}"));
    let outcome = format!("{{\"outcome\":\"completed\",\"text\":\"{number}\"}}").into();
    let change =
        Change { settle: vec![Settle { turn, outcome, answered_in: None, at: 2 }], ..Change::default() };
    let next = store.commit(tenure, change).await.unwrap().next;
    say(&format!("settled {turn}"));
    next
}

/// As a session does, whose lease is on the disk before anything is asked.
async fn begin(store: &SqliteStore, dir: &Path, name: SessionName) -> Tenure {
    let tenure = store.take(name.clone()).await.unwrap().tenure;
    let conversation = SessionId::random();
    lease(dir, &name, conversation);
    let record = Some(SessionRecord::new(name.clone(), conversation));
    let next = store.commit(tenure, Change { record, ..Change::default() }).await.unwrap().next;
    say(&format!("record {name}"));
    next
}

/// Four sessions that are asked and answered all the time, until the process is killed.
#[test]
#[ignore = "a role of other tests"]
fn role_load() {
    let Some((dir, argument)) = my_role() else { return };
    let store = std::sync::Arc::new(open(&dir, durability(&argument)).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for name in NAMES.map(name) {
            let (store, dir) = (std::sync::Arc::clone(&store), dir.clone());
            tasks.spawn(async move {
                let mut tenure = begin(&store, &dir, name).await;
                for number in 0.. {
                    tenure = asked_and_answered(&store, tenure, number, &mut say).await;
                    // The disk is small, and is to last for all copies.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        }
        tasks.join_next().await.unwrap().unwrap();
    });
}

/// The content of the device, once it stands still.
fn settled_copy(image: &Path) -> Option<Vec<u8>> {
    let mut last = fs::read(image).unwrap();
    for _ in 0..200 {
        let now = fs::read(image).unwrap();
        if now == last {
            return Some(now);
        }
        last = now;
    }
    None
}

/// Mounts a copy elsewhere, and looks at the store in it; returns how many acknowledgements it has not got.
fn look(copy: &[u8], at: &Path, said: &[String], durability: Durability) -> usize {
    let (image, mounted) = (at.join("copy"), at.join("copy.mounted"));
    fs::create_dir_all(&mounted).unwrap();
    fs::write(&image, copy).unwrap();
    let (image, mounted) = (image.to_str().unwrap(), mounted.to_str().unwrap());
    run("mount", &["-o", "loop", image, mounted]).unwrap();
    let state = PathBuf::from(mounted).join("state");
    on_another_boot(&state);
    let lost = wait(async {
        let store = open(&state, durability).unwrap();
        let mut lost = 0;
        let kinds: Vec<_> = store.problems().await.unwrap().iter().map(|problem| problem.kind).collect();
        if durability == Durability::Power {
            assert_eq!(kinds, []);
        } else {
            assert_eq!(kinds, [ProblemKind::Cut]);
        }
        for line in said {
            let (what, key) = line.split_once(' ').unwrap();
            let there = match what {
                "record" => {
                    let told = store.record(name(key)).await.unwrap();
                    assert_ne!(told, Told::Never, "{line}: a name that had a record begins blank");
                    matches!(told, Told::Record(_))
                }
                what => match store.turn(key.parse().unwrap()).await.unwrap() {
                    Some(StoredTurn::Held(row)) => what == "opened" || row.outcome.is_some(),
                    _ => false,
                },
            };
            assert!(there || durability == Durability::Process, "{line}: was acknowledged, and is lost");
            lost += usize::from(!there);
        }
        for name in NAMES.map(name) {
            let mut rows = store.turns(name.clone(), usize::MAX).await.unwrap();
            rows.reverse();
            is_a_prefix(&rows);
            // Later turns are opened and settled, and there after another opening.
            let mut turns = Vec::new();
            let mut tenure = store.take(name).await.unwrap().tenure;
            for number in 0..3 {
                tenure =
                    asked_and_answered(&store, tenure, number, &mut |line| turns.push(line.to_owned())).await;
            }
            let again = open(&state, durability).unwrap();
            for line in turns {
                let turn = line.split_once(' ').unwrap().1.parse().unwrap();
                let Some(StoredTurn::Held(row)) = again.turn(turn).await.unwrap() else {
                    panic!("{line}: lost later")
                };
                assert!(row.outcome.is_some(), "{line}");
            }
        }
        lost
    });
    run("umount", &[mounted]).unwrap();
    lost
}

/// The turns are those from the first on, each with its own answer; only the last may be open.
fn is_a_prefix(rows: &[TurnRow]) {
    for (n, row) in rows.iter().enumerate() {
        assert!(row.prompt.as_str().unwrap().starts_with(&format!("{n} ")), "turn {n} is missing");
        match &row.outcome {
            Some(outcome) => assert_eq!(outcome["text"], n.to_string()),
            None => assert_eq!(n + 1, rows.len(), "turn {n} is open and a later one is there"),
        }
    }
}

/// Runs in a mount namespace of its own, which takes its mounts and loop devices along when it ends.
#[test]
#[ignore = "a role of other tests"]
fn role_device() {
    let Some((dir, argument)) = my_role() else { return };
    let (kind, copies) = argument.split_once(' ').unwrap();
    let at = dir.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=1g", "none", at]).unwrap();
    let (image, mounted) = (dir.join("image"), dir.join("mounted"));
    fs::File::create(&image).unwrap().set_len(128 << 20).unwrap();
    fs::create_dir(&mounted).unwrap();
    run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]).unwrap();
    run("mount", &["-o", "loop", image.to_str().unwrap(), mounted.to_str().unwrap()]).unwrap();
    let load = Role::start("role_load", &mounted.join("state"), kind);
    let mut said = vec![load.said()];
    let mut chance = Chance::new(seed());
    let (mut table, mut looked) = (BTreeMap::<&str, usize>::new(), 0);
    for _ in 0..copies.parse().unwrap() {
        // Not to wait for anything: the instant is to be any.
        std::thread::sleep(Duration::from_millis(100 + chance.below(2000) as u64));
        freeze(load.pid()).unwrap();
        said.extend(load.said_up_to_now());
        let copy = settled_copy(&image);
        thaw(load.pid()).unwrap();
        let Some(copy) = copy else { continue };
        let lost = look(&copy, &dir, &said, durability(kind));
        looked += 1;
        *table.entry(if lost > 0 { "without a suffix" } else { "whole" }).or_default() += 1;
        println!("{kind}: {} acknowledged, {lost} of them lost", said.len());
        // The disk is small.
        if fs::metadata(mounted.join("state/treewarden.db")).unwrap().len() > 64 << 20 {
            break;
        }
    }
    drop(load);
    println!("{kind}: {looked} copies: {table:?}");
    assert!(looked > 0);
}

#[test]
#[ignore = "needs root, and takes minutes"]
fn soak_copies_of_a_block_device() {
    let copies = std::env::var("TREEWARDEN_SOAK").unwrap_or_else(|_| "20".to_owned());
    let dir = tempfile::tempdir().unwrap();
    if let Err(reason) = is_possible(dir.path()) {
        println!("skipped: {reason}");
        return;
    }
    for kind in ["process", "power"] {
        let status = Command::new("unshare")
            .arg("-m")
            .arg(std::env::current_exe().unwrap())
            .args(["role_device", "--exact", "--ignored", "--nocapture"])
            .env("ROLE_DIR", dir.path())
            .env("ROLE_ARGUMENT", format!("{kind} {copies}"))
            .status()
            .unwrap();
        assert!(status.success(), "{kind}");
    }
}

/// A file can be made a disk of ext4 here, and mounted where nobody else sees it.
fn is_possible(dir: &Path) -> Result<(), String> {
    let script = "truncate -s 16M \"$1/try\" && mkfs.ext4 -q -F \"$1/try\" && mkdir \"$1/try.m\" && \
                  mount -o loop \"$1/try\" \"$1/try.m\" && umount \"$1/try.m\" && rm -r \"$1/try\" \"$1/try.m\"";
    run("unshare", &["-m", "sh", "-c", script, "sh", dir.to_str().unwrap()])
}
