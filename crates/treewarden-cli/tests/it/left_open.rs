//! Turns that are still open when whoever asked hears no more of them: exit code 9, and how to go on.

use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::{World, eventually};

const ALONE: &str = "[[child]]\nname = \"a\"\n";
/// A turn that takes longer than any test.
const PROMPT: &str = "hello STREAM=1000000:50";

/// What became of an `ask` while whose turn runs something is done.
fn ask_during(world: &World, args: &[&str], done: impl FnOnce()) -> Output {
    let args = [&["ask", "a", PROMPT], args].concat();
    let asks =
        world.command(&args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let asks = asks.expect("it runs");
    world.when("a", "busy");
    done();
    asks.wait_with_output().expect("it ends")
}

/// The id of the turn that it says is open, and all that it says.
#[track_caller]
fn said_open(output: &Output) -> (String, String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(9), "{said}");
    let (_, rest) = said.split_once("`treewarden turn --wait ").unwrap_or_else(|| panic!("{said}"));
    (rest.split('`').next().expect("it ends").to_owned(), said)
}

/// The session works at the turn, and whoever waits for it gets its outcome.
#[track_caller]
fn goes_on(world: &World, turn: &str) {
    eventually("the turn runs", || (world.session("a")["turn"] == turn).then_some(()));
    assert_eq!(world.run(&["cancel", turn]).status.code(), Some(0));
    let settled = world.run(&["turn", turn, "--wait"]);
    assert_eq!(settled.status.code(), Some(7), "{}", String::from_utf8_lossy(&settled.stderr));
}

#[test]
fn an_ask_whose_daemon_ends_is_told_that_its_turn_is_open_and_how_to_wait_for_it() {
    let world = World::with(ALONE);
    let mut daemon = world.daemon();
    let output = ask_during(&world, &[], || daemon.signal("-TERM"));
    let (turn, said) = said_open(&output);
    assert!(said.contains("the tree was stopped: "), "{said}");
    assert!(said.contains("the turn stays open until its session is started again"), "{said}");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    assert_eq!(world.run(&["turn", &turn, "--wait"]).status.code(), Some(4), "nobody listens");
    let _daemon = world.daemon();
    goes_on(&world, &turn);
}

#[test]
fn an_ask_whose_daemon_is_killed_has_its_turn_all_the_same() {
    let world = World::with(ALONE);
    let mut daemon = world.daemon();
    let output = ask_during(&world, &["--stream"], || daemon.signal("-KILL"));
    let (turn, said) = said_open(&output);
    assert!(said.contains("the tree ended before it told how the turn came out"), "{said}");
    daemon.wait();
    let mut daemon = world.daemon();
    let waits = world.command(&["turn", &turn, "--wait", "--json"]).stdout(Stdio::piped()).spawn();
    let waits = waits.expect("it runs");
    world.when("a", "busy");
    daemon.signal("-KILL");
    let output = waits.wait_with_output().expect("it ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!((&report["turn"], &report["outcome"]), (&turn.as_str().into(), &Value::Null), "{report}");
    assert_eq!(output.status.code(), Some(9));
    daemon.wait();
    let _daemon = world.daemon();
    goes_on(&world, &turn);
}

#[test]
fn an_ask_whose_session_goes_with_a_reload_is_told_so_and_goes_on_when_the_session_is_back() {
    let world = World::with(ALONE);
    let _daemon = world.daemon();
    let output = ask_during(&world, &["--json"], || {
        world.rewrite("[[child]]\nname = \"b\"\n");
        assert_eq!(world.run(&["reload", "--force"]).status.code(), Some(0));
    });
    assert_eq!(output.status.code(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!((&report["outcome"], &report["name"]), (&Value::Null, &"a".into()), "{report}");
    assert!(report["message"].as_str().is_some_and(|why| why.contains("stays open")), "{report}");
    let turn = report["turn"].as_str().expect("a turn has an id");
    let (same, said) = said_open(&world.run(&["turn", turn, "--wait"]));
    assert!(same == turn && said.contains("the tree has no session \"a\""), "{said}");
    assert_eq!(world.run(&["turn", turn]).status.code(), Some(9));
    world.rewrite(ALONE);
    assert_eq!(world.run(&["reload"]).status.code(), Some(0));
    goes_on(&world, turn);
}

#[test]
fn an_ask_whose_session_is_stopped_has_its_outcome() {
    let world = World::with(ALONE);
    let _daemon = world.daemon();
    let output = ask_during(&world, &[], || {
        assert_eq!(world.run(&["stop", "a", "--force"]).status.code(), Some(0));
    });
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_turn_that_no_journal_has_is_not_said_to_go_on() {
    let world = World::new();
    world.rewrite_all("durability = \"nothing\"", "", ALONE);
    let mut daemon = world.daemon();
    let output = ask_during(&world, &[], || daemon.signal("-TERM"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the tree was stopped: ") && !said.contains("stays open"), "{said}");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
}
