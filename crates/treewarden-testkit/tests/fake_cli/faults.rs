//! Each scripted fault does what the table says, and nothing is left of it.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::running::{Fake, ID, LIMIT};
use serde_json::json;
use treewarden_testkit::faults::{assert_no_process_left, kill, processes_with_cookie, terminate, thaw};
use treewarden_testkit::poll_until;

/// So long is waited for what must not happen.
const WHILE: Duration = Duration::from_millis(200);

fn fresh(env: &[(&str, &str)]) -> (tempfile::TempDir, Fake) {
    let home = tempfile::tempdir().expect("a directory");
    let fake = Fake::start(home.path(), &["--session-id", ID, "--include-partial-messages"], env);
    (home, fake)
}

fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn freeze_stops_the_process_until_it_is_thawed() {
    let (_home, mut fake) = fresh(&[]);
    fake.prompt("a", "FREEZE");
    let pid = fake.child.id();
    poll_until(LIMIT, || (state_of(pid) == Some('T')).then_some(())).expect("it stands still");
    thaw(pid).expect("it is ours");
    assert_eq!(fake.result()["is_error"], false);
    assert_eq!(fake.close(), Some(0));
}

#[test]
fn ignore_eof_lives_on_until_it_is_told_to_end() {
    let (_home, mut fake) = fresh(&[]);
    fake.prompt("a", "IGNORE_EOF");
    fake.result();
    fake.stdin = None;
    assert_eq!(fake.ends(WHILE), None);
    terminate(fake.child.id()).expect("it is ours");
    assert_eq!(fake.ends(LIMIT).and_then(|status| status.code()), Some(143));
}

#[test]
fn ignore_term_lives_on_until_it_is_killed() {
    let (_home, mut fake) = fresh(&[("TREEWARDEN_FAKE", r#"{"start":"IGNORE_TERM"}"#)]);
    fake.prompt("a", "hello");
    fake.result();
    terminate(fake.child.id()).expect("it is ours");
    assert_eq!(fake.ends(WHILE), None);
    fake.prompt("b", "still there?");
    assert_eq!(fake.result()["user_message_uuids"], json!(["b"]));
    kill(fake.child.id()).expect("it is ours");
    assert_eq!(fake.ends(LIMIT).and_then(|status| status.signal()), Some(9));
}

#[test]
fn a_line_in_two_writes_is_one_frame() {
    let (_home, mut fake) = fresh(&[]);
    fake.prompt("a", "PARTIAL");
    let frames = fake.turn();
    assert!(frames.iter().all(|f| f.is_object()), "{frames:?}");
    assert!(frames.iter().any(|f| f["event"]["delta"]["text"] == "word0 "));
}

#[test]
fn a_child_in_its_own_session_outlives_the_cli_and_carries_its_cookie() {
    let cookie = format!("fake-child-{}", std::process::id());
    let (_home, mut fake) = fresh(&[("TREEWARDEN_SESSION", &cookie)]);
    fake.prompt("a", "CHILD");
    fake.result();
    let own = fake.child.id();
    kill(own).expect("it is ours");
    fake.ends(LIMIT).expect("it is gone");
    let left = processes_with_cookie(&cookie).expect("/proc is readable");
    for pid in &left {
        kill(*pid).expect("the child is ours");
    }
    assert!(!left.is_empty() && !left.contains(&own));
    assert_no_process_left(&cookie, LIMIT);
}

#[test]
fn a_tool_takes_its_time_and_stands_between_the_prompt_and_the_answer() {
    let (_home, mut fake) = fresh(&[]);
    let before = Instant::now();
    fake.prompt("a", "TOOL=60");
    let frames = fake.turn();
    assert!(before.elapsed() >= Duration::from_millis(60));
    let at = |what: &str| frames.iter().position(|f| f["message"]["content"][0]["type"] == what);
    assert!(at("tool_use").expect("a call") < at("tool_result").expect("a result"));
    assert!(at("tool_result") < at("text"));
}

#[test]
fn a_result_with_missing_fields_is_still_a_result() {
    let (_home, mut fake) = fresh(&[]);
    fake.prompt("a", "MISSING");
    let result = fake.result();
    assert_eq!(result["subtype"], "success");
    for field in ["usage", "session_id", "num_turns", "user_message_uuids", "result_index"] {
        assert!(result.get(field).is_none(), "{field}");
    }
}

#[test]
fn api_errors_are_results_that_say_their_status_and_end_with_one() {
    for (word, status) in [("AUTH", 401), ("STATUS=529", 529), ("STATUS=400", 400)] {
        let (_home, mut fake) = fresh(&[]);
        fake.prompt("a", word);
        let result = fake.result();
        assert_eq!(result["api_error_status"], status);
        assert_eq!((&result["is_error"], &result["terminal_reason"]), (&json!(true), &json!("api_error")));
        assert_eq!(fake.close(), Some(1), "{word}");
    }
}

#[test]
fn a_crash_at_initialize_answers_nothing_and_happens_once() {
    let script = ("TREEWARDEN_FAKE", r#"{"start":"CRASH=initialize EXIT=5 ONCE=1"}"#);
    let (home, mut fake) = fresh(&[script]);
    fake.control(&json!({ "subtype": "initialize" }));
    assert_eq!(fake.next(), None);
    assert_eq!(fake.ends(LIMIT).and_then(|status| status.code()), Some(5));
    let mut again = Fake::start(home.path(), &["--session-id", ID], &[script]);
    again.control(&json!({ "subtype": "initialize" }));
    assert_eq!(again.next().expect("an answer")["response"]["subtype"], "success");
    assert_eq!(again.close(), Some(0));
}

#[test]
fn exit_kill_ends_by_sigkill() {
    let (_home, mut fake) = fresh(&[]);
    fake.prompt("a", "CRASH=delta:1 EXIT=kill");
    assert_eq!(fake.ends(LIMIT).and_then(|status| status.signal()), Some(9));
}

#[test]
fn a_hang_reads_nothing_and_answers_nothing() {
    let (_home, mut fake) = fresh(&[]);
    fake.prompt("a", "HANG");
    fake.until(|f| f["subtype"] == "init");
    fake.control(&json!({ "subtype": "get_binary_version" }));
    fake.stdin = None;
    assert_eq!(fake.ends(WHILE), None);
}

#[test]
fn equal_deltas_come_as_many_as_were_asked_for() {
    let (_home, mut fake) = fresh(&[]);
    let before = Instant::now();
    fake.prompt("a", "N=200000");
    let frames = fake.turn().iter().filter(|f| f["type"] == "stream_event").count();
    assert_eq!(frames, 200_000, "in {:?}", before.elapsed());
}
