//! `treewarden reload` and SIGHUP, on a real daemon with real CLIs of the fake kind.

use serde_json::Value;

use crate::support::{World, eventually};

const AB: &str = "[[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\n";

/// The changes of a diff, as `path change`, without those that are none.
fn changes(diff: &Value) -> Vec<String> {
    let nodes = diff["nodes"].as_array().expect("a diff has nodes").iter();
    let changed = nodes.filter(|node| node["change"] != "unchanged");
    changed
        .map(|node| {
            format!(
                "{} {}",
                node["path"].as_str().expect("a path"),
                node["change"].as_str().expect("a change")
            )
        })
        .collect()
}

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The arguments of a session's CLI.
fn argv(session: &Value) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{}/cmdline", session["pid"])).expect("the CLI runs");
    line.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}

#[test]
fn a_session_that_did_not_change_is_not_touched_in_the_middle_of_a_turn() {
    let world = World::with(AB);
    let _daemon = world.daemon();
    let ask = world.run(&["ask", "a", "hello STREAM=80:50", "--detach"]);
    let before = world.when("a", "busy");
    let incarnation = |world: &World| world.json(&["tree", "--json"])["children"][1]["incarnation"].clone();
    let first = world.json(&["tree", "--json"])["children"][0]["incarnation"].clone();
    world.rewrite("[[child]]\nname = \"c\"\n[[child]]\nname = \"a\"\n");
    let diff = world.json(&["reload", "--json"]);
    assert_eq!(changes(&diff), ["b removed", "c added"]);
    assert_eq!((&diff["changed"], &diff["failed"]), (&true.into(), &Value::Array(vec![])));
    let after = world.session("a");
    assert_eq!(
        (&after["pid"], &after["generation"], &after["state"]),
        (&before["pid"], &1.into(), &"busy".into())
    );
    assert_eq!(incarnation(&world), first);
    let settled = world.json(&["turn", text(&ask).trim(), "--wait", "--json"]);
    let after = world.session("a");
    assert_eq!((&settled["outcome"], &settled["interruptions"]), (&"completed".into(), &0.into()), "{after}");
    assert_eq!(after["pid"], before["pid"]);
    // The order is that of the file; the name that is gone is free, and the new one is served.
    let names: Vec<Value> = world.json(&["tree", "--json"])["children"]
        .as_array()
        .expect("the root has children")
        .iter()
        .map(|child| child["name"].clone())
        .collect();
    assert_eq!(names, ["c", "a"]);
    assert_eq!(world.run(&["ask", "b", "hello"]).status.code(), Some(5));
    assert_eq!(world.json(&["ask", "c", "hello", "--json"])["outcome"], "completed");
    assert_eq!(changes(&world.json(&["reload", "--json"])), [] as [&str; 0], "nothing is left to do");
}

#[test]
fn an_idle_session_gets_another_cli_and_keeps_its_conversation() {
    let world = World::with(AB);
    let _daemon = world.daemon();
    let first = world.json(&["ask", "a", "My name is Alice", "--json"]);
    let before = world.when("a", "ready");
    assert!(!argv(&before).contains(&"--model=opus".to_owned()));
    world.rewrite("[[child]]\nname = \"a\"\nmodel = \"opus\"\n[[child]]\nname = \"b\"\n");
    let shown = world.run(&["reload", "--dry-run"]);
    let expected = "~ a\n    model: unset → \"opus\" (another CLI: at once if it is idle, else after its turn)\n\
                    1 child is unchanged\n";
    assert_eq!(text(&shown), expected);
    assert_eq!(world.session("a")["pid"], before["pid"], "a dry run changes nothing");
    let diff = world.json(&["reload", "--json"]);
    let key = &diff["nodes"][1]["keys"][0];
    assert_eq!(
        (&key["key"], &key["effect"], &key["from"], &key["to"]),
        (&"model".into(), &"next_cli".into(), &Value::Null, &"opus".into())
    );
    world.when("a", "parked");
    let second = world.json(&["ask", "a", "What is my name?", "--json"]);
    assert_eq!(
        (&second["text"], &second["session_id"]),
        (&"Your name is Alice.".into(), &first["session_id"])
    );
    let after = world.when("a", "ready");
    assert_ne!(after["pid"], before["pid"]);
    assert_eq!((&after["generation"], &after["restarts"]), (&2.into(), &0.into()));
    assert!(argv(&after).contains(&"--model=opus".to_owned()), "{:?}", argv(&after));
}

