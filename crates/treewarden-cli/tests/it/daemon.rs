//! The daemon and its clients, on real processes.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::Stdio;

use crate::support::{World, eventually};

#[test]
fn an_answer_is_shown_though_no_turn_is_stored() {
    let world = World::new();
    world.rewrite_all("durability = \"nothing\"", "", "[[child]]\nname = \"a\"\n");
    let mut daemon = world.daemon();
    let said = |args: &[&str]| {
        let output = world.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let text = said(&["ask", "a", "hello"]);
    assert!(!text.is_empty());
    let report = world.json(&["ask", "a", "hello", "--json"]);
    assert_eq!((&report["outcome"], &report["name"]), (&"completed".into(), &"a".into()), "{report}");
    assert!(report["result"].is_object() && report["session_id"].is_string(), "{report}");
    assert!(!said(&["ask", "a", "hello", "--stream"]).is_empty());
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
}

#[test]
fn ask_prints_the_answer_and_ps_shows_the_session() {
    let world = World::new();
    let _daemon = world.daemon();
    let first = world.run(&["ask", "a", "My name is Alice"]);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    let second = world.json(&["ask", "a", "What is my name?", "--json"]);
    assert_eq!(second["text"], "Your name is Alice.");
    assert_eq!((&second["outcome"], &second["interruptions"]), (&"completed".into(), &0.into()));
    let promised =
        ["turn", "outcome", "text", "session_id", "interruptions", "result", "failure", "message", "name"];
    assert!(promised.iter().all(|key| second.get(*key).is_some()), "{second}");
    let ps = world.json(&["ps", "--json"]);
    let promised = [
        "name",
        "session_id",
        "state",
        "pid",
        "generation",
        "restarts",
        "turns",
        "containment",
        "last_exit",
        "queued",
    ];
    assert!(promised.iter().all(|key| ps[0].get(*key).is_some()), "{ps}");
    assert_eq!(
        (&ps[0]["name"], &ps[0]["turns"], &ps[1]["state"]),
        (&"a".into(), &2.into(), &"parked".into())
    );
    assert_eq!(ps[0]["session_id"], second["session_id"]);
    // What the turn took alone, and both of the session's turns together.
    assert_eq!((&second["cost_usd"], &ps[0]["cost_usd"]), (&0.001.into(), &0.002.into()), "{second}");
    assert_eq!(
        (&second["usage"]["output_tokens"], &ps[0]["usage"]["output_tokens"]),
        (&5.into(), &10.into())
    );
    assert_eq!((&ps[1]["cost_usd"], &ps[1]["usage"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    let turn = second["turn"].as_str().expect("a turn has an id");
    assert_eq!(world.json(&["turn", turn, "--json"]), second);
}

#[test]
fn a_streamed_answer_is_printed_once() {
    let world = World::new();
    let _daemon = world.daemon();
    let output = world.run(&["ask", "a", "hello SPEAK=1", "--stream"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "answer to hello SPEAK=1\n");
}

#[test]
fn a_prompt_can_come_from_stdin() {
    use std::io::Write;
    let world = World::new();
    let _daemon = world.daemon();
    let mut ask = world
        .command(&["ask", "a", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    ask.stdin.take().expect("it is piped").write_all(b"from a pipe\n").expect("it reads");
    let output = ask.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "answer to from a pipe\n");
}

#[test]
fn a_killed_cli_is_replaced_and_the_turn_is_answered_once() {
    let world = World::new();
    let _daemon = world.daemon();
    let answer = world.json(&["ask", "a", "hello CRASH=delta:1 EXIT=kill ONCE=2", "--json"]);
    assert_eq!(answer["outcome"], "completed", "{answer}");
    // The second CLI carries the turn on by itself, and may die before the host could give it the turn.
    assert!((1..=2).contains(&answer["interruptions"].as_u64().unwrap_or(0)), "{answer}");
    let ps = world.json(&["ps", "--json"]);
    assert_eq!((&ps[0]["generation"], &ps[0]["restarts"]), (&3.into(), &2.into()), "{ps}");
}

#[test]
fn a_client_that_goes_interrupts_its_turn() {
    let world = World::new();
    let _daemon = world.daemon();
    let mut ask =
        world.command(&["ask", "a", "hello STREAM=1000:50"]).stdout(Stdio::null()).spawn().expect("it runs");
    eventually("the turn runs", || (world.json(&["ps", "--json"])[0]["state"] == "busy").then_some(()));
    ask.kill().expect("it can be killed");
    ask.wait().expect("it ends");
    let events = || String::from_utf8_lossy(&world.run(&["events", "--json"]).stdout).into_owned();
    eventually("the turn is interrupted", || {
        events()
            .lines()
            .any(|line| line.contains("turn_settled") && line.contains("\"interrupted\""))
            .then_some(())
    });
}

#[test]
fn a_detached_turn_runs_on_and_is_fetched_later() {
    let world = World::new();
    let _daemon = world.daemon();
    let output = world.run(&["ask", "a", "hello STREAM=5:50", "--detach"]);
    let turn = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let open = world.run(&["turn", &turn]);
    assert_eq!(open.status.code(), Some(9), "{}", String::from_utf8_lossy(&open.stderr));
    let settled = world.json(&["turn", &turn, "--wait", "--json"]);
    assert_eq!(settled["text"], "answer to hello STREAM=5:50");
}

#[test]
fn a_cancelled_turn_never_runs() {
    let world = World::new();
    let _daemon = world.daemon();
    world.run(&["ask", "a", "first STREAM=1000:50", "--detach"]);
    let second = world.run(&["ask", "a", "second", "--detach"]);
    let second = String::from_utf8_lossy(&second.stdout).trim().to_owned();
    assert_eq!(world.run(&["cancel", &second]).status.code(), Some(0));
    let outcome = world.run(&["turn", &second, "--wait", "--json"]);
    assert_eq!(outcome.status.code(), Some(7), "{}", String::from_utf8_lossy(&outcome.stdout));
    assert_eq!(world.run(&["interrupt", "a"]).status.code(), Some(0));
}

#[test]
fn an_interrupt_of_an_idle_session_says_that_nothing_ran() {
    let world = World::with("[[child]]\nname = \"a\"\n");
    let mut daemon = world.daemon();
    let interrupted = || {
        let output = world.run(&["interrupt", "a"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(interrupted(), "a does nothing that could be interrupted", "it has no CLI");
    world.json(&["ask", "a", "hello", "--json"]);
    world.when("a", "ready");
    assert_eq!(interrupted(), "a does nothing that could be interrupted");
    world.run(&["ask", "a", "hello STREAM=1000:50", "--detach"]);
    world.when("a", "busy");
    assert_eq!(interrupted(), "a is interrupted");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    assert!(world.log().contains("1 session is up;"), "{}", world.log());
}

#[test]
fn stop_start_restart_and_clear_do_what_they_say() {
    let world = World::new();
    let _daemon = world.daemon();
    let before = world.json(&["ask", "a", "My name is Alice", "--json"]);
    for verb in [["restart", "a"], ["stop", "a"], ["start", "a"]] {
        let output = world.run(&verb);
        assert_eq!(output.status.code(), Some(0), "{verb:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let after = world.json(&["ask", "a", "What is my name?", "--json"]);
    assert_eq!(
        (&after["text"], &after["session_id"]),
        (&"Your name is Alice.".into(), &before["session_id"])
    );
    assert_eq!(world.run(&["clear", "a"]).status.code(), Some(0));
    let cleared = world.json(&["ask", "a", "What is my name?", "--json"]);
    assert_eq!(cleared["text"], "I do not know your name.");
    assert_ne!(cleared["session_id"], before["session_id"]);
}

#[test]
fn nobody_of_that_name_and_no_daemon_have_exit_codes() {
    let world = World::new();
    assert_eq!(world.run(&["ps"]).status.code(), Some(4));
    let _daemon = world.daemon();
    for verb in ["restart", "stop", "start", "clear", "interrupt"] {
        assert_eq!(world.run(&[verb, "nobody"]).status.code(), Some(5), "{verb}");
    }
    assert_eq!(world.run(&["ask", "nobody", "hello"]).status.code(), Some(5));
    assert_eq!(world.run(&["turn", "11111111-2222-4333-8444-555555555555"]).status.code(), Some(5));
}

#[test]
fn the_socket_is_for_its_owner_and_goes_with_the_daemon() {
    let world = World::new();
    let mut daemon = world.daemon();
    let meta = std::fs::symlink_metadata(world.socket()).expect("the socket is there");
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    world.json(&["ask", "a", "hello", "--json"]);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    assert!(!world.socket().exists());
    world.nothing_is_left();
}

#[test]
fn a_stale_socket_is_replaced() {
    let world = World::new();
    let mut daemon = world.daemon();
    daemon.signal("-KILL");
    daemon.wait();
    assert!(world.socket().exists(), "a killed daemon leaves its socket");
    let _daemon = world.daemon();
    assert_eq!(world.run(&["ps"]).status.code(), Some(0));
}

#[test]
fn a_second_daemon_is_refused_with_the_pid_of_the_first() {
    let world = World::new();
    let daemon = world.daemon();
    let pid = format!("process {}", daemon.pid());
    for args in
        [&["run", "--state-dir", "state"][..], &["run", "--state-dir", "state", "--socket", "other.sock"][..]]
    {
        let second = world.command(args).env_remove("TREEWARDEN_SOCKET").output().expect("it runs");
        let stderr = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(6), "{stderr}");
        assert!(stderr.contains(&pid), "{stderr}");
    }
    assert_eq!(world.run(&["ps"]).status.code(), Some(0));
}

#[test]
fn a_file_in_the_place_of_the_socket_is_not_replaced() {
    let world = World::new();
    std::fs::write(world.path("precious"), "data").expect("it can be written");
    let args = ["run", "--state-dir", "state", "--socket", "precious"];
    let output = world.command(&args).env_remove("TREEWARDEN_SOCKET").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(world.path("precious")).expect("it is there"), "data");
}

#[test]
fn a_daemon_killed_in_a_turn_leaves_nothing_and_the_next_one_settles_the_turn() {
    let world = World::new();
    let mut daemon = world.daemon();
    let before = world.json(&["ask", "a", "My name is Alice", "--json"]);
    let output = world.run(&["ask", "a", "what is my name STREAM=20:50", "--detach"]);
    let turn = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    eventually("the turn runs", || (world.json(&["ps", "--json"])[0]["state"] == "busy").then_some(()));
    daemon.signal("-KILL");
    daemon.wait();
    world.nothing_is_left();
    let mut daemon = world.daemon();
    let settled = world.json(&["turn", &turn, "--wait", "--json"]);
    assert_eq!((&settled["outcome"], &settled["text"]), (&"completed".into(), &"Your name is Alice.".into()));
    assert_eq!(settled["session_id"], before["session_id"]);
    assert!(settled["cost_usd"].is_null(), "a part of what it took is not told as the whole: {settled}");
    assert_eq!(world.json(&["ps", "--json"])[0]["session_id"], before["session_id"]);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn a_daemon_that_is_killed_leaves_no_warm_cli() {
    let world = World::with("[[child]]\nname = \"a\"\nwarm = 1\n");
    let warm = || {
        let output = world.run(&["ps"]);
        String::from_utf8_lossy(&output.stdout).contains("\nwarm: 1 of 1\n").then_some(())
    };
    let mut daemon = world.daemon();
    eventually("a CLI is warm", warm);
    assert_eq!(world.processes().len(), 1);
    daemon.signal("-KILL");
    daemon.wait();
    world.nothing_is_left();
    let mut daemon = world.daemon();
    eventually("a CLI is warm again", warm);
    let pid = world.processes();
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed");
    assert_eq!(world.json(&["ps", "--json"])[0]["pid"], pid[0], "the session took it");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn the_tree_is_shown_as_it_was_declared() {
    let world = World::with(
        "[[child]]\nname = \"a\"\n[[child]]\nname = \"team\"\ntype = \"supervisor\"\n[[child.child]]\nname = \"b\"\n\
         [[child.child]]\nname = \"c\"\n",
    );
    let _daemon = world.daemon();
    let output = world.run(&["tree"]);
    let expected = "treewarden\n├─ a parked\n└─ team supervisor running\n   ├─ b parked\n   └─ c parked\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    let tree = world.json(&["tree", "--json"]);
    assert_eq!(tree["children"][1]["children"][0]["session"]["name"], "b");
    // A session below another supervisor is stopped and started through that one.
    assert_eq!(world.run(&["stop", "c"]).status.code(), Some(0));
    assert_eq!(world.json(&["tree", "--json"])["children"][1]["children"][1]["state"], "stopped");
    assert_eq!(world.run(&["start", "c"]).status.code(), Some(0));
    assert_eq!(world.json(&["ask", "c", "hello", "--json"])["outcome"], "completed");
}

#[test]
fn garbage_on_the_socket_is_refused_and_harms_nobody() {
    use std::io::{BufRead, BufReader, Write};
    let world = World::new();
    let _daemon = world.daemon();
    let mut stream = std::os::unix::net::UnixStream::connect(world.socket()).expect("it listens");
    let mut answers = BufReader::new(stream.try_clone().expect("it can be cloned")).lines();
    for line in ["garbage", "{\"op\":\"nonsense\"}", "{\"op\":\"ps\",\"extra\":1}", "[]"] {
        writeln!(stream, "{line}").expect("it reads");
        let answer = answers.next().expect("it answers").expect("it can be read");
        assert!(answer.starts_with("{\"error\":{\"code\":\"bad_request\""), "{answer}");
    }
    writeln!(stream, "{{\"op\":\"hello\"}}").expect("it reads");
    let answer = answers.next().expect("it answers").expect("it can be read");
    assert!(answer.starts_with("{\"ok\":{"), "{answer}");
}

#[test]
fn a_child_that_crashes_too_often_ends_the_tree_where_the_file_says_escalate() {
    let world = World::new();
    let children = "[[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\n";
    world.rewrite_all("give_up = \"escalate\"\nmax_seconds = 60", "", children);
    let mut daemon = world.daemon();
    assert_eq!(world.run(&["ask", "a", "hello CRASH=read"]).status.code(), Some(1));
    assert_eq!(daemon.wait(), Some(1), "{}", world.log());
    assert!(world.log().contains("the tree ended by itself"), "{}", world.log());
    world.nothing_is_left();
}
