//! The fake CLI keeps a conversation, and fails as its script says.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const ID: &str = "11111111-2222-4333-8444-555555555555";

fn run(home: &Path, args: &[&str], env: &[(&str, &str)], prompts: &[(&str, &str)]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_treewarden-fake-claude"))
        .args(args)
        .env("CLAUDE_CONFIG_DIR", home)
        .env_remove("TREEWARDEN_FAKE")
        .env_remove("CLAUDE_CODE_RESUME_INTERRUPTED_TURN")
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the fake CLI starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    for (uuid, text) in prompts {
        let frame = json!({ "type": "user", "uuid": uuid, "message": { "role": "user", "content": text } });
        // A CLI that crashed already reads no more.
        drop(writeln!(stdin, "{frame}"));
    }
    drop(stdin);
    child.wait_with_output().expect("the fake CLI ends")
}

fn frames(output: &Output) -> Vec<Value> {
    output.stdout.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect()
}

fn results(output: &Output) -> Vec<Value> {
    frames(output).into_iter().filter(|f| f["type"] == "result").collect()
}

fn fresh() -> (tempfile::TempDir, String) {
    (tempfile::tempdir().expect("a directory"), format!("--session-id={ID}"))
}

#[test]
fn a_resumed_conversation_remembers_what_was_said() {
    let (home, id) = fresh();
    run(home.path(), &[&id], &[], &[("a", "My name is Alice")]);
    let again = run(home.path(), &["--resume", ID], &[], &[("b", "What is my name?")]);
    assert_eq!(results(&again)[0]["result"], "Your name is Alice.");
    assert_eq!(results(&again)[0]["user_message_uuids"], json!(["b"]));
}

#[test]
fn a_used_id_and_an_unknown_id_are_refused() {
    let (home, id) = fresh();
    let unknown = run(home.path(), &["--resume", ID], &[], &[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(results(&unknown)[0]["errors"][0].as_str().is_some_and(|e| e.contains("No conversation found")));
    run(home.path(), &[&id], &[], &[("a", "hello")]);
    let used = run(home.path(), &[&id], &[], &[]);
    assert_eq!(used.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&used.stderr).contains("is already in use"));
}

#[test]
fn an_interrupted_turn_runs_once_when_it_is_sent_again_with_the_env() {
    let (home, id) = fresh();
    let prompt = ("a", "hello CRASH=read EXIT=9 ONCE=1");
    let crashed = run(home.path(), &[&id], &[], &[prompt]);
    assert_eq!(crashed.status.code(), Some(9));
    assert!(results(&crashed).is_empty());
    let env = [("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1")];
    let again = run(home.path(), &["--resume", ID], &env, &[prompt]);
    assert_eq!(results(&again).len(), 1);
    assert_eq!(results(&again)[0]["resume_reason"], "interrupted_turn");
    let settled = run(home.path(), &["--resume", ID], &env, &[prompt]);
    assert!(results(&settled).is_empty());
    assert!(frames(&settled).iter().any(|f| f["state"] == "completed"));
}

#[test]
fn each_crash_point_ends_with_its_exit_code() {
    for point in ["read", "delta:1", "result", "half_result", "after_result"] {
        let (home, id) = fresh();
        let text = format!("go CRASH={point} EXIT=7");
        let output = run(home.path(), &[&id], &[], &[("a", &text)]);
        assert_eq!(output.status.code(), Some(7), "{point}");
        assert_eq!(results(&output).len(), usize::from(point == "after_result"), "{point}");
    }
    let (home, id) = fresh();
    let script = [("TREEWARDEN_FAKE", r#"{"start":"CRASH=spawn EXIT=3"}"#)];
    assert_eq!(run(home.path(), &[&id], &script, &[]).status.code(), Some(3));
}

#[test]
fn noise_and_refusals_are_printed_as_scripted() {
    let (home, id) = fresh();
    let noisy = run(home.path(), &[&id], &[], &[("a", "GARBAGE=2 UNKNOWN HUGE=100000 STDERR=1000")]);
    let text = String::from_utf8_lossy(&noisy.stdout);
    assert_eq!(text.matches("this is not JSON").count(), 2);
    assert!(text.lines().any(|l| l.len() > 100_000));
    assert!(noisy.stderr.len() >= 1000);
    assert!(frames(&noisy).iter().any(|f| f["type"] == "from_the_future"));
    let refused = run(home.path(), &["--resume", ID], &[], &[("b", "LIMIT=60")]);
    assert_eq!(results(&refused)[0]["api_error_status"], 429);
    assert_eq!(refused.status.code(), Some(1));
}