#[test]
fn a_busy_session_ends_its_turn_first_and_the_one_after_it_has_the_new_options() {
    let world = World::with(AB);
    let _daemon = world.daemon();
    let first = text(&world.run(&["ask", "a", "My name is Alice STREAM=60:50", "--detach"]));
    let before = world.when("a", "busy");
    let second = text(&world.run(&["ask", "a", "What is my name? STREAM=20:50", "--detach"]));
    world.rewrite("[[child]]\nname = \"a\"\nmax_turns = 7\n[[child]]\nname = \"b\"\n");
    assert_eq!(changes(&world.json(&["reload", "--json"])), ["a changed"]);
    assert_eq!(world.session("a")["pid"], before["pid"], "its turn goes on");
    let settled = world.json(&["turn", first.trim(), "--wait", "--json"]);
    assert_eq!((&settled["outcome"], &settled["interruptions"]), (&"completed".into(), &0.into()));
    let after = eventually("the second turn runs", || {
        let session = world.session("a");
        (session["state"] == "busy" && session["turn"] == second.trim()).then_some(session)
    });
    assert_ne!(after["pid"], before["pid"]);
    assert!(argv(&after).contains(&"--max-turns=7".to_owned()), "{:?}", argv(&after));
    let settled = world.json(&["turn", second.trim(), "--wait", "--json"]);
    assert_eq!((&settled["text"], &settled["interruptions"]), (&"Your name is Alice.".into(), &0.into()));
}

#[test]
fn a_session_that_was_taken_out_comes_back_with_its_conversation() {
    let world = World::with(AB);
    let _daemon = world.daemon();
    world.json(&["ask", "b", "My name is Alice", "--json"]);
    let pid = world.when("b", "ready")["pid"].to_string();
    world.rewrite("[[child]]\nname = \"a\"\n");
    assert_eq!(
        text(&world.run(&["reload"])),
        "- b: is stopped; its conversation is kept\n1 child is unchanged\n"
    );
    assert!(!std::path::Path::new("/proc").join(pid).exists(), "its CLI is gone when the reload is done");
    assert_eq!(world.run(&["ask", "b", "hello"]).status.code(), Some(5));
    // It moves below a supervisor that is new.
    world.rewrite(
        "[[child]]\nname = \"a\"\n[[child]]\nname = \"team\"\ntype = \"supervisor\"\n[[child.child]]\nname = \"b\"\n",
    );
    assert_eq!(changes(&world.json(&["reload", "--json"])), ["team added", "team/b added"]);
    assert_eq!(world.json(&["ask", "b", "What is my name?", "--json"])["text"], "Your name is Alice.");
    assert_eq!(world.run(&["restart", "b"]).status.code(), Some(0), "its supervisor is the new one");
    // And back, in one step.
    world.rewrite(AB);
    assert_eq!(changes(&world.json(&["reload", "--json"])), ["team removed", "team/b removed", "b added"]);
    assert_eq!(world.json(&["ask", "b", "What is my name?", "--json"])["text"], "Your name is Alice.");
}

#[test]
fn a_running_turn_of_a_session_that_moves_is_carried_on() {
    let world = World::with(AB);
    let _daemon = world.daemon();
    world.json(&["ask", "b", "My name is Alice", "--json"]);
    let turn = text(&world.run(&["ask", "b", "What is my name? STREAM=20:50", "--detach"]));
    world.when("b", "busy");
    world.rewrite(
        "[[child]]\nname = \"a\"\n[[child]]\nname = \"team\"\ntype = \"supervisor\"\n[[child.child]]\nname = \"b\"\n",
    );
    world.json(&["reload", "--json"]);
    let settled = world.json(&["turn", turn.trim(), "--wait", "--json"]);
    assert_eq!((&settled["outcome"], &settled["text"]), (&"completed".into(), &"Your name is Alice.".into()));
}

