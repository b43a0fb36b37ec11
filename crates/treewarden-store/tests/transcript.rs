//! The CLI's transcript on disk: made ready for a resume, and asked for answers.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::transcript::{Resumable, answer_to, find, prepare};

struct Disk {
    dir: tempfile::TempDir,
    id: SessionId,
}

impl Disk {
    fn new(lines: &[Value], torn: &str) -> Self {
        let disk = Self { dir: tempfile::tempdir().expect("a temporary folder"), id: SessionId::random() };
        let project = disk.dir.path().join("projects/-home-user-project");
        fs::create_dir_all(&project).expect("a folder");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(disk.path(), text + torn).expect("a file");
        disk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(format!("projects/-home-user-project/{}.jsonl", self.id))
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).expect("the transcript is there")
    }

    fn prepare(&self, settled: Option<TurnId>, open: Option<TurnId>) -> Resumable {
        prepare(self.dir.path(), self.id, settled, open).expect("it can be read")
    }
}

fn prompt(turn: TurnId, parent: Option<&str>) -> Value {
    json!({ "type": "user", "uuid": turn, "parentUuid": parent, "message": { "role": "user", "content": "hello" } })
}

fn text(uuid: &str, parent: &str, text: &str) -> Value {
    let content = json!([{ "type": "text", "text": text }]);
    json!({ "type": "assistant", "uuid": uuid, "parentUuid": parent,
        "message": { "id": format!("msg-{uuid}"), "role": "assistant", "content": content } })
}

fn call(uuid: &str, parent: &str) -> Value {
    let content = json!([{ "type": "tool_use", "id": "t1", "name": "Bash", "input": {} }]);
    json!({ "type": "assistant", "uuid": uuid, "parentUuid": parent,
        "message": { "id": "m", "role": "assistant", "content": content } })
}

#[test]
fn without_a_transcript_nothing_is_persisted() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let id = SessionId::random();
    assert_eq!(prepare(dir.path(), id, None, None).expect("readable"), Resumable::NothingPersisted);
    assert_eq!(find(dir.path(), id), None);
    assert_eq!(answer_to(dir.path(), id, TurnId::new()).expect("readable"), None);
}

#[test]
fn a_transcript_without_a_message_is_begun_anew() {
    let disk = Disk::new(&[json!({ "type": "queue-operation" })], "");
    assert_eq!(disk.prepare(None, None), Resumable::NothingPersisted);
}

#[test]
fn a_torn_last_line_is_ended_and_no_line_is_changed() {
    let turn = TurnId::new();
    let disk = Disk::new(&[prompt(turn, None), text("a1", &turn.to_string(), "hi")], "{\"type\":\"assis");
    let before = disk.text();
    let Resumable::At { leaf, .. } = disk.prepare(Some(turn), None) else { panic!("it is there") };
    assert_eq!(leaf, "a1");
    assert!(disk.text().starts_with(&before), "what stood there stands there still");
    assert!(disk.text()[before.len()..].starts_with('\n'));
}

#[test]
fn the_hint_is_written_once_and_names_the_true_leaf() {
    let turn = TurnId::new();
    let hint = json!({ "type": "last-prompt", "leafUuid": "dead" });
    let lines =
        [prompt(turn, None), call("dead", &turn.to_string()), hint, text("a1", &turn.to_string(), "hi")];
    let disk = Disk::new(&lines, "");
    let first = disk.prepare(Some(turn), Some(turn));
    assert_eq!(first, Resumable::At { leaf: "a1".into(), hint_written: true, holds_open_turn: true });
    let last: Value = serde_json::from_str(disk.text().lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["leafUuid"], &last["sessionId"]), (&json!("a1"), &json!(disk.id)));
    let again = disk.text();
    assert!(matches!(disk.prepare(Some(turn), None), Resumable::At { hint_written: false, .. }));
    assert_eq!(disk.text(), again);
}

#[test]
fn a_settled_turn_that_is_not_there_is_a_lost_conversation() {
    let disk = Disk::new(&[prompt(TurnId::new(), None)], "");
    assert!(matches!(disk.prepare(Some(TurnId::new()), None), Resumable::Lost { .. }));
}

#[test]
fn an_open_turn_that_never_reached_the_transcript_is_not_run_again() {
    let disk = Disk::new(&[prompt(TurnId::new(), None)], "");
    let Resumable::At { holds_open_turn, .. } = disk.prepare(None, Some(TurnId::new())) else {
        panic!("there")
    };
    assert!(!holds_open_turn);
}

#[test]
fn the_answer_to_a_turn_is_its_own() {
    let (first, second) = (TurnId::new(), TurnId::new());
    let lines = [
        prompt(first, None),
        text("a1", &first.to_string(), "one"),
        prompt(second, Some("a1")),
        call("c2", &second.to_string()),
    ];
    let disk = Disk::new(&lines, "");
    let answer = |turn| answer_to(disk.dir.path(), disk.id, turn).expect("readable").expect("on disk");
    assert!(!answer(second).complete, "a tool call is no answer");
    assert!(!answer(first).complete, "what follows another prompt is not its answer");
    let lines = [prompt(first, None), text("a1", &first.to_string(), "one")];
    let disk = Disk::new(&lines, "");
    let answer = answer_to(disk.dir.path(), disk.id, first).expect("readable").expect("on disk");
    assert_eq!((answer.text.as_str(), answer.complete, answer.interrupted), ("one", true, false));
}

#[test]
fn an_interruption_is_told_from_an_answer() {
    let turn = TurnId::new();
    let note = json!({ "type": "user", "uuid": "n", "parentUuid": turn,
        "message": { "role": "user", "content": [{ "type": "text", "text": "[Request interrupted by user]" }] } });
    let disk = Disk::new(&[prompt(turn, None), note], "");
    let answer = answer_to(disk.dir.path(), disk.id, turn).expect("readable").expect("on disk");
    assert!(answer.interrupted && !answer.complete);
}
