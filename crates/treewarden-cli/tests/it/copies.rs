//! Copies of what is kept: made beside a running tree and without one, and put back.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use treewarden::TurnId;
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{Backend, Change, Keep, NewTurn, Settle};

use crate::support::World;

#[track_caller]
fn is(world: &World, args: &[&str], code: i32, said: &str) {
    let output = world.run(args);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(text.contains(said), "{args:?}: {said:?} is not in {text}");
}

#[test]
fn a_running_tree_is_copied_and_the_copy_is_put_back_once_it_has_ended() {
    let world = World::new();
    let mut daemon = world.daemon();
    let before = world.json(&["ask", "a", "My name is Alice.", "--json"]);
    let copy = world.path("copy");
    is(&world, &["backup", "copy"], 0, "has a copy");
    is(&world, &["backup", "copy"], 1, "not empty");
    let after = world.json(&["ask", "a", "And I like tea.", "--json"]);
    is(&world, &["restore", "copy", "--state-dir", "state", "--force"], 6, "stop it first");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
    is(&world, &["restore", "copy", "--state-dir", "state"], 6, "with --force that is set aside");
    is(&world, &["restore", "nowhere", "--state-dir", "state", "--force"], 1, "nowhere");
    is(&world, &["restore", "copy", "--state-dir", "state", "--force"], 0, "is as it was");
    assert!(world.path("state/replaced-1/treewarden.db").exists());
    assert!(copy.join("treewarden.db").exists(), "the copy stays");

    let _daemon = world.daemon();
    let turn = |answer: &serde_json::Value| answer["turn"].as_str().expect("a turn").to_owned();
    assert_eq!(world.json(&["turn", &turn(&before), "--json"])["outcome"], "completed");
    is(&world, &["turn", &turn(&after)], 5, "no turn has the id");
    // The conversation goes on from its record and its transcript.
    let next = world.json(&["ask", "a", "What is my name?", "--json"]);
    assert_eq!(next["session_id"], before["session_id"]);
    assert_eq!(next["outcome"], "completed", "{next}");
}

#[test]
fn a_directory_without_a_tree_is_copied_and_one_that_has_nothing_is_not_made() {
    let world = World::new();
    is(&world, &["backup", "copy", "--state-dir", "state"], 1, "nothing that could be copied");
    assert!(!world.path("state").exists() && !world.path("copy").exists());
    // Whose directory the socket is of nobody says.
    is(&world, &["backup", "copy"], 4, "no tree listens");
    let mut daemon = world.daemon();
    let answer = world.json(&["ask", "a", "Hello!", "--json"]);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
    is(&world, &["backup", "copy", "--state-dir", "state"], 0, "has a copy");
    // It is put where nothing is, and a tree runs on it.
    is(&world, &["restore", "copy", "--state-dir", "another"], 0, "is as it was");
    fs::rename(world.path("state"), world.path("gone")).expect("renamed");
    fs::rename(world.path("another"), world.path("state")).expect("renamed");
    let _daemon = world.daemon();
    let turn = answer["turn"].as_str().expect("a turn");
    assert_eq!(world.json(&["turn", turn, "--json"])["outcome"], "completed");
    assert_eq!(world.session("a")["session_id"], answer["session_id"]);
}

#[test]
fn a_daemon_that_ends_in_order_has_all_it_stored_in_the_database_file_and_says_so_beside_it() {
    let world = World::new();
    // What holds the store may be a task that ends a moment after the tree: it takes some tries to meet that.
    for _ in 0..8 {
        let mut daemon = world.daemon();
        world.json(&["ask", "a", "Hello!", "--json"]);
        daemon.signal("-TERM");
        assert_eq!(daemon.wait(), Some(0));
        let witness = fs::read_to_string(world.path("state/treewarden.commits")).expect("it is there");
        assert!(witness.contains("state=done"), "{witness}");
        assert!(!world.path("state/treewarden.db-wal").exists(), "the log is in the file");
    }
}

#[test]
fn a_directory_of_an_earlier_version_is_not_carried_over_by_whoever_copies_it() {
    let world = World::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../treewarden-sqlite/tests/fixtures/schema-3");
    let state = world.path("state");
    fs::create_dir(&state).expect("made");
    for file in fs::read_dir(fixture).expect("the fixture is there").flatten() {
        if file.path().is_file() {
            fs::copy(file.path(), state.join(file.file_name())).expect("copied");
        }
    }
    is(&world, &["backup", "copy", "--state-dir", "state"], 1, "an earlier version");
    assert!(state.join("turns-5.log").exists() && !world.path("copy").exists());
}

#[test]
fn a_turn_that_was_removed_as_it_was_old_is_told_as_expired() {
    let world = World::new();
    let turn = TurnId::from_uuid("01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a UUID of 2023"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let state = world.path("state");
        let store = SqliteStore::open(&state, SqliteOptions::default()).expect("opened");
        let name: treewarden::SessionName = "a".parse().expect("a name");
        let (prompt, opened_at) = (r#""hello""#.into(), 1_688_000_000_000);
        let session_id = treewarden::SessionId::random();
        let new = NewTurn { turn, name: name.clone(), session_id, prompt, at_most_once: false, opened_at };
        store.open(new).await.expect("opened");
        let settle =
            Settle { turn, outcome: r#"{"outcome":"failed"}"#.into(), answered_in: None, at: opened_at };
        let tenure = store.take(name).await.expect("taken").tenure;
        store.commit(tenure, Change { settle: vec![settle], ..Change::default() }).await.expect("stored");
        assert_eq!(store.prune(Keep::default()).await.expect("pruned").turns, 1);
    });
    let _daemon = world.daemon();
    is(&world, &["turn", &turn.to_string()], 5, "has expired");
    is(&world, &["turn", &turn.to_string(), "--wait"], 5, "has expired");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    assert!(now > Duration::from_secs(1_700_000_000), "the clock is right");
    is(&world, &["turn", &TurnId::new().to_string()], 5, "no turn has the id");
}
