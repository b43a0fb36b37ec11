//! What is said of the store while it cannot be written, where it stores no turns, and of tools that were refused.

use std::io::Write;
use std::process::Stdio;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use super::support::{World, eventually};

fn events(world: &World, kind: &str) -> Vec<Value> {
    let text = String::from_utf8_lossy(&world.run(&["events", "--json"]).stdout).into_owned();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == kind).collect()
}

/// Asks with a prompt that no argument has room for.
fn ask_much(world: &World) -> (Option<i32>, String) {
    let mut command = world.command(&["ask", "a", "-"]);
    let mut asking =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run");
    let mut stdin = asking.stdin.take().expect("piped");
    stdin.write_all(format!("PROMPT-1 {}", "x".repeat(3 << 20)).as_bytes()).expect("it reads");
    drop(stdin);
    let output = asking.wait_with_output().expect("it ends");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

/// A limit of the size of files is as good as a disk without room, and can be lifted.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_is_told_by_ps_and_an_event_until_a_write_is_stored_again() {
    let world = World::new();
    let limited = "trap '' XFSZ; ulimit -S -f 1024; exec \"$0\" \"$@\"";
    let daemon = world.start_below("sh", &["-c", limited], &["run", "--state-dir", "state"]);
    eventually("the daemon listens", || std::os::unix::net::UnixStream::connect(world.socket()).ok());
    let ps = || String::from_utf8_lossy(&world.run(&["ps"]).stdout).into_owned();
    assert!(!ps().contains("store:"), "{}", ps());
    // Any write that is stored once nothing was refused for a while ends it: on a slow machine it is asked once more.
    let shown = eventually("ps says so", || {
        let (code, said) = ask_much(&world);
        assert_eq!(code, Some(8), "{said}");
        assert!(said.contains("raise the limit of the size of files"), "{said}");
        Some(ps()).filter(|shown| shown.contains("store: "))
    });
    for words in ["raise the limit of the size of files", "this is over with the next write that is stored"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let told = eventually("it is an event", || events(&world, "store_problem").pop());
    assert_eq!(told["kind"], "unwritable", "{told}");
    let pid = Pid::from_raw(daemon.pid().cast_signed());
    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).expect("raised");
    let (code, said) = ask_much(&world);
    assert_eq!(code, Some(0), "{said}");
    assert!(!ps().contains("store:"), "{}", ps());
    let over = eventually("each end is an event", || {
        let over = events(&world, "store_problem_over");
        over.last().filter(|_| over.len() == events(&world, "store_problem").len()).cloned()
    });
    assert_eq!((&over["kind"], &over["key"]), (&told["kind"], &told["key"]), "{over}");
}

#[test]
fn where_no_turn_is_stored_no_outcome_is_said_to_be_and_nobody_is_warned_of_it() {
    let world = World::new();
    world.rewrite_all("durability = \"nothing\"", "", "[[child]]\nname = \"a\"\n");
    let _daemon = world.daemon();
    let answer = world.json(&["ask", "a", "PROMPT-1", "--json"]);
    assert_eq!(
        (&answer["outcome"], &answer["stored"], &answer["unstored"]),
        (&"completed".into(), &false.into(), &Value::Null)
    );
    let asked = world.run(&["ask", "a", "PROMPT-2"]);
    assert_eq!(String::from_utf8_lossy(&asked.stderr), "");
    assert_eq!(world.session("a")["unstored"], Value::Null);
    let settled =
        eventually("both are events", || Some(events(&world, "turn_settled")).filter(|all| all.len() == 2));
    assert!(settled.iter().all(|event| event["stored"] == false), "{settled:?}");
    assert!(!world.log().contains("is not stored"), "{}", world.log());
}

#[test]
fn a_tool_that_was_refused_is_named_with_what_would_allow_it_and_only_by_that_turn() {
    let world = World::new();
    let _daemon = world.daemon();
    let asked = world.run(&["ask", "a", "PROMPT-1 TOOL=1 ASK"]);
    let said = String::from_utf8_lossy(&asked.stderr);
    assert_eq!(asked.status.code(), Some(0), "{said}");
    for words in ["did not let the model use Bash", "`allowed_tools`", "\"Bash(true:*)\""] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let answer = world.json(&["ask", "a", "PROMPT-2", "--json"]);
    assert_eq!(answer["denied"], serde_json::json!([]));
    let answer = world.json(&["ask", "a", "PROMPT-3 TOOL=1 ASK", "--json"]);
    let denied = serde_json::json!([{ "tool": "Bash", "rule": "Bash(true:*)" }]);
    assert_eq!(answer["denied"], denied);
    let id = answer["turn"].as_str().expect("an id");
    assert_eq!(world.json(&["turn", id, "--json"])["denied"], denied, "also as the journal has it");
    let told =
        eventually("both are events", || Some(events(&world, "tools_denied")).filter(|all| all.len() == 2));
    assert_eq!(
        (&told[1]["turn"], &told[1]["rules"]),
        (&answer["turn"], &serde_json::json!(["Bash(true:*)"]))
    );
    let settled = events(&world, "turn_settled");
    assert!(told[1]["seq"].as_u64() < settled[2]["seq"].as_u64(), "before the outcome");
}
