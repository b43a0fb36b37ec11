//! A daemon that is stopped for a while, as by a debugger, a freezer or Ctrl-Z: no CLI is killed for what the daemon did not see.

use std::time::{Duration, Instant};

use crate::support::{World, eventually};

/// The daemon is stopped for longer than any of its deadlines.
const PAUSE: Duration = Duration::from_secs(5);

#[test]
fn a_daemon_that_was_stopped_kills_no_cli_that_did_its_work_meanwhile() {
    let world = World::new();
    world.rewrite_all(
        "",
        "silence_timeout = \"2s\"\ntimeout = \"4s\"",
        "[[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\n",
    );
    let daemon = world.daemon();
    for name in ["a", "b"] {
        assert_eq!(world.json(&["ask", name, "hello", "--json"])["outcome"], "completed");
    }
    let before = [world.session("a"), world.session("b")];
    // One answers while nobody looks; the other has nothing to do.
    let asked = world
        .command(&["ask", "a", "hello STREAM=10:100", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn();
    let asked = asked.expect("it can be run");
    eventually("it is at work", || (world.session("a")["state"] == "busy").then_some(()));
    daemon.signal("-STOP");
    // Its clock is to be past every deadline, which nothing but time can do.
    let until = Instant::now() + PAUSE;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    daemon.signal("-CONT");
    let answer = asked.wait_with_output().expect("it ends").stdout;
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer["outcome"], "completed", "{answer}\n{}", world.log());
    assert_eq!(answer["interruptions"], 0, "{answer}");
    for before in before {
        let name = before["name"].as_str().expect("a name");
        assert_eq!(world.json(&["ask", name, "again", "--json"])["outcome"], "completed");
        let after = world.session(name);
        assert_eq!((&after["pid"], &after["restarts"]), (&before["pid"], &before["restarts"]), "{after}");
    }
}
