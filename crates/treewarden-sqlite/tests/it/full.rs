//! A full disk is a kind of its own, and the store goes on when there is room again.

use std::path::Path;
use std::process::Command;

use treewarden_sqlite::SqliteStore;
use treewarden_store::{Backend, CommitError, NewTurn, OpenError, ProblemKind, StoreErrorKind};

use crate::support::{my_role, name, new_turn, options, settles, tenure};

fn large(session: &str) -> NewTurn {
    NewTurn { prompt: format!("\"{}\"", "x".repeat(20_000)).into(), ..new_turn(session) }
}

async fn fill(dir: &Path, durability: &str) {
    let store = SqliteStore::open(dir, options(durability)).unwrap();
    let tenure = tenure(&store, "a").await;
    let mut stored = Vec::new();
    let error = loop {
        assert!(stored.len() < 1000, "4 MiB do not hold this");
        let turn = large("a");
        match store.open(turn.clone()).await {
            Ok(()) => stored.push(turn.turn),
            Err(error) => break error,
        }
    };
    let OpenError::Failed(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert!(!stored.is_empty());
    // It is told to whoever looks after the machine, and not only to who asked, until a write is stored again.
    let told = store.problems().await.unwrap();
    assert_eq!(told.iter().map(|problem| problem.kind).collect::<Vec<_>>(), [ProblemKind::Unwritable]);
    assert!(told[0].reason.contains("make room") && told[0].ends().contains("next write"), "{told:?}");
    // What does not fit takes nothing along that does: together they are asked, and the small one has room.
    let huge = settles(stored[0], &format!("\"{}\"", "y".repeat(8 << 20)));
    let (failed, small) = tokio::join!(store.commit(tenure.clone(), huge), store.open(new_turn("b")));
    assert!(matches!(&failed, Err(CommitError::Failed { retryable: true, .. })), "{failed:?}");
    let small = usize::from(small.is_ok());
    // What was acknowledged stands, and what was refused does not.
    assert_eq!(store.turns(name("a"), 1000).await.unwrap().len(), stored.len());
    std::fs::remove_file(dir.join("ballast")).unwrap();
    store.open(large("a")).await.unwrap();
    store.commit(tenure, settles(stored[0], "1")).await.unwrap();
    // A write as large as the one that was refused has no room here; somebody may take note of it as well.
    store.forgive_lost().await.unwrap();
    assert_eq!(store.problems().await.unwrap(), []);
    drop(store);
    let store = SqliteStore::open(dir, options("process")).unwrap();
    assert_eq!(store.turns(name("a"), 1000).await.unwrap().len(), stored.len() + 1);
    assert_eq!(store.turns(name("b"), 1000).await.unwrap().len(), small);
    assert_eq!(store.problems().await.unwrap(), []);
}

/// Runs in a mount namespace of its own.
#[tokio::test]
#[ignore = "a role of other tests"]
async fn role_fill() {
    let Some((dir, _)) = my_role() else { return };
    for durability in ["process", "power"] {
        let dir = dir.join(durability);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("ballast"), vec![0; 1 << 20]).unwrap();
        fill(&dir, durability).await;
        std::fs::remove_dir_all(&dir).unwrap();
    }
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
    let run = "ROLE_DIR=\"$1\" ROLE_ARGUMENT= exec \"$2\" full::role_fill --exact --ignored";
    let status = inside(&format!("{mount} && {run}")).arg(std::env::current_exe().unwrap()).status().unwrap();
    assert!(status.success());
}

/// Runs under a limit of the size of files.
#[tokio::test]
#[ignore = "a role of other tests"]
async fn role_meet_the_limit() {
    let Some((dir, _)) = my_role() else { return };
    let store = SqliteStore::open(&dir, options("process")).unwrap();
    let mut turns = 0;
    let error = loop {
        assert!(turns < 1000, "200 kB do not hold this");
        turns += 1;
        if let Err(error) = store.open(large("a")).await {
            break error;
        }
    };
    let OpenError::Failed(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), StoreErrorKind::DiskFull, "{error}");
    let said = error.to_string();
    assert!(said.contains("os error 27") && said.contains("ulimit -f"), "{said}");
    assert!(!said.contains("make room") && !said.contains("the disk or the quota"), "{said}");
}

#[test]
fn a_limit_of_the_size_of_files_is_not_called_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes. A write beyond them is an error, and no signal.
    let limited = "trap '' XFSZ; ulimit -f 400; ROLE_DIR=\"$1\" ROLE_ARGUMENT= exec \"$2\" \
                   full::role_meet_the_limit --exact --ignored --nocapture";
    let mut command = Command::new("sh");
    command.args(["-c", limited, "sh"]).arg(dir.path()).arg(std::env::current_exe().unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

/// Runs in a mount namespace of its own.
#[tokio::test]
#[ignore = "a role of other tests"]
async fn role_use_every_inode() {
    let Some((dir, _)) = my_role() else { return };
    let state = dir.join("state");
    std::fs::create_dir(&state).unwrap();
    let full = (0..1000).find(|n| std::fs::File::create(dir.join(format!("f{n}"))).is_err());
    assert!(full.is_some(), "there are sixteen");
    let said = SqliteStore::open(&state, options("process")).unwrap_err().to_string();
    assert!(said.contains("os error 28") && said.contains("no inode left"), "{said}");
}

#[test]
fn a_filesystem_without_inodes_is_not_called_a_full_one() {
    let dir = tempfile::tempdir().unwrap();
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, "sh"]).arg(dir.path());
        command
    };
    let mount = "mount -t tmpfs -o size=4m,nr_inodes=16 none \"$1\"";
    if !inside(mount).status().is_ok_and(|status| status.success()) {
        println!("skipped: no mount namespace can be made here");
        return;
    }
    let run =
        "ROLE_DIR=\"$1\" ROLE_ARGUMENT= exec \"$2\" full::role_use_every_inode --exact --ignored --nocapture";
    let output = inside(&format!("{mount} && {run}")).arg(std::env::current_exe().unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
