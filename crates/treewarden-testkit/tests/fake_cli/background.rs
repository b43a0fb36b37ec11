//! Background tasks and the turns of the CLI's own: the order of frames that was measured with 2.1.332.

use std::path::Path;

use serde_json::{Value, json};

use super::running::{Fake, ID, entries, names};

const RESUME: (&str, &str) = ("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1");
const REPLAY: &str = "--replay-user-messages";

fn fresh() -> (tempfile::TempDir, Fake) {
    let home = tempfile::tempdir().expect("a directory");
    let fake = Fake::start(home.path(), &["--session-id", ID, REPLAY], &[]);
    (home, fake)
}

fn resume(home: &Path, env: &[(&str, &str)]) -> Fake {
    Fake::start(home, &["--resume", ID, REPLAY], env)
}

/// Starts a task in a turn of its own, and returns the frames of that turn; `idle` is not among them, since it does not
/// come where the task has ended already.
fn start(fake: &mut Fake, words: &str) -> Vec<Value> {
    fake.prompt("t", words);
    fake.until(|f| f["state"] == "completed")
}

/// Waits for the turn about the task's end, up to its tool call.
fn own_tool(fake: &Fake) {
    fake.until(|f| f["subtype"] == "init");
    fake.until(|f| f["type"] == "assistant");
}

fn of<'a>(frames: &'a [Value], subtype: &str) -> &'a Value {
    frames.iter().find(|f| f["subtype"] == subtype).unwrap_or_else(|| panic!("{subtype} in {frames:#?}"))
}

fn results(frames: &[Value]) -> Vec<&Value> {
    frames.iter().filter(|f| f["type"] == "result").collect()
}

fn kill(mut fake: Fake) {
    fake.child.kill().expect("it is ours");
    fake.child.wait().expect("it is ours");
}

#[test]
fn a_task_is_started_in_a_turn_and_told_of_in_another_that_nobody_asked_for() {
    let (home, mut fake) = fresh();
    let mut launch = start(&mut fake, "BACKGROUND=2000");
    launch.extend(fake.turn());
    assert_eq!(
        names(&launch)[5..],
        [
            "assistant",
            "background_tasks_changed",
            "task_started",
            "user",
            "assistant",
            "result",
            "completed run",
            "idle"
        ]
    );
    let own = fake.turn();
    assert_eq!(
        names(&own),
        [
            "task_updated",
            "task_notification",
            "background_tasks_changed",
            "running",
            "init",
            "assistant",
            "result",
            "idle"
        ]
    );
    let (task, result) = (&of(&launch, "task_started")["task_id"], results(&own)[0]);
    assert_eq!(
        (&of(&own, "task_notification")["task_id"], &of(&own, "task_notification")["status"]),
        (task, &json!("completed"))
    );
    assert_eq!(of(&own, "background_tasks_changed")["tasks"], json!([]));
    assert_eq!(
        (&result["origin"]["kind"], result.get("user_message_uuid")),
        (&json!("task-notification"), None)
    );
    let notes = entries(home.path()).into_iter().filter(|e| e["type"] == "user" && e["origin"].is_object());
    assert_eq!(notes.count(), 1, "the model is told once");
    fake.prompt("a", "hello");
    assert_eq!(fake.result()["result"], "answer to hello");
}

#[test]
fn a_prompt_that_comes_in_the_clis_own_turn_is_woven_in_under_another_uuid() {
    let (home, mut fake) = fresh();
    start(&mut fake, "BACKGROUND=1 OWN_TOOL=prompt");
    own_tool(&fake);
    fake.prompt("a", "hello");
    let frames = fake.turn();
    assert_eq!(
        names(&frames),
        ["queued a", "user", "echo", "started a", "assistant", "completed a", "result", "idle"]
    );
    let result = results(&frames)[0];
    assert_eq!(
        (&result["user_message_uuids"], &result["result"]),
        (&json!(["a"]), &json!("answer to hello"))
    );
    assert_eq!(result["origin"]["kind"], "task-notification");
    let entries = entries(home.path());
    assert!(entries.iter().all(|e| e["uuid"] != "a"), "no entry has the prompt's uuid");
    let woven: Vec<_> = entries.iter().filter(|e| e["attachment"]["type"] == "queued_command").collect();
    assert_eq!(woven.len(), 1);
    assert_eq!(
        (&woven[0]["attachment"]["source_uuid"], &woven[0]["attachment"]["prompt"]),
        (&json!("a"), &json!("hello"))
    );
    assert!(entries.iter().any(|e| e["uuid"] == woven[0]["parentUuid"]));
}