#[test]
fn a_broken_file_is_explained_as_check_does_and_changes_nothing() {
    let world = World::with(AB);
    let _daemon = world.daemon();
    world.json(&["ask", "a", "hello", "--json"]);
    let before = world.session("a");
    world.rewrite("[[child]]\nnmae = \"a\"\nidle_timeout = 15\n");
    for args in [&["reload"][..], &["reload", "--dry-run"]] {
        let output = world.run(args);
        let check = world.run(&["check"]);
        assert_eq!(output.status.code(), Some(3));
        let (ours, theirs) =
            (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&check.stderr));
        // The daemon names the file by its whole path.
        let path = world.path("").display().to_string();
        assert_eq!(ours.replace(&path, ""), theirs);
        assert!(ours.contains("did you mean `name`?"), "{ours}");
    }
    assert_eq!(world.session("a"), before);
    assert_eq!(world.run(&["reload", "nowhere.toml"]).status.code(), Some(3));
    assert_eq!(world.json(&["ask", "b", "hello", "--json"])["outcome"], "completed");
}

#[test]
fn defaults_reach_every_session_that_inherits_them() {
    let children = "[[child]]\nname = \"a\"\n[[child]]\nname = \"own\"\nmodel = \"haiku\"\n[[child]]\nname = \"team\"\n\
                    type = \"supervisor\"\n[[child.child]]\nname = \"deep\"\n";
    let world = World::with(children);
    let _daemon = world.daemon();
    world.rewrite_all("", "model = \"opus\"", children);
    assert_eq!(changes(&world.json(&["reload", "--json"])), ["a changed", "team/deep changed"]);
    for name in ["a", "deep", "own"] {
        world.json(&["ask", name, "hello", "--json"]);
        let model = if name == "own" { "haiku" } else { "opus" };
        let argv = argv(&world.when(name, "ready"));
        assert!(argv.contains(&format!("--model={model}")), "{name}: {argv:?}");
    }
}

#[test]
fn values_that_may_be_secret_are_not_shown() {
    let world = World::with(AB);
    let _daemon = world.daemon();
    world.rewrite("[[child]]\nname = \"a\"\nenv = { API_KEY = \"hush-hush\" }\n[[child]]\nname = \"b\"\n");
    let output = world.run(&["reload", "--json"]);
    assert!(!text(&output).contains("hush-hush"), "{}", text(&output));
    assert!(text(&output).contains("\"key\": \"env\""), "{}", text(&output));
    assert!(!world.log().contains("hush-hush"));
}

#[test]
fn what_concerns_the_state_directory_waits_for_the_next_start_of_the_tree() {
    let world = World::with(AB);
    let _daemon = world.daemon();
    world.rewrite_all("durability = \"power\"\nstrategy = \"one_for_all\"", "", AB);
    // What follows of the strategy, such as `give_up`, holds at once as it does.
    for left in [3, 1] {
        let diff = world.json(&["reload", "--json"]);
        let keys = diff["nodes"][0]["keys"].as_array().expect("the root has keys");
        assert_eq!(keys.len(), left, "{keys:?}");
        assert_eq!((&keys[0]["key"], &keys[0]["effect"]), (&"durability".into(), &"next_tree".into()));
    }
}

#[test]
fn a_hangup_reads_the_file_again() {
    let world = World::with(AB);
    let mut daemon = world.daemon();
    world.rewrite("[[child]]\nname = \"a\"\n[[child]]\nname = \"c\"\n");
    daemon.signal("-HUP");
    eventually("c is there", || (world.run(&["ask", "c", "hello"]).status.code() == Some(0)).then_some(()));
    assert_eq!(world.run(&["ask", "b", "hello"]).status.code(), Some(5));
    world.rewrite("[[child]]\n");
    daemon.signal("-HUP");
    eventually("the broken file is explained", || {
        world.log().contains("this child has no name").then_some(())
    });
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn a_pipe_in_place_of_the_file_is_refused_and_keeps_no_later_reload() {
    let world = World::with(AB);
    let _daemon = world.daemon();
    let pipe = world.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe can be made");
    let mut reload = world.command(&["reload", "pipe"]).spawn().expect("it runs");
    let ended = eventually("the reload ends", || reload.try_wait().expect("it can be waited for"));
    assert_eq!(ended.code(), Some(3));
    world.rewrite("[[child]]\nname = \"a\"\n");
    assert_eq!(changes(&world.json(&["reload", "--json"])), ["b removed"]);
}
