//! The fake CLI's frames stand in the order that was measured with 2.1.332.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use treewarden_testkit::fake_cli::FakeCli;

use super::running::{Fake, ID, names};

const RESUME: (&str, &str) = ("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1");
const REPLAY: &str = "--replay-user-messages";

fn fresh(args: &[&str]) -> (tempfile::TempDir, Fake) {
    let home = tempfile::tempdir().expect("a directory");
    let fake = Fake::start(home.path(), &[&["--session-id", ID], args].concat(), &[]);
    (home, fake)
}

/// A conversation whose prompt `a` was never answered.
fn interrupted(text: &str) -> tempfile::TempDir {
    let (home, mut fake) = fresh(&[]);
    fake.prompt("a", text);
    while fake.next().is_some() {}
    drop(fake);
    home
}

fn resume(home: &Path, env: &[(&str, &str)]) -> Fake {
    Fake::start(home, &["--resume", ID, REPLAY], env)
}

fn position(names: &[String], what: &str) -> usize {
    names.iter().position(|name| name == what).unwrap_or_else(|| panic!("{what} in {names:?}"))
}

#[test]
fn a_turn_is_queued_started_echoed_answered_and_completed() {
    let (_home, mut fake) = fresh(&[REPLAY]);
    fake.prompt("a", "hello");
    let expected =
        ["running", "queued a", "started a", "init", "echo", "assistant", "result", "completed a", "idle"];
    assert_eq!(names(&fake.turn()), expected);
    fake.prompt("a", "hello");
    assert_eq!(names(&fake.turn()), ["echo", "idle"]);
}

#[test]
fn an_unanswered_prompt_is_run_again_before_any_frame_is_read() {
    let home = interrupted("hello CRASH=read ONCE=1");
    let mut fake = resume(home.path(), &[RESUME]);
    let frames = fake.turn();
    let expected = ["running", "started a", "init", "echo", "assistant", "result", "completed a", "idle"];
    assert_eq!(names(&frames), expected);
    let result = frames.iter().find(|f| f["type"] == "result").expect("a result");
    assert_eq!(result["user_message_uuids"], json!(["a"]));
    assert_eq!(result["resume_reason"], "interrupted_turn");
    fake.prompt("a", "hello CRASH=read ONCE=1");
    assert_eq!(names(&fake.turn()), ["echo", "completed a", "idle"]);
}

#[test]
fn a_prompt_sent_again_while_it_runs_is_completed_but_not_run_twice() {
    for (text, tool) in [("DELAY=200 CRASH=delta:1 ONCE=1", false), ("TOOL=1 CRASH=delta:0 ONCE=1", true)] {
        let home = interrupted(text);
        let mut fake = resume(home.path(), &[RESUME]);
        fake.prompt("a", text);
        let names = names(&fake.turn());
        assert_eq!(names.iter().filter(|name| *name == "result").count(), 1, "{names:?}");
        assert_eq!(names.iter().filter(|name| *name == "completed a").count(), 1, "{names:?}");
        // Where a tool was called, the run goes by the line that carries it on, and the prompt is `completed` at once.
        let started = if tool { "started run" } else { "started a" };
        assert!(position(&names, started) < position(&names, "echo"), "{names:?}");
        assert_eq!(position(&names, "completed a") < position(&names, "result"), tool, "{names:?}");
    }
}

