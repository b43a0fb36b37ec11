//! What was acknowledged survives SIGKILL; several processes share a store.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;

use treewarden_sqlite::SqliteStore;
use treewarden_store::{Backend, Change, CommitError, Committed, NewTurn, StoredTurn, TurnState};

use crate::support::{Role, held, my_role, name, new_turn, open, options, say, settles, tenure};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Commits as whoever holds the name: takes it again where another took it since.
async fn commit(store: &SqliteStore, session: &str, change: Change) -> Committed {
    loop {
        match store.commit(tenure(store, session).await, change.clone()).await {
            Err(CommitError::LeaseLost { .. }) => {}
            committed => return committed.unwrap(),
        }
    }
}

#[test]
#[ignore = "a role of other tests"]
fn role_writer() {
    let Some((dir, durability)) = my_role() else { return };
    let store = SqliteStore::open(&dir, options(&durability)).unwrap();
    let session = format!("writer-{}", std::process::id());
    block_on(async {
        let mut tenure = tenure(&store, &session).await;
        loop {
            let turn = new_turn(&session);
            store.open(turn.clone()).await.unwrap();
            say(&format!("opened {}", turn.turn));
            tenure =
                store.commit(tenure, settles(turn.turn, r#"{"outcome":"completed"}"#)).await.unwrap().next;
            say(&format!("settled {}", turn.turn));
        }
    });
}

/// Settles each turn that it is told of, with an outcome of its own, and says what that came to.
#[test]
#[ignore = "a role of other tests"]
fn role_settler() {
    let Some((dir, durability)) = my_role() else { return };
    let store = SqliteStore::open(&dir, options(&durability)).unwrap();
    let own = std::process::id().to_string();
    let turns = std::fs::read_to_string(dir.join("turns")).unwrap();
    say("ready");
    // Both begin at once.
    while !dir.join("go").exists() {
        std::thread::yield_now();
    }
    block_on(async {
        for turn in turns.lines() {
            let committed = commit(&store, "shared", settles(turn.parse().unwrap(), &own)).await;
            match committed.already.first() {
                None => say(&format!("{turn} now {own}")),
                Some((_, first)) => say(&format!("{turn} already {first}")),
            }
        }
    });
    say("done");
}

#[tokio::test]
async fn two_processes_that_settle_the_same_turns_agree_on_each() {
    for durability in ["process", "power"] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let opened: Vec<NewTurn> = (0..150).map(|_| new_turn("shared")).collect();
        let mut turns = String::new();
        for turn in &opened {
            store.open(turn.clone()).await.unwrap();
            turns.push_str(&format!("{}\n", turn.turn));
        }
        std::fs::write(dir.path().join("turns"), turns).unwrap();
        let start = || Role::start("kill::role_settler", dir.path(), durability);
        let settlers: Vec<_> = (0..2).map(|_| start()).collect();
        settlers.iter().for_each(|settler| assert_eq!(settler.said(), "ready"));
        std::fs::write(dir.path().join("go"), "").unwrap();
        let said: Vec<Vec<String>> = settlers
            .iter()
            .map(|settler| {
                std::iter::from_fn(|| Some(settler.said()).filter(|said| said != "done")).collect()
            })
            .collect();
        for (n, turn) in opened.iter().enumerate() {
            let both: Vec<Vec<&str>> = said.iter().map(|said| said[n].split(' ').collect()).collect();
            assert!(both.iter().all(|said| said[0] == turn.turn.to_string()));
            assert_eq!(both.iter().filter(|said| said[1] == "now").count(), 1, "{both:?}");
            assert_eq!(both[0][2], both[1][2], "both know the outcome that stands");
            assert_eq!(held(&store, turn.turn).await.outcome.unwrap().to_string(), both[0][2]);
        }
        settlers.into_iter().for_each(Role::finish);
    }
}

async fn check(durability: &str) {
    let dir = tempfile::tempdir().unwrap();
    let start = || Role::start("kill::role_writer", dir.path(), durability);
    let writers: Vec<_> = (0..2).map(|_| start()).collect();
    let mut said = Vec::new();
    for writer in &writers {
        said.extend((0..40).map(|_| writer.said()));
    }
    said.extend(writers.into_iter().flat_map(Role::kill));
    let store = SqliteStore::open(dir.path(), options(durability)).unwrap();
    let mut opened = HashSet::new();
    for line in said {
        let (what, turn) = line.split_once(' ').unwrap();
        let Some(StoredTurn::Held(row)) = store.turn(turn.parse().unwrap()).await.unwrap() else {
            panic!("{line}: was acknowledged and is not there")
        };
        assert!(what == "opened" || row.state == TurnState::Settled, "{line}: is {:?}", row.state);
        opened.insert(row.turn);
    }
    assert!(opened.len() >= 40);
    assert_eq!(store.problems().await.unwrap(), []);
}

#[tokio::test]
async fn every_turn_that_two_killed_processes_acknowledged_is_there() {
    check("process").await;
}

#[tokio::test]
async fn every_turn_that_two_killed_processes_acknowledged_is_there_with_power_durability() {
    check("power").await;
}

#[tokio::test]
async fn the_first_outcome_stands_in_two_stores_of_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = SqliteStore::open(dir.path(), options("process")).unwrap();
    let second = SqliteStore::open(dir.path(), options("power")).unwrap();
    let turn = new_turn("shared");
    first.open(turn.clone()).await.unwrap();
    let settled = commit(&second, "shared", settles(turn.turn, "1")).await;
    assert_eq!(settled.already, []);
    let again = commit(&first, "shared", settles(turn.turn, "2")).await;
    assert_eq!(again.already, [(turn.turn, "1".into())]);
}

#[tokio::test]
async fn the_state_is_closed_to_others_even_if_it_was_open() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    std::fs::write(dir.path().join("treewarden.db"), "").unwrap();
    for (path, open) in [(dir.path().to_owned(), 0o755), (dir.path().join("treewarden.db"), 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(open)).unwrap();
    }
    let store = open(dir.path());
    store.open(new_turn("one")).await.unwrap();
    assert_eq!(store.open_turns(name("one")).await.unwrap().len(), 1);
    assert_eq!(mode(dir.path()), 0o700);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
