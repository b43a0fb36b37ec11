//! The verb `events`: numbers and places, going on from a position, and what it costs the daemon.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{World, eventually};

/// The events that the verb prints.
fn events(world: &World, args: &[&str]) -> Vec<Value> {
    let output = world.run(&[&["events", "--json"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("the command prints text");
    lines.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().filter_map(|event| event["seq"].as_u64()).collect()
}

fn position(event: &Value) -> String {
    format!("{}:{}", event["boot"].as_str().expect("a boot"), event["seq"])
}

#[test]
fn events_have_numbers_without_a_hole_and_a_place_in_the_tree() {
    let children = "[[child]]\nname = \"a\"\n[[child]]\nname = \"team\"\ntype = \"supervisor\"\n\
                    [[child.child]]\nname = \"b\"\n";
    let world = World::with(children);
    let _daemon = world.daemon();
    world.json(&["ask", "b", "hello", "--json"]);
    let all = events(&world, &[]);
    assert_eq!(seqs(&all), (1..=all.len() as u64).collect::<Vec<_>>());
    for event in &all {
        assert!(event["boot"].is_string() && event["at"].is_u64() && event["event"].is_string(), "{event}");
        let place = match event["name"].as_str() {
            Some(_) => "team/b",
            None => event["supervisor"].as_str().expect("a supervisor"),
        };
        assert_eq!(event["path"], place, "{event}");
    }
    assert!(all.iter().any(|event| event["event"] == "turn_settled"));
    let progress = all.iter().find(|event| event["child"] == "b").expect("its start is told");
    assert_eq!((&progress["path"], &progress["reason"]), (&json!("team"), &Value::Null));
}

#[test]
fn whoever_comes_back_with_a_position_gets_what_followed() {
    let world = World::new();
    let _daemon = world.daemon();
    world.json(&["ask", "a", "hello", "--json"]);
    let all = events(&world, &[]);
    let seen = &all[all.len() / 2];
    let rest = events(&world, &["--since", &position(seen)]);
    let after = seen["seq"].as_u64().expect("a number") + 1;
    assert_eq!(seqs(&rest), (after..after + rest.len() as u64).collect::<Vec<_>>());
    assert!(rest.len() >= all.len() - all.len() / 2 - 1);
    assert!(rest.iter().all(|event| event["event"] != "missed"), "{rest:?}");
}

#[test]
fn whoever_comes_from_another_daemon_is_told_that_something_may_be_missing() {
    let world = World::new();
    let daemon = world.daemon();
    world.json(&["ask", "a", "hello", "--json"]);
    let last = position(events(&world, &[]).last().expect("something happened"));
    drop(daemon);
    let _daemon = world.daemon();
    let all = events(&world, &["--since", &last]);
    assert_eq!((&all[0]["event"], &all[0]["events"]), (&json!("missed"), &Value::Null), "{all:?}");
    assert_eq!(all[0].get("seq"), None, "a gap has no number");
    assert_eq!(seqs(&all)[0], 1, "then comes all that there is");
    assert!(events(&world, &[]).iter().all(|event| event["event"] != "missed"), "and nobody else is told");
}

#[test]
fn a_position_that_is_yet_to_come_is_told_as_that_and_in_words() {
    let world = World::new();
    let _daemon = world.daemon();
    world.json(&["ask", "a", "hello", "--json"]);
    let last = events(&world, &[]).pop().expect("something happened");
    let to_come = format!("{}:{}", last["boot"].as_str().expect("a boot"), 1_000_000);
    let gap = events(&world, &["--since", &to_come]).swap_remove(0);
    assert_eq!(
        (&gap["event"], &gap["events"], &gap["why"]),
        (&json!("missed"), &Value::Null, &json!("not_given")),
        "{gap}"
    );
    let said = world.run(&["events", "--since", &to_come]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let first = said.lines().next().expect("a line");
    assert!(first.contains("has not happened yet") && !first.contains("another life"), "{first}");
    let elsewhere = world.run(&["events", "--since", "00c0ffee00c0ffee:1"]);
    let elsewhere = String::from_utf8_lossy(&elsewhere.stdout).into_owned();
    assert!(elsewhere.lines().next().is_some_and(|line| line.contains("another life")), "{elsewhere}");
}

#[test]
fn the_place_tells_apart_what_has_one_path() {
    let children = "[[child]]\nname = \"team\"\ntype = \"supervisor\"\n[[child.child]]\nname = \"b\"\n\
                    [[child]]\nname = \"team/b\"\n";
    let world = World::with(children);
    let _daemon = world.daemon();
    for name in ["b", "team/b"] {
        world.json(&["ask", name, "hello", "--json"]);
    }
    let all = events(&world, &[]);
    let place_of = |name: &str| {
        let event = all.iter().find(|event| event["name"] == name).expect("something happened to it");
        assert_eq!(event["path"], "team/b");
        event["place"].clone()
    };
    assert_eq!(place_of("b"), json!(["team", "b"]));
    assert_eq!(place_of("team/b"), json!(["team/b"]));
    let report = |of: &str| all.iter().find(|event| event["child"] == of).expect("its start is told");
    assert_eq!((&report("b")["place"], &report("team/b")["place"]), (&json!(["team"]), &json!([])));
}

#[test]
fn a_follower_that_nobody_reads_ends_though_nothing_happens() {
    let world = World::new();
    let _daemon = world.daemon();
    let mut follows = world
        .command(&["events", "--follow"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command can be run");
    let mut lines = BufReader::new(follows.stdout.take().expect("it is piped"));
    lines.read_line(&mut String::new()).expect("a line");
    drop(lines);
    let ended = eventually("it ends", || follows.try_wait().expect("it can be waited for"));
    assert!(ended.success(), "{ended}");
}

#[test]
fn what_is_no_position_is_a_fault_of_the_caller() {
    let world = World::new();
    let output = world.run(&["events", "--since", "yesterday"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("BOOT:SEQ") && said.contains("yesterday"), "{said}");
}

/// The memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc is readable");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the memory is told");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// 1,024 events were kept of any size, in two places: a CLI that prints large frames outside its turns took a GiB.
#[test]
fn large_frames_and_followers_that_read_nothing_take_little_memory_of_the_daemon() {
    let world = World::new();
    let daemon = world.daemon();
    world.json(&["ask", "a", "hello", "--json"]);
    let before = resident(daemon.pid());
    let followers: Vec<UnixStream> = (0..8)
        .map(|_| {
            let mut stream = UnixStream::connect(world.socket()).expect("the daemon listens");
            writeln!(stream, "{}", json!({ "op": "events", "follow": true })).expect("it reads");
            stream
        })
        .collect();
    // Of the first, only kind and length are kept; of the others, as many as fit.
    for prompt in ["STRAY=300:1048576", "STRAY=400:200000"] {
        world.json(&["ask", "a", prompt, "--json"]);
    }
    let grown = resident(daemon.pid()).saturating_sub(before);
    assert!(grown < 96 << 10, "the daemon has {grown} KiB more");
    let all = events(&world, &[]);
    let whole = all.iter().filter(|event| event["kind"] == "system" && event["frame"].is_object()).count();
    assert!((1..=45).contains(&whole), "{whole} frames of 200,000 bytes are kept, of 8 MiB");
    drop(followers);
}