#[test]
fn a_plain_resend_without_the_env_stands_twice() {
    let home = interrupted("hello CRASH=read ONCE=1");
    let mut fake = resume(home.path(), &[]);
    fake.prompt("a", "hello CRASH=read ONCE=1");
    let frames = fake.turn();
    assert!(position(&names(&frames), "queued a") < position(&names(&frames), "result"));
    assert!(frames.iter().all(|f| f.get("resume_reason").is_none()));
    assert_eq!(fake.close(), Some(0));
    assert_eq!(transcripts(home.path())[0].matches(r#""content":"hello CRASH"#).count(), 2);
}

fn transcripts(home: &Path) -> Vec<String> {
    let projects = std::fs::read_dir(home.join("projects")).expect("a folder").filter_map(Result::ok);
    let files = projects.flat_map(|dir| std::fs::read_dir(dir.path()).expect("a folder"));
    files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok()).collect()
}

#[test]
fn without_lifecycle_no_frame_names_a_prompt_and_a_resend_is_swallowed() {
    let (key, value) = FakeCli::new().without_lifecycle().env();
    let script = (key.as_str(), value.as_str());
    let home = interrupted("hello CRASH=read ONCE=1");
    let mut fake = resume(home.path(), &[script]);
    fake.control(&json!({ "subtype": "initialize" }));
    let reply = fake.next().expect("an answer");
    assert!(reply["response"]["response"].get("capabilities").is_none(), "{reply}");
    fake.prompt("a", "hello CRASH=read ONCE=1");
    assert_eq!(names(&fake.turn()), ["echo", "idle"]);
    fake.prompt("b", "and now");
    let frames = fake.turn();
    assert!(frames.iter().all(|f| f["type"] != "command_lifecycle"));
    assert!(frames.iter().all(|f| f.get("user_message_uuids").is_none()));
}

#[test]
fn end_session_is_answered_and_ends_with_zero() {
    let (_home, mut fake) = fresh(&[]);
    fake.control(&json!({ "subtype": "end_session" }));
    assert_eq!(fake.next().expect("an answer")["response"]["subtype"], "success");
    assert_eq!(fake.ends(super::running::LIMIT).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_model_and_a_mode_that_are_set_hold_from_the_next_turn_on() {
    let (_home, mut fake) = fresh(&["--model", "first"]);
    for (request, answer) in [
        (json!({ "subtype": "set_model", "model": "second" }), json!({ "model": "second" })),
        (json!({ "subtype": "set_permission_mode", "mode": "plan" }), json!({ "mode": "plan" })),
    ] {
        fake.control(&request);
        assert_eq!(fake.next().expect("an answer")["response"]["response"], answer);
    }
    fake.prompt("a", "hello");
    let frames = fake.turn();
    let init = frames.iter().find(|f| f["subtype"] == "init").expect("an init");
    assert_eq!((&init["model"], &init["permissionMode"]), (&json!("second"), &json!("plan")));
}

#[test]
fn an_interrupt_gives_what_was_said_so_far_and_cancels() {
    let (_home, mut fake) = fresh(&["--include-partial-messages"]);
    fake.prompt("a", "STREAM=1000:20");
    fake.until(|f| f["type"] == "stream_event");
    fake.control(&json!({ "subtype": "interrupt" }));
    let frames = fake.turn();
    let said = frames.iter().find(|f| f["type"] == "assistant").expect("what was said");
    assert_eq!(said["aborted"], true);
    assert!(said["message"]["content"][0]["text"].as_str().is_some_and(|t| t.starts_with("word0 ")));
    let result = frames.iter().find(|f| f["type"] == "result").expect("a result");
    assert_eq!(result["terminal_reason"], "aborted_streaming");
    let tail = names(&frames);
    assert_eq!(tail[tail.len() - 3..], ["result", "cancelled a", "idle"]);

    fake.prompt("b", "TOOL=60000");
    fake.until(|f| f["message"]["content"][0]["type"] == "tool_use");
    fake.control(&json!({ "subtype": "interrupt" }));
    assert_eq!(fake.result()["terminal_reason"], "aborted_tools");
}

#[test]
fn a_cleared_conversation_goes_on_under_the_id_of_its_next_frames() {
    let (home, mut fake) = fresh(&[REPLAY]);
    fake.prompt("b", "My name is Alice");
    fake.turn();
    fake.prompt("a", "/clear");
    let frames = fake.turn();
    let expected = ["running", "queued a", "started a", "conversation_reset", "init", "echo", "result"];
    assert_eq!(names(&frames)[..7], expected);
    let result = frames.iter().find(|f| f["type"] == "result").expect("a result");
    assert_eq!((&result["num_turns"], &result["result"]), (&json!(0), &json!("")));
    let id = result["session_id"].as_str().expect("an id").to_owned();
    assert_ne!(id, ID);
    assert_ne!(frames[3]["new_conversation_id"], id.as_str());
    assert_eq!(fake.close(), Some(0));
    let mut again = Fake::start(home.path(), &["--resume", &id], &[]);
    again.prompt("c", "What is my name?");
    assert_eq!(again.result()["result"], "I do not know your name.");
}

#[test]
fn a_fork_has_the_history_and_an_id_of_its_own() {
    let (home, mut fake) = fresh(&[]);
    fake.prompt("b", "My name is Alice");
    fake.turn();
    assert_eq!(fake.close(), Some(0));
    let other = "22222222-2222-4333-8444-555555555555";
    for args in
        [vec!["--resume", ID, "--fork-session"], vec!["-r", ID, "--fork-session", "--session-id", other]]
    {
        let mut fork = Fake::start(home.path(), &args, &[]);
        fork.prompt("c", "What is my name?");
        let result = fork.result();
        assert_eq!(result["result"], "Your name is Alice.");
        assert_ne!(result["session_id"], ID);
        assert_eq!(result["session_id"] == other, args.len() == 5);
    }
    assert_eq!(transcripts(home.path()).len(), 3);
}

#[test]
fn a_flag_that_is_unknown_or_wrong_is_refused_on_stderr() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_treewarden-fake-claude"))
            .args(args)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).trim().to_owned(), output.stdout)
    };
    for (args, error) in [
        (&["--nonsense"][..], "error: unknown option '--nonsense'"),
        (&["--nonsense=3"], "error: unknown option '--nonsense=3'"),
        (&["-Q"], "error: unknown option '-Q'"),
        (&["--model"], "error: option '--model' argument missing"),
        (&["--session-id", "x"], "Error: Invalid session ID. Must be a valid UUID."),
        (&["--resume", ID, "--session-id", ID], "Error: --session-id with --continue or --resume"),
        (
            &["--permission-mode", "bad"],
            "error: option '--permission-mode <mode>' argument 'bad' is invalid.",
        ),
    ] {
        let (code, stderr, stdout) = run(args);
        assert_eq!((code, stdout), (Some(1), Vec::<u8>::new()), "{args:?}");
        assert!(stderr.starts_with(error), "{stderr}");
    }
    let flags =
        ["--output-format=stream-json", "--verbose", "--tools=", "--add-dir", "x", "--settings", "{}"];
    assert_eq!(run(&flags).0, Some(0));
}

#[test]
fn a_script_that_is_built_steers_start_prompts_and_answers() {
    let script = FakeCli::new().version("9.9.9").on("fail", "STATUS=500").answer("deploy", "done");
    let (key, value) = script.env();
    let home = tempfile::tempdir().expect("a directory");
    let mut fake = Fake::start(home.path(), &["--session-id", ID], &[(&key, &value)]);
    fake.prompt("a", "please deploy");
    let frames = fake.turn();
    assert!(frames.iter().any(|f| f["claude_code_version"] == "9.9.9"));
    assert!(frames.iter().any(|f| f["result"] == "done"));
    fake.prompt("b", "please fail");
    assert_eq!(fake.result()["api_error_status"], 500);
}

#[test]
fn an_unknown_control_request_is_refused_with_its_code() {
    let (_home, mut fake) = fresh(&[]);
    fake.control(&json!({ "subtype": "from_the_future" }));
    let reply: Value = fake.next().expect("an answer");
    assert_eq!(reply["response"]["error_code"], "unsupported_request");
}
