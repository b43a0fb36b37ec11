//! The bare fake CLI: one thread and nothing but pipes, to measure the program that drives it.
//!
//! It keeps no transcript, knows few words, and names no prompts (as 2.1.197), so that what is measured is its driver.
//! It is not for tests of behaviour: a conversation with it cannot be resumed.
//!
//! | it does | it does not |
//! |---|---|
//! | read a line, answer, read the next | read while it answers: an interrupt waits until the turn is over |
//! | `N=<n>`: deltas, 64 KiB in one write | `command_lifecycle`, session states, echoes |
//! | `HUGE=<bytes>`: a result of a tool, about so long | crash, wait, ask, or anything else of the script |
//! | answer each control request with a success | look which one it is, but for `end_session` |
//!
//! Frames are made once and written as bytes; what is left for each turn is a parse of its prompt. Their uuids repeat, which no host may mind
//! that is measured with it.

use std::io::{BufRead, StdinLock};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::options::Options;
use super::output::{frame, raw, uuid};
use super::script::{Script, Words};
use super::transcript::text_of;

/// So much of the firehose goes into one write: what a pipe holds.
const BLOCK: usize = 64 << 10;

/// Serves until stdin ends or `end_session` is asked; the exit code is 0 always.
pub(super) fn main(options: &Options, script: &Script) -> ExitCode {
    let session_id = options.resume.clone().or_else(|| options.session_id.clone()).unwrap_or_else(uuid);
    let cli = Bare { start: start(&session_id, &script.version), delta: delta(&session_id), session_id };
    cli.serve(std::io::stdin().lock());
    ExitCode::SUCCESS
}

/// What is the same in every turn, made once.
struct Bare {
    /// That of the arguments; nothing looks whether it is there or new.
    session_id: String,
    /// The frame with which a turn begins.
    start: String,
    /// One frame of the firehose.
    delta: String,
}

impl Bare {
    /// Reads line by line, one buffer for all. A line that is no JSON is passed over, while the other fake CLI ends there.
    fn serve(&self, mut stdin: StdinLock<'_>) {
        let mut line = String::new();
        let mut block = Vec::new();
        while stdin.read_line(&mut line).is_ok_and(|read| read > 0) {
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            match value["type"].as_str() {
                Some("control_request") => {
                    frame(&json!({ "type": "control_response", "response": { "subtype": "success",
                        "request_id": value["request_id"], "response": { "commands": [], "agents": [],
                        "output_style": "default", "available_output_styles": [], "models": [],
                        "account": {} } } }));
                    if value["request"]["subtype"] == "end_session" {
                        return;
                    }
                }
                Some("user") => self.turn(&Words::new(&text_of(&value["message"])), &mut block),
                _ => {}
            }
            line.clear();
        }
    }

    /// One turn in a few writes: its beginning, the long line, the deltas, its end. `block` is kept between turns.
    fn turn(&self, words: &Words, block: &mut Vec<u8>) {
        raw(self.start.as_bytes());
        if let Some(bytes) = words.number("HUGE") {
            raw(self.huge(usize::try_from(bytes).unwrap_or(0)).as_bytes());
        }
        let count = words.number("N").unwrap_or(0);
        self.firehose(usize::try_from(count).unwrap_or(usize::MAX), block);
        raw(self.end(count).as_bytes());
    }

    /// Writes so many deltas, as many in one write as a pipe holds.
    fn firehose(&self, count: usize, block: &mut Vec<u8>) {
        let each = self.delta.len();
        let per = BLOCK / each;
        if count > 0 && block.is_empty() {
            // Made with the first firehose and kept: to put 64 KiB together for each write would be what is
            // measured.
            *block = self.delta.as_bytes().repeat(per);
        }
        let mut left = count;
        while left > 0 {
            let now = left.min(per);
            raw(&block[..now * each]);
            left -= now;
        }
    }

    /// One frame of about so many bytes: the result of a tool that printed a long text.
    fn huge(&self, bytes: usize) -> String {
        const TEXT: &str = "a line of what a tool printed, with a \\\"quote\\\" and an end\\n";
        let text = TEXT.repeat(bytes / TEXT.len());
        format!(
            r#"{{"type":"user","message":{{"role":"user","content":[{{"tool_use_id":"toolu_1","type":"tool_result","content":"{text}"}}]}},"parent_tool_use_id":null,"session_id":"{}","uuid":"9b1f5f0e-8f0e-4a2e-9a0e-1f2e3d4c5b6d"}}"#,
            self.session_id
        ) + "\n"
    }

    /// The answer and the result of a turn, in one write.
    fn end(&self, count: u64) -> String {
        let id = &self.session_id;
        format!(
            concat!(
                r#"{{"type":"assistant","message":{{"id":"msg_1","type":"message","role":"assistant","#,
                r#""model":"claude-opus-5-5","content":[{{"type":"text","text":"done {count}"}}],"#,
                r#""stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":10,"output_tokens":5,"#,
                r#""cache_creation_input_tokens":0,"cache_read_input_tokens":0}}}},"parent_tool_use_id":null,"#,
                r#""session_id":"{id}","uuid":"9b1f5f0e-8f0e-4a2e-9a0e-1f2e3d4c5b6b"}}"#,
                "\n",
                r#"{{"type":"result","subtype":"success","is_error":false,"duration_ms":5,"duration_api_ms":4,"#,
                r#""num_turns":1,"result":"done {count}","stop_reason":"end_turn","session_id":"{id}","#,
                r#""total_cost_usd":0.001,"usage":{{"input_tokens":10,"output_tokens":5,"#,
                r#""cache_creation_input_tokens":0,"cache_read_input_tokens":0}},"modelUsage":{{}},"#,
                r#""permission_denials":[],"uuid":"9b1f5f0e-8f0e-4a2e-9a0e-1f2e3d4c5b6c"}}"#,
                "\n"
            ),
            count = count,
            id = id
        )
    }
}

/// The `init` frame of every turn, with its line end.
fn start(session_id: &str, version: &str) -> String {
    let init = json!({ "type": "system", "subtype": "init", "cwd": "/", "session_id": session_id, "tools": [],
        "mcp_servers": [], "model": "claude-opus-5-5", "permissionMode": "default", "slash_commands": [],
        "apiKeySource": "none", "claude_code_version": version, "output_style": "default", "agents": [],
        "skills": [], "plugins": [], "uuid": uuid() });
    format!("{init}\n")
}

/// A text delta as the real CLI writes it: 257 bytes, with its line end.
fn delta(session_id: &str) -> String {
    format!(
        concat!(
            r#"{{"type":"stream_event","event":{{"type":"content_block_delta","index":0,"#,
            r#""delta":{{"type":"text_delta","text":"The quick brown fox "}}}},"session_id":"{}","#,
            r#""parent_tool_use_id":null,"uuid":"9b1f5f0e-8f0e-4a2e-9a0e-1f2e3d4c5b6a"}}"#,
            "\n"
        ),
        session_id
    )
}
