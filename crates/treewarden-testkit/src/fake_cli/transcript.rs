//! The JSONL transcript: a tree of entries by `uuid` and `parentUuid`, append-only.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What the CLI writes as the user's words when a turn is interrupted, and while a tool runs.
pub(super) const INTERRUPTED: &str = "[Request interrupted by user]";
pub(super) const INTERRUPTED_TOOL: &str = "[Request interrupted by user for tool use]";

#[derive(Debug)]
pub(super) struct Transcript {
    path: PathBuf,
    session_id: String,
    /// The branch that is resumed, from its root to its leaf.
    pub(super) branch: Vec<Value>,
    /// How many entries of the branch stood there at the resume.
    pub(super) loaded: usize,
    dangling: bool,
}

/// Where the entries of all conversations of this directory stand.
pub(super) fn config_dir() -> PathBuf {
    std::env::var_os("CLAUDE_CONFIG_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".claude"))
}

impl Transcript {
    pub(super) fn new(session_id: &str) -> Self {
        let cwd = std::env::current_dir().unwrap_or_default();
        let key: String =
            cwd.to_string_lossy().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let path = config_dir().join("projects").join(key).join(format!("{session_id}.jsonl"));
        Self { path, session_id: session_id.to_owned(), branch: Vec::new(), loaded: 0, dangling: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the branch that the last hint names, or else the newest one.
    pub(super) fn load(&mut self) {
        let text = std::fs::read(&self.path).unwrap_or_default();
        let entries: Vec<Value> =
            text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let by_uuid: HashMap<&str, &Value> =
            entries.iter().filter_map(|e| Some((e["uuid"].as_str()?, e))).collect();
        let chain = |leaf: &str| {
            let mut chain = Vec::new();
            let mut at = by_uuid.get(leaf).copied();
            // A transcript with a ring in it must not hang the reader.
            while let Some(entry) = at.filter(|_| chain.len() <= entries.len()) {
                chain.push(entry.clone());
                at = entry["parentUuid"].as_str().and_then(|p| by_uuid.get(p).copied());
            }
            chain.reverse();
            chain
        };
        let hint = entries.iter().rev().find(|e| e["type"] == "last-prompt");
        let hint = hint.and_then(|e| e["leafUuid"].as_str()).filter(|u| by_uuid.contains_key(u));
        self.branch = entries
            .iter()
            .rev()
            .filter(|e| e["type"] == "user" || e["type"] == "assistant")
            .filter_map(|e| e["uuid"].as_str())
            .map(chain)
            .find(|c| hint.is_none_or(|hint| c.iter().any(|e| e["uuid"] == hint)))
            .unwrap_or_default();
        self.hint();
        // A tool call without a result is left behind as a dead branch.
        while self.branch.last().is_some_and(|e| e["message"]["content"][0]["type"] == "tool_use") {
            self.branch.pop();
            self.dangling = true;
        }
        self.loaded = self.branch.len();
    }

    /// A copy of the branch as a conversation of its own, written to its own file.
    pub(super) fn fork(&self, session_id: &str) -> Self {
        let mut fork = Self::new(session_id);
        for entry in &self.branch {
            let mut entry = entry.clone();
            entry["sessionId"] = json!(session_id);
            fork.write(&entry);
            fork.branch.push(entry);
        }
        (fork.loaded, fork.dangling) = (self.loaded, self.dangling);
        fork
    }

    /// Makes the file of a conversation in which nothing was said yet.
    pub(super) fn begin(&self) {
        self.write(&json!({ "type": "mode", "mode": "default", "sessionId": self.session_id }));
    }

    /// Whether a tool was called since the last prompt.
    pub(super) fn called_a_tool(&self) -> bool {
        let at = self.branch.iter().rposition(is_prompt).unwrap_or(0);
        let call = |e: &Value| e["message"]["content"][0]["type"] == "tool_use";
        self.dangling || self.branch[at..].iter().any(call)
    }

    pub(super) fn append(&mut self, kind: &str, uuid: &str, message: &Value) {
        let parent = self.branch.last().map_or(Value::Null, |e| e["uuid"].clone());
        let entry = json!({
            "parentUuid": parent, "isSidechain": false, "userType": "external", "type": kind,
            "message": message, "uuid": uuid, "sessionId": self.session_id,
        });
        self.write(&entry);
        self.branch.push(entry);
    }

    /// Writes the entry that says which leaf a resume goes to.
    pub(super) fn hint(&self) {
        if let Some(leaf) = self.branch.last() {
            self.write(&json!({
                "type": "last-prompt", "lastPrompt": "", "leafUuid": leaf["uuid"], "sessionId": self.session_id,
            }));
        }
    }

    fn write(&self, entry: &Value) {
        let write = || {
            if let Some(dir) = self.path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
            file.write_all(format!("{entry}\n").as_bytes())
        };
        if let Err(error) = write() {
            super::output::stderr(&format!("transcript {}: {error}\n", self.path.display()));
        }
    }

    /// The position of the prompt with this uuid in the branch.
    pub(super) fn find(&self, uuid: &str) -> Option<usize> {
        self.branch.iter().position(|e| e["type"] == "user" && e["uuid"] == uuid)
    }

    /// The last prompt, if nothing answered it.
    pub(super) fn interrupted(&self) -> Option<(String, String)> {
        let at = self.branch.iter().rposition(is_prompt)?;
        if self.is_settled(at) {
            return None;
        }
        let prompt = &self.branch[at];
        Some((prompt["uuid"].as_str()?.to_owned(), text_of(&prompt["message"])))
    }

    /// Whether the prompt at this position was answered, or interrupted by the user.
    pub(super) fn is_settled(&self, at: usize) -> bool {
        self.branch[at..].iter().any(|e| {
            let block = &e["message"]["content"][0];
            (e["type"] == "assistant" && block["type"] != "tool_use")
                || [INTERRUPTED, INTERRUPTED_TOOL].contains(&text_of(&e["message"]).as_str())
        })
    }

    /// The texts of all prompts in the branch, in order.
    pub(super) fn prompts(&self) -> impl DoubleEndedIterator<Item = String> {
        self.branch.iter().filter(|e| e["type"] == "user").map(|e| text_of(&e["message"]))
    }
}

fn is_prompt(entry: &Value) -> bool {
    entry["type"] == "user" && entry["message"]["content"][0]["type"] != "tool_result"
}

/// The text of a message whose content is a string or a list of blocks.
pub(super) fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            blocks.iter().filter_map(|b| b["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}
