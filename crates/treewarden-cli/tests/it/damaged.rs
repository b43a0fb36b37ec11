//! What of the store is damaged or lost: told as what it is and whose, until it is mended.

use std::fs;

use serde_json::Value;

use super::support::{World, eventually};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Changes a text wherever it stands in the database of a tree that has ended.
fn damage(world: &World, from: &str, to: &str) {
    let path = world.path("state/treewarden.db");
    let mut bytes = fs::read(&path).expect("read");
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty() && from.len() == to.len(), "{from} is not there");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::write(path, bytes).expect("written");
}

fn store_problems(world: &World) -> Vec<Value> {
    of_kind(world, "store_problem")
}

fn of_kind(world: &World, kind: &str) -> Vec<Value> {
    let lines = text(&world.run(&["events", "--json"]).stdout);
    let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == kind).collect()
}

fn ps(world: &World) -> String {
    text(&world.run(&["ps"]).stdout)
}

/// Its row is read when somebody asks for it, and so it is found under the running daemon.
#[test]
fn a_damaged_turn_is_told_with_its_session_as_an_event_and_in_ps_until_the_session_is_cleared() {
    let world = World::new();
    let mut daemon = world.daemon();
    let turn = world.json(&["ask", "a", "PROMPT-7", "--json"])["turn"].as_str().expect("an id").to_owned();
    daemon.signal("-TERM");
    daemon.wait();
    damage(&world, "\"PROMPT-7\"", "\"PROMPX-7\"");
    let mut daemon = world.daemon();
    assert!(!ps(&world).contains("store:"), "{}", ps(&world));
    let words = format!("a turn of a (id {turn}) is damaged: its prompt and its outcome cannot be read");
    for verb in [&["turn", &turn][..], &["turn", "--wait", &turn], &["cancel", &turn]] {
        let asked = world.run(verb);
        let said = text(&asked.stderr);
        assert_eq!(asked.status.code(), Some(1), "{verb:?}: {said}");
        assert!(said.contains(&words), "{verb:?}: {said}");
    }
    assert!(ps(&world).contains(&format!("store: {words}")), "{}", ps(&world));
    assert!(ps(&world).contains("`treewarden clear a` ends this"), "{}", ps(&world));
    let event = eventually("it is an event", || store_problems(&world).pop());
    assert!(event["why"].as_str().is_some_and(|why| why.contains(&words)), "{event}");
    assert_eq!((event["name"].as_str(), event["kind"].as_str()), (Some("a"), Some("turn")), "{event}");
    // The next daemon shows it, and tells it no second time.
    daemon.signal("-TERM");
    daemon.wait();
    let _daemon = world.daemon();
    assert!(ps(&world).contains(&words), "{}", ps(&world));
    assert_eq!(world.run(&["turn", &turn]).status.code(), Some(1));
    world.run(&["clear", "a"]);
    assert!(!ps(&world).contains("store:"), "{}", ps(&world));
    assert_eq!(store_problems(&world), Vec::<Value>::new());
    let over = eventually("that it is over is an event", || of_kind(&world, "store_problem_over").pop());
    assert_eq!((over["name"].as_str(), over["kind"].as_str()), (Some("a"), Some("turn")), "{over}");
    assert_eq!(over["key"].as_str(), Some(&*turn), "{over}");
    assert_eq!(world.run(&["turn", &turn]).status.code(), Some(1), "it is no unknown turn for that");
}

#[test]
fn without_an_id_to_go_by_adopt_says_what_to_type_and_fails() {
    let world = World::new();
    let mut daemon = world.daemon();
    let id = world.json(&["ask", "a", "My name is Alice", "--json"])["session_id"].clone();
    let id = id.as_str().expect("an id");
    daemon.signal("-TERM");
    daemon.wait();
    // All that would say which names there were, and which conversations.
    for gone in ["state/treewarden.db", "state/leases"] {
        let path = world.path(gone);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.unwrap_or_else(|error| panic!("{gone}: {error}"));
    }
    let mut daemon = world.daemon();
    let adopted = world.run(&["adopt", "--all-lost"]);
    let said = text(&adopted.stderr);
    assert_eq!(adopted.status.code(), Some(1), "{said}");
    for words in ["a is lost still", "b is lost still", "`treewarden adopt a ID`", "`ID.jsonl`", "--all-lost"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let shown = ps(&world);
    assert!(shown.contains("`treewarden adopt a ID`") && shown.contains("`ID.jsonl`"), "{shown}");
    assert!(shown.contains("store:"), "{shown}");
    let adopted = world.run(&["adopt", "a", id]);
    assert!(adopted.status.success(), "{adopted:?}");
    assert_eq!(world.json(&["ask", "a", "what is my name", "--json"])["text"], "Your name is Alice.");
    // Until all is mended, over all starts, and no longer.
    daemon.signal("-TERM");
    daemon.wait();
    let mut daemon = world.daemon();
    assert!(ps(&world).contains("store:"), "{}", ps(&world));
    assert!(world.run(&["clear", "--all-lost"]).status.success());
    assert!(!ps(&world).contains("store:"), "{}", ps(&world));
    daemon.signal("-TERM");
    daemon.wait();
    let _daemon = world.daemon();
    assert!(!ps(&world).contains("store:"), "{}", ps(&world));
}

#[test]
fn where_the_id_is_known_ps_says_what_to_type_and_the_problem_is_over_when_that_was_done() {
    let world = World::with("[[child]]\nname = \"a\"\n");
    let mut daemon = world.daemon();
    let id = world.json(&["ask", "a", "My name is Alice", "--json"])["session_id"].clone();
    let id = id.as_str().expect("an id");
    daemon.signal("-TERM");
    daemon.wait();
    fs::remove_file(world.path("state/treewarden.db")).expect("removed");
    let mut daemon = world.daemon();
    let shown = ps(&world);
    assert!(shown.contains(&format!("`treewarden adopt a {id}`")) && shown.contains("store:"), "{shown}");
    assert!(world.run(&["adopt", "--all-lost"]).status.success());
    assert!(!ps(&world).contains("store:"), "{}", ps(&world));
    daemon.signal("-TERM");
    daemon.wait();
    let _daemon = world.daemon();
    assert!(!ps(&world).contains("store:"), "{}", ps(&world));
    assert_eq!(store_problems(&world), Vec::<Value>::new());
}

#[test]
fn of_damaged_rows_a_copy_is_made_that_says_so_and_of_whole_ones_nothing_is_said() {
    let world = World::new();
    let mut daemon = world.daemon();
    world.json(&["ask", "a", "PROMPT-7", "--json"]);
    let said = |args: &[&str]| {
        let output = world.run(args);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        said
    };
    assert!(!said(&["backup", "whole"]).contains("damaged"));
    daemon.signal("-TERM");
    daemon.wait();
    damage(&world, "\"PROMPT-7\"", "\"PROMPX-7\"");
    let words = "names and 1 of 1 turns are damaged";
    let without_a_tree = said(&["backup", "first", "--state-dir", "state"]);
    assert!(
        without_a_tree.contains("first has a copy") && without_a_tree.contains(words),
        "{without_a_tree}"
    );
    let _daemon = world.daemon();
    let of_a_tree = said(&["backup", "second"]);
    assert!(of_a_tree.contains("of the tree that runs") && of_a_tree.contains(words), "{of_a_tree}");
    let refused = text(&world.run(&["restore", "second", "--state-dir", "another"]).stderr);
    assert!(refused.contains(words) && refused.contains("a turn of a "), "it says whose: {refused}");
}
