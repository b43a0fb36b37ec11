//! A daemon whose log nobody reads, and one that was started by whoever had other plans with its signals.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{World, eventually};

/// A pipe that holds a page, both ends.
fn small_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("it can be made small");
    (reader, writer)
}

#[test]
fn a_log_that_nobody_empties_keeps_no_turn_and_no_end_waiting() {
    let world = World::new();
    let (reader, writer) = small_pipe();
    let mut daemon = world.daemon_with(world.command(&["--log", "trace"]), writer);
    for _ in 0..10 {
        let answer = world.json(&["ask", "a", "hello", "--json"]);
        assert_eq!(answer["outcome"], "completed", "{answer}");
    }
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
    // The pipe holds what came until it was full.
    let mut log = Vec::new();
    File::from(reader).read_to_end(&mut log).expect("its other end is closed");
    assert!(log.len() > 1024, "the daemon logged too little to fill it: {}", String::from_utf8_lossy(&log));
    world.nothing_is_left();
}

#[test]
fn a_log_whose_reader_is_gone_ends_nothing() {
    let world = World::new();
    let (reader, writer) = small_pipe();
    let mut daemon = world.daemon_with(world.command(&["--log", "debug"]), writer);
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed");
    drop(reader);
    let pid = world.session("a")["pid"].as_u64().expect("its CLI lives").to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().is_ok_and(|status| status.success()));
    eventually("the kill is seen", || (world.session("a")["restarts"] == 1).then_some(()));
    assert_eq!(world.json(&["ask", "a", "again", "--json"])["outcome"], "completed");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn a_daemon_that_was_started_with_its_signals_blocked_can_be_told_to_end() {
    let blocked = ["--block-signal=TERM", "--block-signal=INT", "--block-signal=HUP", "--block-signal=CHLD"];
    let can = Command::new("env").args(blocked).arg("true").stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("skipped: this system's `env` cannot block signals");
        return;
    }
    let world = World::new();
    let mut daemon = world.start_below("env", &blocked, &["run", "--state-dir", "state"]);
    eventually("the daemon listens", || std::os::unix::net::UnixStream::connect(world.socket()).ok());
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let world = World::new();
    let log = File::create(world.path("log")).expect("it can be made");
    let mut daemon = world.daemon_with(world.command(&["--log-format", "json"]), log);
    assert_eq!(world.json(&["ask", "a", "hello CRASH=delta:1 ONCE=1", "--json"])["outcome"], "completed");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
    let log = world.log();
    let events: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(log.lines().count(), events.len(), "every line is JSON: {log}");
    let up = events.iter().find(|event| event["message"] == "the tree is up").expect("it says so");
    assert_eq!((&up["level"], &up["sessions"]), (&"INFO".into(), &2.into()), "{up}");
    assert!(
        up["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')) && up["target"].is_string(),
        "{up}"
    );
}
