//! The JSONL transcript: a tree of entries by `uuid` and `parentUuid`, append-only.
//!
//! It is written as the real CLI writes it, as far as a resume reads it. It must never change a line that stands there: what was
//! answered is looked for by others while this runs.
//!
//! ```text
//! file, line by line                  what the next resume makes of it
//!   a   user "one"
//!   b   assistant      parent a
//!   c   user "two"     parent b
//!   d   tool_use       parent c       the branch is a ─ b ─ c ─ d, and goes on behind c, as d has no result
//!   last-prompt        leaf d         the hint: a start wrote it that resumed behind a kill
//!   e   assistant      parent c       that start left d as a dead branch, and asked the model again
//!   f   user "three"   parent e       elsewhere: sent again, it is completed and never run
//! ```
//!
//! The newest leaf behind the last hint is the branch, or the newest leaf of all where no hint stands. A kill writes no hint, so what stands there
//! then is from the last start or the last clean end, and the newest leaf behind it may be on another branch than the host believes.
//!
//! Each line is written by one call that opens, appends and closes: a kill leaves whole lines, or at worst none of the last. A line that cannot be
//! written is told on stderr, and the CLI goes on, as the real one does. Only the main thread writes; two processes on one file are not kept apart.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization;

use super::project::project_key;

/// What the CLI writes as the user's words when a turn is interrupted, and while a tool runs.
pub(super) const INTERRUPTED: &str = "[Request interrupted by user]";
pub(super) const INTERRUPTED_TOOL: &str = "[Request interrupted by user for tool use]";
/// What the CLI writes for the result of a call that its death cut off.
const CUT_OFF: &str = "[Tool call interrupted: the session ended before this call's result was recorded, so its outcome is unknown. Check whether it took effect before relying on it or running it again.]";

#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// The file: `<config dir>/projects/<project key>/<session id>.jsonl`. It is made with the first line.
    path: PathBuf,
    /// What each line names as its conversation.
    session_id: String,
    /// The branch that is resumed, from its root to its leaf.
    pub(super) branch: Vec<Value>,
    /// How many entries of the branch stood there at the resume.
    pub(super) loaded: usize,
    /// The resume left a tool call behind that had no result: the tool may run twice.
    dangling: bool,
    /// The prompts of the file that are not in the branch: one that is sent again is not run.
    elsewhere: HashSet<String>,
    /// The background tasks whose end nothing tells of, each with the call that started it.
    pub(super) unended: Vec<(String, String)>,
}

/// What a conversation that is resumed was at when its CLI died.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// A prompt.
    /// Its uuid is the host's; run again, it keeps that.
    Prompt { uuid: String, text: String },
    /// The note of a background task that ended.
    /// No host knows its uuid.
    Note { uuid: String },
}

