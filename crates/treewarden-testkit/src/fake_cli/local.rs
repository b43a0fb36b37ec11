//! Prompts that the CLI answers without the model; frames and lines as 2.1.332 has them.
//!
//! | prompt | its uuid in the transcript |
//! |---|---|
//! | `/help`, blanks, one that a hook refuses | no entry has it; `/help` is named by the `submitUuid` of a `system` entry |
//! | `/cost`, `/compact` | a `user` entry has it, whose text is `<command-name>…` |
//!
//! A host must not take such an answer for the model's: no question was asked, `num_turns` is 0, the cost is 0, and most of these prompts leave no
//! entry by which a resume could find them. They begin a turn as others do (running, queued, started, init) and end it so (result, completed, idle).
//!
//! It is not for `/clear`, which `turn.rs` does, as it begins a conversation. A version without lifecycle frames answers none of them by itself.

use serde_json::{Value, json};

use super::output::{frame, uuid};
use super::run::{Cli, Prompt};

/// A prompt that needs no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// `/help`: the CLI says that it is not to be had here.
    Help,
    /// `/cost`: a text of the CLI's, in a frame that looks like the model's.
    Cost,
    /// `/compact`: a new root with a summary in it.
    Compact,
    /// Nothing but blanks; told before a hook is asked.
    Blank,
    /// One that a hook refused, by the word `REFUSED`.
    Refused,
}

/// Tells whether the prompt is answered by itself whatever a script says.
///
/// Such a prompt is never woven into a turn, nor put together with others: it waits until it is the first.
pub(super) fn is_command(prompt: &Prompt) -> bool {
    let text = prompt.text.trim();
    text.is_empty() || !prompt.verbatim && matches!(text, "/help" | "/cost" | "/compact")
}

impl Cli {
    /// What the prompt is, if it needs no model.
    pub(super) fn local(&self, prompt: &Prompt) -> Option<Local> {
        // A prompt that stands in the conversation is told so, and a version without lifecycle frames knows no commands.
        if !self.script.lifecycle || self.transcript.find(&prompt.uuid).is_some() {
            return None;
        }
        match prompt.text.trim() {
            "" => Some(Local::Blank),
            _ if prompt.verbatim => self.is_refused(prompt).then_some(Local::Refused),
            "/help" => Some(Local::Help),
            "/cost" => Some(Local::Cost),
            "/compact" => Some(Local::Compact),
            _ => self.is_refused(prompt).then_some(Local::Refused),
        }
    }

    /// Runs the turn of such a prompt, from `running` to `idle`. `MISSING` and the three crashes around a result hold here too; other faults do not.
    pub(super) fn answer_locally(&mut self, prompt: &Prompt, local: &Local) {
        let (words, _) = self.script.steer(&prompt.text);
        let words = words.once(&super::transcript::config_dir(), &prompt.uuid);
        self.current = vec![prompt.uuid.clone()];
        self.state("running");
        if !prompt.announced {
            self.lifecycle(&prompt.uuid, "queued");
        }
        self.lifecycle(&prompt.uuid, "started");
        if *local == Local::Compact {
            self.system("status", json!({ "status": "compacting" }));
            self.system("status", json!({ "status": null, "compact_result": "success" }));
        }
        self.init();
        let said = match local {
            Local::Help => self.help(&prompt.uuid),
            Local::Cost => self.cost(prompt),
            Local::Compact => self.compact(prompt),
            Local::Blank => self.notice(
                "Blank prompt — the message was only whitespace, so nothing was sent to the model.",
                &json!({}),
            ),
            Local::Refused => self.refuse(prompt),
        };
        let mut result = json!({ "subtype": "success", "is_error": false, "num_turns": 0, "stop_reason": null,
            "duration_api_ms": 0, "total_cost_usd": 0, "result": said });
        if *local == Local::Compact {
            result["local_command"] = json!("compact");
        }
        self.result(result, std::slice::from_ref(&prompt.uuid), &words, false);
        self.lifecycle(&prompt.uuid, "completed");
        self.current.clear();
        self.end_tasks();
        if self.notes.is_empty() {
            self.state("idle");
        }
    }

    /// Appends a `system` entry, under a uuid of its own: none of them has that of the prompt.
    fn entry(&mut self, subtype: &str, content: &str, more: &Value) {
        let mut fields = more.clone();
        fields["subtype"] = json!(subtype);
        fields["content"] = json!(content);
        fields["isMeta"] = json!(false);
        self.transcript.append_more("system", &uuid(), &fields);
    }

    /// What the CLI says of itself, in a frame that looks like the model's.
    fn says(&self, text: &str, more: &Value) {
        let mut value = more.clone();
        value["type"] = json!("assistant");
        value["uuid"] = json!(uuid());
        value["session_id"] = json!(self.session_id);
        value["parent_tool_use_id"] = Value::Null;
        value["message"] = json!({ "role": "assistant", "model": "<synthetic>", "type": "message",
            "id": uuid(), "content": [{ "type": "text", "text": text }] });
        frame(&value);
    }

