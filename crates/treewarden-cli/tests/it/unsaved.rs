//! `stop` of a session whose conversation is on no disk.

use std::fs;

use crate::support::{World, eventually};

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
