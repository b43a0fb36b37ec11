//! What the fake CLI does before it reads the first prompt: it waits for `initialize`, and resumes.
//!
//! It is for what differs between a new conversation and one that is carried on: the tasks that died with the last CLI, and the prompt
//! that nothing answered.
//!
//! ```text
//! await_initialize ─► tasks that died: notes, a result without a question ─► with CLAUDE_CODE_RESUME_INTERRUPTED_TURN=1:
//!    nothing is open            ─► idle
//!    a prompt, nothing behind   ─► its turn runs again, under its own uuid
//!    a prompt, and a tool call  ─► a line asks to go on; the turn runs under the uuid of that line
//!    a note                     ─► the CLI's own turn, as above
//! ```
//!
//! All of it comes before the first prompt of the host is run. So a host that sends a cut-off prompt again meets its run under way, and must take
//! what that says for its own: `prompt` in `run.rs` puts the two together. Where no turn is taken up here, a prompt that is sent again is judged by
//! `begin` there.

use serde_json::{Value, json};

use super::output::{exit, stderr, uuid};
use super::run::{Cli, Input, Prompt, TakenUp};
use super::transcript::{GO_ON, Unanswered};

impl Cli {
    /// Reads the first line, which must be `initialize`, before anything is run; tells whether there was one.
    pub(super) fn await_initialize(&mut self) -> bool {
        let Ok(Input::Line(line)) = self.input.recv() else { return false };
        let first: Value = serde_json::from_str(&line).unwrap_or_default();
        if first["type"] != "control_request" || first["request"]["subtype"] != "initialize" {
            stderr(
                "Error: --await-initialize requires the initialize control request as the first stdin line, and the \
                 first line is a different message.\n",
            );
            exit(1);
        }
        // Kept, and answered when a turn or the loop reads next: what is taken up after a resume begins
        // before that.
        self.first = Some(line);
        true
    }

    /// Tells of the tasks that died with the last CLI, and runs on what was cut off.
    pub(super) fn resume(&mut self) {
        let takes_up = std::env::var("CLAUDE_CODE_RESUME_INTERRUPTED_TURN").is_ok_and(|v| v == "1");
        self.tell_of_dead_tasks(takes_up);
        if takes_up {
            self.take_up();
        }
        if self.running.get() {
            self.state("idle");
        }
    }

    /// Runs the last prompt again if nothing answered it, before another frame is read; so does 2.1.332.
    ///
    /// The words of the prompt count again, so a fault without `ONCE` happens in each run.
    fn take_up(&mut self) {
        let Some(unanswered) = self.transcript.interrupted() else { return };
        let at_once = self.transcript.called_a_tool();
        let carried_on = (!self.transcript.ends_with_its_head()).then(|| self.carry_on());
        match unanswered {
            Unanswered::Note { uuid } => self.own_turn_again(&carried_on.unwrap_or(uuid)),
            Unanswered::Prompt { uuid, text } => {
                let frame = if carried_on.is_some() {
                    Value::Null
                } else {
                    json!({ "type": "user", "uuid": uuid, "message": { "role": "user", "content": text },
                        "parent_tool_use_id": null })
                };
                let run = carried_on.unwrap_or_else(|| uuid.clone());
                self.taken_up = Some(TakenUp { uuid: uuid.clone(), run, at_once, open: false });
                self.turn(vec![Prompt { uuid, text, verbatim: true, frame, announced: true }], true);
                self.taken_up = None;
            }
        }
    }

    /// Writes the line that has the model go on, and returns its uuid.
    ///
    /// The line is `isMeta`: nobody's prompt, and not what a later resume takes for the last thing that was asked.
    fn carry_on(&mut self) -> String {
        let entry = uuid();
        let text = json!([{ "type": "text", "text": GO_ON }]);
        let message = json!({ "role": "user", "content": text });
        self.transcript.append_more("user", &entry, &json!({ "message": message, "isMeta": true }));
        entry
    }
}