    /// Answers `/help`, and returns the text for the result.
    fn help(&mut self, turn: &str) -> String {
        let text = "/help isn't available in this environment.";
        let out = format!("<local-command-stdout>{text}</local-command-stdout>");
        self.says(text, &json!({ "local_command_source": out }));
        self.entry("local_command", "/help", &json!({ "level": "info", "submitUuid": turn }));
        self.entry("local_command", &out, &json!({ "level": "info" }));
        text.to_owned()
    }

    /// Answers `/cost`, and returns the text for the result. The command is called `usage` in the entry, as 2.1.332 has it.
    fn cost(&mut self, prompt: &Prompt) -> String {
        let text = "Estimated cost:        $0.0007";
        let out = format!("<local-command-stdout>{text}</local-command-stdout>");
        self.says(text, &json!({ "local_command_source": out }));
        self.command(prompt, "usage");
        self.entry("local_command", &out, &json!({ "level": "info" }));
        text.to_owned()
    }

    /// The user entry of a command that leaves one, and its echo.
    fn command(&mut self, prompt: &Prompt, name: &str) {
        let text = format!(
            "<command-name>/{name}</command-name>\n            <command-message>{name}</command-message>\n            \
             <command-args></command-args>"
        );
        let message = json!({ "role": "user", "content": text });
        let fields = json!({ "message": message, "localCommand": name });
        self.transcript.append_more("user", &prompt.uuid, &fields);
        if self.options.replay {
            frame(&json!({ "type": "user", "message": message, "uuid": prompt.uuid, "isReplay": true,
                "session_id": self.session_id, "parent_tool_use_id": null }));
        }
    }

    /// Compacts, and returns what the result says, which is nothing. The summary keeps the name that was said, so that a test sees what a
    /// compaction brings over.
    fn compact(&mut self, prompt: &Prompt) -> String {
        let name = self.transcript.prompts().rev().find_map(|prompt| {
            let rest = prompt.split_once("My name is ")?.1;
            Some(format!(" My name is {}.", rest.split(|c: char| !c.is_alphanumeric()).next()?))
        });
        let boundary = uuid();
        self.transcript.compact(&boundary);
        let text = format!(
            "This session is being continued from a previous conversation that ran out of context.{}",
            name.unwrap_or_default()
        );
        let (message, summary) = (json!({ "role": "user", "content": text }), uuid());
        let fields =
            json!({ "message": message, "isCompactSummary": true, "isVisibleInTranscriptOnly": true });
        self.transcript.append_more("user", &summary, &fields);
        self.system(
            "compact_boundary",
            json!({ "compact_metadata": { "trigger": "manual", "pre_tokens": 15 } }),
        );
        frame(&json!({ "type": "user", "message": message, "uuid": summary, "session_id": self.session_id,
            "parent_tool_use_id": null, "isSynthetic": true }));
        self.command(prompt, "compact");
        let done = json!({ "role": "user",
            "content": "<local-command-stdout>Compacted </local-command-stdout>" });
        self.transcript.append_more("user", &uuid(), &json!({ "message": done, "localCommand": "compact" }));
        String::new()
    }

    /// A hook refuses the prompt.
    pub(super) fn is_refused(&self, prompt: &Prompt) -> bool {
        self.script.steer(&prompt.text).0.has("REFUSED")
    }

    /// Says and notes that a hook refused the prompt, with its text, and returns that for the result.
    fn refuse(&mut self, prompt: &Prompt) -> String {
        let text = format!(
            "UserPromptSubmit operation blocked by hook:\n[hook]: no\n\n\nOriginal prompt: {}",
            prompt.text
        );
        let outcome = json!({ "kind": "blocked_by_hook", "prompt_kept": false, "reason": "no" });
        self.notice(&text, &json!({ "prevent_continuation": true, "prompt_submit_outcome": outcome }))
    }

    /// Drops a prompt that a hook refuses when it is to be woven in: no result names it, and the turn goes on.
    pub(super) fn drop_refused(&mut self, prompt: &Prompt) {
        let dropped = json!({ "reason": "dropped_by_hook", "commandUuid": prompt.uuid });
        self.transcript.queue_operation("remove", dropped);
        self.lifecycle(&prompt.uuid, "started");
        self.lifecycle(&prompt.uuid, "completed");
        self.refuse(prompt);
    }

    /// An `informational` frame and entry of the CLI's own, with these fields more in the frame alone; returns the text.
    fn notice(&mut self, text: &str, more: &Value) -> String {
        let mut fields = more.clone();
        fields["content"] = json!(text);
        fields["level"] = json!("warning");
        self.system("informational", fields);
        self.entry("informational", text, &json!({ "level": "warning" }));
        text.to_owned()
    }
}