/// Where the entries of all conversations of this directory stand; composed letters are as in the CLI.
pub(super) fn config_dir() -> PathBuf {
    let dir = std::env::var_os("CLAUDE_CONFIG_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".claude"));
    match dir.to_str() {
        Some(text) => text.nfc().collect::<String>().into(),
        None => dir,
    }
}

impl Transcript {
    /// The transcript of this conversation in the working directory of the process; nothing is read or written yet.
    pub(super) fn new(session_id: &str) -> Self {
        let cwd = std::env::current_dir().unwrap_or_default();
        let path = config_dir().join("projects").join(project_key(&cwd)).join(format!("{session_id}.jsonl"));
        Self { path, session_id: session_id.to_owned(), branch: Vec::new(), loaded: 0, ..Self::default() }
    }

    /// Where the file is, or would be: a conversation is there if this is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the branch that the last hint names, or else the newest one.
    ///
    /// A line that is no JSON is passed over, as one is that a kill cut off. It writes two things: the hint, and answers to calls that were cut off if the
    /// environment asks for them.
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
        // The newest leaf behind the hint, even where newer ones stand beside that: so does the real CLI, and
        // loses every turn that was said beside a dead branch.
        let hint = entries.iter().rev().find(|e| e["type"] == "last-prompt");
        let hint = hint.and_then(|e| e["leafUuid"].as_str()).filter(|u| by_uuid.contains_key(u));
        self.branch = entries
            .iter()
            .rev()
            .filter_map(|e| e["uuid"].as_str())
            .map(chain)
            .find(|c| hint.is_none_or(|hint| c.iter().any(|e| e["uuid"] == hint)))
            .unwrap_or_default();
        let here: HashSet<&str> = self.branch.iter().filter_map(|e| e["uuid"].as_str()).collect();
        let prompts = entries.iter().filter(|e| e["type"] == "user").filter_map(|e| e["uuid"].as_str());
        self.elsewhere = prompts.filter(|uuid| !here.contains(uuid)).map(str::to_owned).collect();
        let notes: String = entries.iter().filter(|e| is_note(e)).map(|e| text_of(&e["message"])).collect();
        let tasks = self.branch.iter().filter_map(|entry| {
            let task = entry["toolUseResult"]["backgroundTaskId"].as_str()?;
            let call = entry["message"]["content"][0]["tool_use_id"].as_str()?;
            (!notes.contains(task)).then(|| (task.to_owned(), call.to_owned()))
        });
        self.unended = tasks.collect();
        // A start that resumes writes the hint, before it says a word. That is the one that a kill leaves
        // behind.
        self.hint();
        self.cut_off();
        self.loaded = self.branch.len();
    }

    /// Deals with tool calls that have no result: they are answered if the environment says so, or left behind as a
    /// dead branch.
    fn cut_off(&mut self) {
        let is_call = |e: &Value| e["message"]["content"][0]["type"] == "tool_use";
        let shows = std::env::var("CLAUDE_CODE_RESUME_SHOWS_CUT_OFF_CALLS").is_ok_and(|v| v == "1");
        if shows && let Some(call) = self.branch.last().filter(|e| is_call(e)) {
            let call = call["message"]["content"][0]["id"].clone();
            let message = json!({ "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": call, "content": CUT_OFF, "is_error": true } ] });
            self.append_more(
                "user",
                &super::output::uuid(),
                &json!({ "message": message, "toolUseResult": CUT_OFF }),
            );
        }
        while self.branch.last().is_some_and(is_call) {
            self.branch.pop();
            // The branch goes on before the call, which is asked of the model again: so its tool may run
            // twice.
            self.dangling = true;
        }
    }

    /// A copy of the branch as a conversation of its own, written to its own file.
    ///
    /// The old file is not touched.
    pub(super) fn fork(&self, session_id: &str) -> Self {
        let mut fork = Self::new(session_id);
        for entry in &self.branch {
            let mut entry = entry.clone();
            // A fork keeps the uuids: a prompt that the old conversation ran is known in the new one.
            entry["sessionId"] = json!(session_id);
            fork.write(&entry);
            fork.branch.push(entry);
        }
        (fork.loaded, fork.dangling) = (self.loaded, self.dangling);
        fork
    }

    /// Makes the file of a conversation in which nothing was said yet.
    ///
    /// It is for `/clear`: a conversation that ends before its first prompt can be resumed all the same.
    pub(super) fn begin(&self) {
        self.write(&json!({ "type": "mode", "mode": "default", "sessionId": self.session_id }));
    }

    /// Whether a tool was called since the last prompt.
    pub(super) fn called_a_tool(&self) -> bool {
        let at = self.branch.iter().rposition(is_prompt).unwrap_or(0);
        let call = |e: &Value| e["message"]["content"][0]["type"] == "tool_use";
        self.dangling || self.branch[at..].iter().any(call)
    }

    /// Appends an entry with this message behind the leaf, under this uuid.
    pub(super) fn append(&mut self, kind: &str, uuid: &str, message: &Value) {
        self.append_more(kind, uuid, &json!({ "message": message }));
    }

    /// Appends an entry with these fields.
    ///
    /// The fields must be an object; they come beside those that each entry has, and win over them.
    pub(super) fn append_more(&mut self, kind: &str, uuid: &str, fields: &Value) {
        self.insert(self.branch.len(), kind, uuid, fields);
    }

    /// Appends the note of a task that died with the last CLI, which is behind a prompt that was cut off only if
    /// something of its answer is there: else the two are branches of one place, and the prompt's is the older one.
    pub(super) fn append_dead_note(&mut self, uuid: &str, fields: &Value, takes_up: bool) {
        let cut = takes_up && self.branch.last().is_some_and(is_prompt);
        let at = self.branch.len() - usize::from(cut);
        self.insert(at, "user", uuid, fields);
        // From here on the newest branch counts, which is the note's until the prompt is answered.
        if let Some(fork) = at.checked_sub(1).filter(|_| cut) {
            self.hint_at(&self.branch[fork]["uuid"]);
        }
    }

    /// Writes an entry whose parent is the one before this place of the branch, and puts it there. In the file it is the last line whatever its place.
    fn insert(&mut self, at: usize, kind: &str, uuid: &str, fields: &Value) {
        let parent = at.checked_sub(1).map_or(Value::Null, |parent| self.branch[parent]["uuid"].clone());
        let mut entry = json!({
            "parentUuid": parent, "isSidechain": false, "userType": "external", "type": kind,
            "uuid": uuid, "sessionId": self.session_id,
        });
        for (key, value) in fields.as_object().into_iter().flatten() {
            entry[key] = value.clone();
        }
        self.write(&entry);
        self.branch.insert(at, entry);
    }

    /// Begins a new root, as a compaction does; what was said before is no longer in the branch.
    pub(super) fn compact(&mut self, uuid: &str) {
        let leaf = self.branch.last().map_or(Value::Null, |e| e["uuid"].clone());
        self.hint();
        // What was said before the compaction is no longer in the branch. Sent again, such a prompt is
        // completed without being run.
        self.elsewhere.extend(self.branch.drain(..).filter_map(|e| Some(e["uuid"].as_str()?.to_owned())));
        self.loaded = 0;
        self.append_more(
            "system",
            uuid,
            &json!({ "logicalParentUuid": leaf, "subtype": "compact_boundary",
            "content": "Conversation compacted", "isMeta": false, "level": "info",
            "compactMetadata": { "trigger": "manual", "preTokens": 15 } }),
        );
    }

    /// Writes a line that is no entry of the tree.
    pub(super) fn queue_operation(&self, operation: &str, mut fields: Value) {
        fields["type"] = json!("queue-operation");
        fields["operation"] = json!(operation);
        fields["sessionId"] = json!(self.session_id);
        self.write(&fields);
    }

    /// Tells whether the uuid is that of a prompt that a resume left behind.
    pub(super) fn is_elsewhere(&self, uuid: &str) -> bool {
        self.elsewhere.contains(uuid)
    }

    /// Tells whether nothing came behind the newest prompt or note.
    pub(super) fn ends_with_its_head(&self) -> bool {
        self.branch.last().is_some_and(is_head)
    }

    /// Tells whether a tool of the turn of the moment has a result.
    pub(super) fn has_a_result(&self) -> bool {
        let at = self.branch.iter().rposition(is_head).unwrap_or(0);
        self.branch[at..].iter().any(|e| e["message"]["content"][0]["type"] == "tool_result")
    }

    /// The texts of the prompts that were woven into the turn of the moment.
    pub(super) fn woven(&self) -> Vec<String> {
        let at = self.branch.iter().rposition(is_head).unwrap_or(0);
        let woven = self.branch[at..].iter().filter(|e| e["attachment"]["type"] == "queued_command");
        woven.filter_map(|e| Some(e["attachment"]["prompt"].as_str()?.to_owned())).collect()
    }

    /// Writes the entry that says which leaf a resume goes to.
    pub(super) fn hint(&self) {
        if let Some(leaf) = self.branch.last() {
            self.hint_at(&leaf["uuid"]);
        }
    }

    fn hint_at(&self, leaf: &Value) {
        self.write(&json!({
            "type": "last-prompt", "lastPrompt": "", "leafUuid": leaf, "sessionId": self.session_id,
        }));
    }

    /// Appends one line to the file, and makes its folder before if need be.
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
    ///
    /// `None` also for a prompt on another branch, and for one that was woven in: that has no `user` entry.
    pub(super) fn find(&self, uuid: &str) -> Option<usize> {
        self.branch.iter().position(|e| e["type"] == "user" && e["uuid"] == uuid)
    }

    /// The last prompt, or the last note, if nothing answered it.
    ///
    /// `None` where nothing was asked, or all was answered. It is what a resume runs again, and only with
    /// `CLAUDE_CODE_RESUME_INTERRUPTED_TURN`.
    pub(super) fn interrupted(&self) -> Option<Unanswered> {
        let at = self.branch.iter().rposition(is_head)?;
        if self.is_settled(at) {
            return None;
        }
        let head = &self.branch[at];
        let uuid = head["uuid"].as_str()?.to_owned();
        let text = text_of(&head["message"]);
        Some(if is_note(head) { Unanswered::Note { uuid } } else { Unanswered::Prompt { uuid, text } })
    }

    /// Whether the prompt at this position was answered, or interrupted by the user.
    pub(super) fn is_settled(&self, at: usize) -> bool {
        self.branch[at..].iter().any(|e| {
            let block = &e["message"]["content"][0];
            // A call of a tool is no answer: a prompt that has nothing more behind it was cut off.
            // Nor is a failure of the API: 2.1.332 goes on behind it.
            (e["type"] == "assistant" && block["type"] != "tool_use" && e["isApiErrorMessage"] != true)
                || [INTERRUPTED, INTERRUPTED_TOOL].contains(&text_of(&e["message"]).as_str())
        })
    }

    /// The last thing that was asked, wherever it stands, but for words that ask to go on with it.
    pub(super) fn asked_last(&self) -> Option<String> {
        self.branch.iter().rev().find_map(|entry| {
            let woven = entry["attachment"]["prompt"].as_str().filter(|_| entry["type"] == "attachment");
            let own = || is_prompt(entry).then(|| text_of(&entry["message"]));
            woven.map(str::to_owned).or_else(own).filter(|text| text != GO_ON)
        })
    }

    /// The texts of all prompts in the branch, in order.
    pub(super) fn prompts(&self) -> impl DoubleEndedIterator<Item = String> {
        self.branch.iter().filter(|e| e["type"] == "user").map(|e| text_of(&e["message"]))
    }
}

/// The words in which a CLI is asked to go on with what was cut off.
pub(super) const GO_ON: &str = "Continue from where you left off.";

/// What a user said, or the host in the user's name: not the result of a tool, nor a line that the CLI wrote for itself.
fn is_prompt(entry: &Value) -> bool {
    entry["type"] == "user"
        && entry["message"]["content"][0]["type"] != "tool_result"
        && ["isMeta", "isCompactSummary", "origin", "localCommand"].iter().all(|key| entry.get(key).is_none())
}

/// The note of a background task that ended.
fn is_note(entry: &Value) -> bool {
    entry["origin"]["kind"] == "task-notification"
}

/// What a turn begins with; the note of a task that died with its CLI begins none.
fn is_head(entry: &Value) -> bool {
    is_prompt(entry) || (is_note(entry) && !text_of(&entry["message"]).contains("<status>stopped<"))
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