#[test]
fn a_prompt_that_a_hook_refuses_is_not_woven_in_and_no_result_names_it() {
    let (home, mut fake) = fresh();
    start(&mut fake, "BACKGROUND=1 OWN=100 OWN_TOOL=100");
    fake.until(|f| f["state"] == "running");
    fake.prompt("a", "hello REFUSED");
    let frames = fake.turn();
    let expected = [
        "init",
        "queued a",
        "assistant",
        "user",
        "started a",
        "completed a",
        "informational",
        "assistant",
        "result",
        "idle",
    ];
    assert_eq!(names(&frames), expected);
    assert_eq!(of(&frames, "informational")["prompt_submit_outcome"]["prompt_kept"], false);
    let result = results(&frames)[0];
    assert_eq!((result.get("user_message_uuids"), &result["result"]), (None, &json!("the task is done")));
    let entries = entries(home.path());
    let dropped = entries.iter().find(|e| e["reason"] == "dropped_by_hook").expect("it is noted");
    assert_eq!(dropped["commandUuid"], "a");
    assert!(entries.iter().all(|e| e["uuid"] != "a" && e["attachment"]["type"] != "queued_command"));
}

#[test]
fn a_prompt_that_comes_too_late_to_be_woven_in_has_a_turn_of_its_own() {
    let (_home, mut fake) = fresh();
    start(&mut fake, "BACKGROUND=1 OWN=100");
    fake.until(|f| f["subtype"] == "init");
    fake.prompt("a", "hello");
    let first = fake.turn();
    assert!(results(&first)[0].get("user_message_uuids").is_none());
    let second = fake.turn();
    assert_eq!(
        names(&second),
        ["running", "started a", "init", "echo", "assistant", "result", "completed a", "idle"]
    );
}

#[test]
fn a_task_that_died_with_its_cli_is_told_of_once_and_without_the_model() {
    let (home, mut fake) = fresh();
    start(&mut fake, "BACKGROUND=600000");
    kill(fake);
    let mut fake = resume(home.path(), &[RESUME]);
    let frames = fake.turn();
    assert_eq!(names(&frames), ["task_notification", "running", "init", "result", "idle"]);
    assert_eq!(of(&frames, "task_notification")["status"], "stopped");
    let result = results(&frames)[0];
    assert_eq!(
        (&result["num_turns"], &result["origin"]),
        (&json!(0), &json!({ "kind": "task-notification" }))
    );
    fake.prompt("a", "hello");
    assert_eq!(fake.result()["result"], "answer to hello");
    kill(fake);
    let mut fake = resume(home.path(), &[RESUME]);
    fake.prompt("b", "and again");
    assert_eq!(names(&fake.turn())[0], "running", "the task is not told of again");
}

#[test]
fn a_prompt_that_was_cut_off_beside_a_live_task_is_run_again_behind_the_note() {
    let (home, mut fake) = fresh();
    start(&mut fake, "BACKGROUND=600000");
    fake.prompt("a", "hello CRASH=read ONCE=1");
    while fake.next().is_some() {}
    let mut fake = resume(home.path(), &[RESUME]);
    let expected = [
        "task_notification",
        "running",
        "init",
        "result",
        "started a",
        "init",
        "echo",
        "assistant",
        "result",
        "completed a",
        "idle",
    ];
    assert_eq!(names(&fake.turn()), expected);
    let entries = entries(home.path());
    let prompt = entries.iter().find(|e| e["uuid"] == "a").expect("the prompt");
    let note = entries.iter().find(|e| e["origin"].is_object()).expect("the note");
    assert_eq!(note["parentUuid"], prompt["parentUuid"], "the two are branches of one place");
    fake.prompt("b", "My name is Bob");
    fake.result();
}

#[test]
fn a_prompt_that_is_cut_off_twice_beside_a_note_is_left_behind_and_swallowed_when_it_is_sent_again() {
    let (home, mut fake) = fresh();
    start(&mut fake, "BACKGROUND=600000");
    fake.prompt("a", "hello CRASH=read ONCE=2");
    while fake.next().is_some() {}
    let fake = resume(home.path(), &[RESUME]);
    while fake.next().is_some() {}
    drop(fake);
    let mut fake = resume(home.path(), &[RESUME]);
    fake.prompt("a", "hello CRASH=read ONCE=2");
    assert_eq!(names(&fake.turn()), ["echo", "completed a", "idle"], "it is neither run nor answered");
    fake.prompt("b", "hello under another uuid");
    assert_eq!(fake.result()["result"], "answer to hello under another uuid");
}

#[test]
fn a_turn_of_its_own_that_was_cut_off_is_carried_on_and_names_no_prompt() {
    let (home, mut fake) = fresh();
    start(&mut fake, "BACKGROUND=1 OWN_TOOL=prompt");
    own_tool(&fake);
    fake.prompt("a", "hello DELAY=600000");
    fake.until(|f| f["command_uuid"] == "a" && f["state"] == "started");
    kill(fake);
    let mut fake = resume(home.path(), &[RESUME]);
    let frames = fake.turn();
    assert_eq!(
        names(&frames),
        ["running", "started run", "init", "assistant", "result", "completed run", "idle"]
    );
    let result = results(&frames)[0];
    assert!(result["result"].as_str().is_some_and(|text| text.starts_with("answer to hello")), "{result}");
    assert_eq!(
        (result.get("user_message_uuids"), &result["resume_reason"]),
        (None, &json!("interrupted_turn"))
    );
    fake.prompt("a", "hello");
    assert_eq!(fake.result()["user_message_uuids"], json!(["a"]), "sent again, it is run a second time");
}
