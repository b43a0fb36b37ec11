//! `stop` of a session whose conversation is on no disk.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{Daemon, World, eventually};

/// A world in which no CLI can write, and its daemon; `a` has had a turn, whose id comes with it.
fn unsaved(children: &str) -> (World, Daemon, String) {
    let world = World::with(children);
    fs::create_dir_all(world.path("home")).expect("a folder can be made");
    fs::write(world.path("home").join("projects"), "").expect("a file can be written");
    let daemon = world.daemon();
    let asked = world.json(&["ask", "a", "hello", "--json"]);
    let turn = asked["turn"].as_str().expect("a turn has an id").to_owned();
    (world, daemon, turn)
}

/// Runs a verb that is to be refused, and returns why.
fn refused(world: &World, args: &[&str]) -> String {
    let output = world.run(args);
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {why}");
    why
}

const ALONE: &str = "[[child]]\nname = \"a\"\n";
const BELOW: &str = "[[child]]\ntype = \"supervisor\"\nname = \"s\"\n[[child.child]]\nname = \"a\"\n";

#[test]
fn restart_refuses_to_lose_a_conversation_unless_it_is_forced() {
    let (world, mut daemon, turn) = unsaved(BELOW);
    // Nobody had to want to park it.
    let before =
        eventually("a is not saved", || Some(world.session("a")).filter(|a| a["unsaved"].is_string()));
    for name in ["a", "s"] {
        let why = refused(&world, &["restart", name]);
        assert!(why.contains(&turn) && why.contains("--force"), "{why}");
        assert_eq!(world.session("a")["pid"], before["pid"], "it goes on");
    }
    assert_eq!(world.run(&["restart", "s", "--force"]).status.code(), Some(0));
    assert_eq!(world.session("a")["pid"], serde_json::Value::Null);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn a_reload_refuses_to_lose_a_conversation_unless_it_is_forced() {
    let (world, mut daemon, turn) = unsaved(ALONE);
    let pid = world.session("a")["pid"].clone();
    // It goes; and it is to have another conversation.
    let other = "[[child]]\nname = \"a\"\nsession_id = \"5b7d3a52-0000-4000-8000-00000000000a\"\n";
    for children in ["[[child]]\nname = \"b\"\n", other] {
        world.rewrite(children);
        let why = refused(&world, &["reload"]);
        assert!(
            why.contains(&turn) && why.contains("nothing is changed") && why.contains("--force"),
            "{why}"
        );
        assert_eq!(world.session("a")["pid"], pid, "it goes on");
    }
    assert_eq!(world.run(&["reload", "--dry-run"]).status.code(), Some(0));
    assert_eq!(world.run(&["reload", "--force"]).status.code(), Some(0));
    assert_ne!(world.session("a")["pid"], pid);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn the_end_of_the_daemon_says_which_conversation_is_lost_with_it() {
    let (world, mut daemon, turn) = unsaved(ALONE);
    let mut events = world.command(&["events", "--follow", "--json"]);
    let mut events = events.stdout(Stdio::piped()).spawn().expect("the command can be run");
    // What was before the end is told first.
    let mut lines = BufReader::new(events.stdout.take().expect("it is piped")).lines();
    let first = lines.next().expect("a line").expect("text");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    events.wait().expect("it ends with the daemon");
    let told = [first]
        .iter()
        .chain(&rest)
        .filter(|line| line.contains("\"unsaved\""))
        .any(|line| line.contains(&turn));
    assert!(told, "{rest:?}");
    let log = world.log();
    let said =
        log.lines().any(|line| line.contains("whose conversation is not on disk") && line.contains(&turn));
    assert!(said, "{log}");
    world.nothing_is_left();
}

#[test]
fn stop_refuses_to_lose_a_conversation_unless_it_is_forced() {
    let world = World::with("[[child]]\nname = \"a\"\nidle_timeout = \"100ms\"\n");
    fs::create_dir_all(world.path("home")).expect("a folder can be made");
    fs::write(world.path("home").join("projects"), "").expect("a file can be written");
    let mut daemon = world.daemon();
    let asked = world.json(&["ask", "a", "hello", "--json"]);
    let turn = asked["turn"].as_str().expect("a turn has an id");
    let session =
        eventually("a is not saved", || Some(world.session("a")).filter(|a| a["unsaved"].is_string()));
    assert_eq!(session["state"], "ready", "{session}");
    let ps = world.run(&["ps"]);
    let ps = String::from_utf8_lossy(&ps.stdout);
    assert!(ps.contains("\na: not on disk, and so its CLI is not parked") && ps.contains(turn), "{ps}");
    let refused = world.run(&["stop", "a"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(why.contains(turn) && why.contains("would not be found at the next start"), "{why}");
    assert!(why.contains("--force"), "{why}");
    assert_eq!(world.session("a")["pid"], session["pid"], "it goes on");
    assert_eq!(world.run(&["stop", "a", "--force"]).status.code(), Some(0));
    assert_eq!(world.session("a")["state"], "stopped");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}
