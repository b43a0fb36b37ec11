//! Prompts that need no model: the frames and lines that were measured with 2.1.332.

use serde_json::{Value, json};

use super::running::{Fake, ID, entries, names};

const REPLAY: &str = "--replay-user-messages";

fn fresh() -> (tempfile::TempDir, Fake) {
    let home = tempfile::tempdir().expect("a directory");
    let fake = Fake::start(home.path(), &["--session-id", ID, REPLAY], &[]);
    (home, fake)
}

fn of<'a>(frames: &'a [Value], kind: &str) -> &'a Value {
    frames.iter().find(|f| f["type"] == kind).unwrap_or_else(|| panic!("{kind} in {frames:#?}"))
}

#[test]
fn help_blanks_and_what_a_hook_refuses_are_answered_and_have_no_entry_of_their_own() {
    for (text, shown, said) in [
        ("/help", "assistant", "isn't available"),
        ("  \n", "informational", "Blank prompt"),
        ("do it REFUSED", "informational", "blocked by hook"),
    ] {
        let (home, mut fake) = fresh();
        fake.prompt("t", "hello");
        fake.turn();
        fake.prompt("a", text);
        let frames = fake.turn();
        let expected = ["running", "queued a", "started a", "init", shown, "result", "completed a", "idle"];
        assert_eq!(names(&frames), expected, "{text}");
        let result = of(&frames, "result");
        assert_eq!((&result["subtype"], &result["num_turns"]), (&json!("success"), &json!(0)));
        assert_eq!((result.get("terminal_reason"), &result["user_message_uuids"]), (None, &json!(["a"])));
        assert!(result["result"].as_str().is_some_and(|text| text.contains(said)), "{result}");
        let entries = entries(home.path());
        assert!(entries.iter().all(|e| e["uuid"] != "a"), "{text}: no entry has the uuid");
        assert_eq!(entries.iter().filter(|e| e["submitUuid"] == "a").count(), usize::from(text == "/help"));
        fake.prompt("b", "and now");
        assert_eq!(fake.result()["result"], "answer to and now");
    }
}

#[test]
fn a_prompt_that_is_taken_as_it_is_is_no_command() {
    for (version, said) in [("2.1.248", "answer to /help"), ("2.1.247", "isn't available")] {
        let home = tempfile::tempdir().expect("a directory");
        let script = format!(r#"{{ "version": "{version}" }}"#);
        let mut fake =
            Fake::start(home.path(), &["--session-id", ID, REPLAY], &[("TREEWARDEN_FAKE", script.as_str())]);
        let message = json!({ "role": "user", "content": "/help" });
        fake.send(&json!({ "type": "user", "uuid": "a", "message": message, "client_composed": true }));
        let result = fake.result();
        assert!(result["result"].as_str().is_some_and(|text| text.contains(said)), "{version}: {result}");
    }
}

#[test]
fn cost_leaves_an_entry_that_has_the_uuid_and_another_text() {
    let (home, mut fake) = fresh();
    fake.prompt("a", "/cost");
    let frames = fake.turn();
    let expected =
        ["running", "queued a", "started a", "init", "assistant", "echo", "result", "completed a", "idle"];
    assert_eq!(names(&frames), expected);
    assert_eq!(of(&frames, "result")["num_turns"], 0);
    let entries = entries(home.path());
    let entry = entries.iter().find(|e| e["uuid"] == "a").expect("an entry");
    assert!(
        entry["message"]["content"].as_str().is_some_and(|text| text.starts_with("<command-name>/usage"))
    );
}

#[test]
fn a_compaction_begins_a_new_root_and_goes_on_from_its_summary() {
    let (home, mut fake) = fresh();
    fake.prompt("t", "My name is Alice");
    fake.turn();
    fake.prompt("a", "/compact");
    let frames = fake.turn();
    let expected = [
        "running",
        "queued a",
        "started a",
        "status",
        "status",
        "init",
        "compact_boundary",
        "user",
        "echo",
        "result",
        "completed a",
        "idle",
    ];
    assert_eq!(names(&frames), expected);
    let result = of(&frames, "result");
    assert_eq!((&result["num_turns"], &result["local_command"]), (&json!(0), &json!("compact")));
    let before = entries(home.path());
    let boundary = before.iter().find(|e| e["subtype"] == "compact_boundary").expect("a boundary");
    let leaf = before.iter().rfind(|e| e["type"] == "assistant").expect("an answer");
    assert_eq!((&boundary["parentUuid"], &boundary["logicalParentUuid"]), (&Value::Null, &leaf["uuid"]));
    let summary = before.iter().find(|e| e["isCompactSummary"] == true).expect("a summary");
    assert_eq!((&summary["type"], &summary["parentUuid"]), (&json!("user"), &boundary["uuid"]));
    assert!(before.iter().any(|e| e["uuid"] == "a" && e["type"] == "user"), "the command has its uuid");
    assert_eq!(fake.close(), Some(0));
    let mut again = Fake::start(home.path(), &["--resume", ID], &[]);
    again.prompt("b", "What is my name?");
    assert_eq!(again.result()["result"], "Your name is Alice.");
}
