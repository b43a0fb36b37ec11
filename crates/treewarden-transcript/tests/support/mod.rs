//! A transcript in a folder of its own.

#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use treewarden_proto::{SessionId, TurnId};
use treewarden_transcript::{DiskAnswer, Known, Resumable, Saved, Settled, answer_to, holds, prepare};

pub(crate) struct Disk {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) id: SessionId,
}

impl Disk {
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder"), id: SessionId::random() }
    }

    pub(crate) fn new(lines: &[Value]) -> Self {
        Self::of(lines.iter().map(|line| format!("{line}\n")).collect::<String>())
    }

    pub(crate) fn of(text: impl AsRef<[u8]>) -> Self {
        let disk = Self::empty();
        disk.write(text);
        disk
    }

    pub(crate) fn write(&self, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path().parent().expect("a folder")).expect("made");
        fs::write(self.path(), text).expect("a file");
    }

    pub(crate) fn config_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join(format!("projects/-home-user-project/{}.jsonl", self.id))
    }

    pub(crate) fn second_name(&self) -> PathBuf {
        self.dir.path().join(format!("treewarden/transcripts/-home-user-project/{}.jsonl", self.id))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("the transcript is there")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).expect("it is text")
    }

    pub(crate) fn prepare(&self, settled: &[Settled], open: Option<TurnId>) -> Resumable {
        self.prepare_known(&known(settled), open)
    }

    pub(crate) fn prepare_known(&self, known: &Known, open: Option<TurnId>) -> Resumable {
        prepare(self.config_dir(), self.id, known, open).expect("it can be read")
    }

    pub(crate) fn holds(&self, known: &Known) -> Saved {
        holds(self.config_dir(), self.id, known).expect("it can be read")
    }

    pub(crate) fn leaf(&self, settled: &[Settled], open: Option<TurnId>) -> String {
        match self.prepare(settled, open) {
            Resumable::At { leaf, .. } => leaf,
            other => panic!("it is there: {other:?}"),
        }
    }

    pub(crate) fn lost(&self, settled: &[Settled]) -> String {
        match self.prepare(settled, None) {
            Resumable::Lost { reason } => reason,
            other => panic!("it is lost: {other:?}"),
        }
    }

    pub(crate) fn answer(&self, turn: TurnId) -> Option<DiskAnswer> {
        answer_to(self.config_dir(), self.id, turn).expect("it can be read")
    }
}

/// What is known where only the journal was asked.
pub(crate) fn known(settled: &[Settled]) -> Known {
    Known { settled: settled.to_vec(), first: None }
}

/// A turn that asked the model and was answered.
pub(crate) fn answered(turn: TurnId) -> Settled {
    Settled { turn, written: true, answered: true }
}

/// A turn that the CLI answered by itself, and wrote nowhere.
pub(crate) fn by_the_cli(turn: TurnId) -> Settled {
    Settled { turn, written: false, answered: true }
}

pub(crate) fn prompt(turn: TurnId, parent: Option<&str>) -> Value {
    json!({ "type": "user", "uuid": turn, "parentUuid": parent, "message": { "role": "user", "content": "hello" } })
}

/// What a command of the CLI's printed, as it stands behind the prompt that called it.
pub(crate) fn printed(uuid: &str, parent: &str) -> Value {
    json!({ "type": "user", "uuid": uuid, "parentUuid": parent,
        "message": { "role": "user", "content": "<local-command-stdout>Compacted </local-command-stdout>" } })
}

pub(crate) fn woven(uuid: &str, turn: TurnId, parent: &str) -> Value {
    json!({ "type": "attachment", "uuid": uuid, "parentUuid": parent,
        "attachment": { "type": "queued_command", "prompt": "hello", "source_uuid": turn, "commandMode": "prompt" } })
}

pub(crate) fn text(uuid: &str, parent: &str, text: &str) -> Value {
    let content = json!([{ "type": "text", "text": text }]);
    json!({ "type": "assistant", "uuid": uuid, "parentUuid": parent,
        "message": { "id": format!("msg-{uuid}"), "role": "assistant", "content": content } })
}

pub(crate) fn call(uuid: &str, parent: &str) -> Value {
    let content = json!([{ "type": "tool_use", "id": format!("tool-{uuid}"), "name": "Bash", "input": {} }]);
    json!({ "type": "assistant", "uuid": uuid, "parentUuid": parent,
        "message": { "id": format!("msg-{uuid}"), "role": "assistant", "content": content } })
}

pub(crate) fn result(uuid: &str, of: &str) -> Value {
    let content = json!([{ "type": "tool_result", "tool_use_id": format!("tool-{of}"), "content": "x" }]);
    json!({ "type": "user", "uuid": uuid, "parentUuid": of, "message": { "role": "user", "content": content } })
}

/// A line in the user's name that is the CLI's own.
pub(crate) fn meta(uuid: &str, parent: &str, text: &str) -> Value {
    json!({ "type": "user", "uuid": uuid, "parentUuid": parent, "isMeta": true,
        "message": { "role": "user", "content": text } })
}

pub(crate) fn interruption(uuid: &str, parent: &str) -> Value {
    let content = json!([{ "type": "text", "text": "[Request interrupted by user]" }]);
    json!({ "type": "user", "uuid": uuid, "parentUuid": parent, "message": { "role": "user", "content": content } })
}

/// A prompt that nobody here asked: the end of a background task.
pub(crate) fn notification(uuid: &str, parent: &str) -> Value {
    json!({ "type": "user", "uuid": uuid, "parentUuid": parent, "origin": { "kind": "task-notification" },
        "message": { "role": "user", "content": "<task-notification>" } })
}

pub(crate) fn hint(leaf: &str) -> Value {
    json!({ "type": "last-prompt", "leafUuid": leaf })
}
