//! Tool calls that a kill cut off, and starts that wait for `initialize`: as measured with 2.1.332.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::running::{Fake, ID, LIMIT, entries, names};

const RESUME: (&str, &str) = ("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1");
const SHOWS: (&str, &str) = ("CLAUDE_CODE_RESUME_SHOWS_CUT_OFF_CALLS", "1");
const REPLAY: &str = "--replay-user-messages";

/// A conversation whose CLI was killed while a tool of its prompt `a` ran; what the tool counts stands in the home.
fn cut_off(count: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    let mut fake = Fake::start(home.path(), &["--session-id", ID], &[]);
    fake.prompt("a", &format!("TOOL=600000 COUNT={count}"));
    fake.until(|f| f["message"]["content"][0]["type"] == "tool_use");
    treewarden_testkit::poll_until(LIMIT, || (runs(Path::new(count)) == 1).then_some(())).expect("it runs");
    fake.child.kill().expect("it is ours");
    home
}

fn runs(count: &Path) -> usize {
    std::fs::read_to_string(count).map_or(0, |text| text.lines().count())
}

#[test]
fn a_call_that_was_cut_off_is_dropped_and_run_again_or_told_of_and_not() {
    for shows in [false, true] {
        let counts = tempfile::tempdir().expect("a directory");
        let count = counts.path().join("count").display().to_string();
        let home = cut_off(&count);
        let env = if shows { vec![RESUME, SHOWS] } else { vec![RESUME] };
        let mut fake = Fake::start(home.path(), &["--resume", ID, REPLAY], &env);
        if !shows {
            fake.until(|f| f["message"]["content"][0]["type"] == "tool_use");
            treewarden_testkit::poll_until(LIMIT, || (runs(Path::new(&count)) == 2).then_some(()))
                .expect("it runs again");
            continue;
        }
        let expected = ["running", "started run", "init", "assistant", "result", "completed run", "idle"];
        let frames = fake.turn();
        assert_eq!(names(&frames), expected);
        let result = frames.iter().find(|f| f["type"] == "result").expect("a result");
        assert_eq!(result["user_message_uuids"], json!(["a"]));
        assert_eq!(runs(Path::new(&count)), 1, "the tool ran once");
        let entries = entries(home.path());
        let told = entries.iter().filter(|e| {
            let text = e["message"]["content"][0]["content"].as_str().unwrap_or_default();
            text.starts_with("[Tool call interrupted:") && text.contains("outcome is unknown")
        });
        assert_eq!(told.count(), 1);
        let carries_on = entries.iter().filter(|e| e["isMeta"] == true);
        assert_eq!(carries_on.count(), 1);
        fake.prompt("a", &format!("TOOL=600000 COUNT={count}"));
        assert_eq!(names(&fake.turn()), ["echo", "completed a", "idle"]);
    }
}

#[test]
fn a_tool_that_ended_before_the_kill_does_not_run_again() {
    let counts = tempfile::tempdir().expect("a directory");
    let count = counts.path().join("count").display().to_string();
    let home = tempfile::tempdir().expect("a directory");
    let mut fake = Fake::start(home.path(), &["--session-id", ID], &[]);
    fake.prompt("a", &format!("TOOL=1 COUNT={count} CRASH=delta:1 ONCE=1"));
    while fake.next().is_some() {}
    let fake = Fake::start(home.path(), &["--resume", ID], &[RESUME]);
    assert_eq!(fake.result()["user_message_uuids"], json!(["a"]));
    assert_eq!(runs(Path::new(&count)), 1);
}

#[test]
fn nothing_runs_before_initialize_if_the_cli_is_to_wait_for_it() {
    let counts = tempfile::tempdir().expect("a directory");
    let count = counts.path().join("count").display().to_string();
    let home = cut_off(&count);
    let mut fake = Fake::start(home.path(), &["--resume", ID, "--await-initialize"], &[RESUME, SHOWS]);
    assert!(fake.is_silent(), "it waits");
    fake.control(&json!({ "subtype": "initialize" }));
    let frames = fake.turn();
    let expected = [
        "running",
        "started run",
        "control_response",
        "init",
        "assistant",
        "result",
        "completed run",
        "idle",
    ];
    assert_eq!(names(&frames), expected);
    assert_eq!(frames[2]["response"]["response"]["session_state"], "running");
}

#[test]
fn another_first_line_ends_a_cli_that_waits_for_initialize() {
    for first in [
        json!({ "type": "user", "uuid": "a", "message": { "role": "user", "content": "hello" } }),
        json!({ "type": "control_request", "request_id": "r", "request": { "subtype": "interrupt" } }),
    ] {
        let home = tempfile::tempdir().expect("a directory");
        let mut fake = Fake::start(home.path(), &["--session-id", ID, "--await-initialize"], &[]);
        fake.send(&first);
        assert_eq!(fake.next(), None);
        assert_eq!(fake.ends(LIMIT).and_then(|status| status.code()), Some(1));
    }
}

#[test]
fn an_old_version_refuses_the_option() {
    let output = Command::new(env!("CARGO_BIN_EXE_treewarden-fake-claude"))
        .args(["--session-id", ID, "--await-initialize"])
        .env("TREEWARDEN_FAKE", r#"{"version":"2.1.197"}"#)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "error: unknown option '--await-initialize'\n");
}
