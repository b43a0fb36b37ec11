//! Background tasks, and the turns that the CLI has of its own about them; frames and lines as 2.1.332 has them.
//!
//! ```text
//! BACKGROUND ─► task runs ─► task_updated, task_notification ─► idle? ─► running, init ─► [tool ─► woven prompts] ─► result
//!                   └─ the CLI is killed, and resumed ─► task_notification (stopped), running, init, result ─► …
//! ```
//!
//! It is for the two things about them that a host gets wrong: a turn that it did not ask for, whose result names no prompt or one that was woven
//! in; and a task that dies with its CLI, of which the next one tells. No task is a process: it is a time at which it has ended.
//!
//! A task ends wherever the turn of the moment waits, and its note waits until no prompt does. It must never be told twice: the note is taken out
//! of the queue with its turn, and a resume tells only of those whose end no entry names.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::output::{frame, uuid};
use super::run::Cli;
use super::script::Words;
use super::transcript::config_dir;

/// The words of 2.1.332 for a task that died with its CLI.
const STOPPED: &str = "Background shell command didn't finish before the previous session ended";

/// A background task that runs.
#[derive(Debug)]
pub(super) struct Task {
    /// How frames and the transcript name it: `b` and eight hex digits.
    id: String,
    /// The run that frames name beside it; the transcript has it in the origin of the note.
    run: String,
    /// The tool call that started it (`toolu_…`).
    call: String,
    /// When it has ended; told at the next wait behind that.
    ends: Instant,
    /// How long the turn about its end waits before its tool call, and how long that takes.
    own: (Duration, Option<OwnTool>),
}

/// How long the tool call takes in a turn about the end of a task.
#[derive(Debug, Clone, Copy)]
enum OwnTool {
    /// So long, or until an interrupt.
    For(Duration),
    /// Until a prompt waits, so that this prompt is woven in however slow the machine is.
    UntilAPrompt,
}

/// The end of a task, of which a turn is to tell.
#[derive(Debug)]
pub(super) struct Note {
    /// The task, which runs no more.
    task: Task,
}

impl Cli {
    /// Calls the tool that starts a task, within a turn.
    pub(super) fn start_task(&mut self, words: &Words, length: Duration) {
        let call = format!("toolu_{}", uuid());
        let input = json!({ "command": "sleep", "description": "x", "run_in_background": true });
        self.say(&json!([{ "type": "tool_use", "id": call, "name": "Bash", "input": input }]), "tool_use");
        let id = format!("b{}", &uuid()[..8]);
        let own_tool = words.text("OWN_TOOL").map(|text| match text {
            "prompt" => OwnTool::UntilAPrompt,
            _ => OwnTool::For(words.millis("OWN_TOOL")),
        });
        self.tasks.push(Task {
            id: id.clone(),
            run: format!("0{}", &uuid()[..8]),
            call: call.clone(),
            ends: Instant::now() + length,
            own: (words.millis("OWN"), own_tool),
        });
        self.tell_of_tasks();
        let task = self.tasks.last().expect("it was just pushed");
        self.system(
            "task_started",
            json!({ "task_id": task.id, "run_id": task.run, "tool_use_id": task.call,
            "description": "x", "is_backgrounded": true, "task_type": "local_bash" }),
        );
        let text =
            format!("Command running in background with ID: {id}. You will be notified when it completes.");
        self.tool_result(&call, &text, &json!({ "backgroundTaskId": id }));
    }

    /// Says which tasks run, after each change.
    fn tell_of_tasks(&self) {
        let task = |task: &Task| json!({ "task_id": task.id, "run_id": task.run, "task_type": "local_bash", "description": "x" });
        // The whole set each time, as in the real CLI: whoever missed one frame is right again with the next.
        let tasks: Vec<Value> = self.tasks.iter().map(task).collect();
        self.system("background_tasks_changed", json!({ "tasks": tasks }));
    }

    /// Writes the result of a call into the transcript and to the host. `result` is what the CLI keeps beside the text; a resume finds the tasks by its
    /// `backgroundTaskId`.
    fn tool_result(&mut self, call: &str, text: &str, result: &Value) {
        let message = json!({ "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": call, "content": text, "is_error": false } ] });
        let entry = uuid();
        let fields = json!({ "message": message, "toolUseResult": result });
        self.transcript.append_more("user", &entry, &fields);
        frame(&json!({ "type": "user", "message": message, "parent_tool_use_id": null, "uuid": entry,
            "session_id": self.session_id, "tool_use_result": result }));
    }

    /// So long it is until the next task ends.
    ///
    /// With no task it is for ever: the caller sets a bound.
    pub(super) fn until_a_task_ends(&self) -> Duration {
        let ends = self.tasks.iter().map(|task| task.ends).min();
        ends.map_or(Duration::MAX, |ends| ends.saturating_duration_since(Instant::now()))
    }

    /// Says of each task whose time is over that it ended, whatever else is under way.
    pub(super) fn end_tasks(&mut self) {
        let now = Instant::now();
        while let Some(at) = self.tasks.iter().position(|task| task.ends <= now) {
            let task = self.tasks.remove(at);
            self.system(
                "task_updated",
                json!({ "task_id": task.id, "run_id": task.run,
                "patch": { "status": "completed" } }),
            );
            self.system(
                "task_notification",
                json!({ "task_id": task.id, "run_id": task.run,
                "tool_use_id": task.call, "status": "completed", "output_file": "",
                "summary": "Background command \"x\" completed (exit code 0)" }),
            );
            self.tell_of_tasks();
            let text = note_text(&task.id, &task.call, "completed", "Background command \"x\" completed");
            self.transcript.queue_operation("enqueue", json!({ "content": text }));
            self.notes.push_back(Note { task });
        }
    }

    /// A turn that nobody asked for, about a task that ended.
    pub(super) fn own_turn(&mut self, note: &Note) {
        let task = &note.task;
        self.begin_own(None);
        let text = note_text(&task.id, &task.call, "completed", "Background command \"x\" completed");
        let origin = json!({ "kind": "task-notification", "producer": "session-task", "runId": task.run });
        // The note's own entry is written when its turn begins and not when the task ends: a kill in between
        // leaves an `enqueue` alone.
        self.transcript.queue_operation("dequeue", json!({}));
        self.transcript.append_more(
            "user",
            &uuid(),
            &json!({ "origin": origin,
            "message": { "role": "user", "content": text } }),
        );
        let (wait, tool) = task.own;
        self.wait(wait);
        let mut woven = Vec::new();
        if let Some(length) = tool.filter(|_| !self.interrupted) {
            let call = format!("toolu_{}", uuid());
            let input = json!({ "command": "true", "description": "step" });
            self.say(
                &json!([{ "type": "tool_use", "id": call, "name": "Bash", "input": input }]),
                "tool_use",
            );
            match length {
                OwnTool::For(length) => self.wait(length),
                OwnTool::UntilAPrompt => {
                    while self.queue.is_empty() && !self.interrupted && !self.eof {
                        self.drain(Duration::from_millis(20));
                    }
                }
            }
            self.tool_result(&call, "done", &json!({ "stdout": "" }));
            woven = self.weave_in();
        }
        self.end_own(&woven, origin, false);
    }

    /// Goes on with such a turn that the death of a CLI cut off; `run` stands for it in the lifecycle frames.
    pub(super) fn own_turn_again(&mut self, run: &str) {
        self.begin_own(Some(run));
        let woven = self.transcript.woven();
        // Its result names no prompt, not even one that it answers.
        self.end_own(&woven, Value::Null, true);
        self.lifecycle(run, "completed");
        if self.notes.is_empty() {
            self.state("idle");
        }
    }

    /// Begins a turn that no prompt asked for. `run` is the uuid of the line that carries on a turn which was cut off; `None` for a new one, which has no
    /// lifecycle frames of its own.
    fn begin_own(&mut self, run: Option<&str>) {
        (self.own, self.interrupted) = (true, false);
        self.current.clear();
        self.said.clear();
        self.state("running");
        if let Some(run) = run {
            self.lifecycle(run, "started");
            self.drain(Duration::from_millis(20));
        }
        self.init();
    }

    /// Takes the prompts that came meanwhile into the turn, and returns their texts.
    fn weave_in(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(prompt) = self.next_for_the_model() {
            if self.is_refused(&prompt) {
                self.drop_refused(&prompt);
                continue;
            }
            // No `user` entry has the uuid of a prompt that is woven in: the attachment names it as
            // `source_uuid`. Who looks for the prompt among user entries takes it for lost, and sends it
            // twice.
            self.transcript.queue_operation(
                "remove",
                json!({ "content": prompt.text,
                "reason": "absorbed_mid_turn", "commandUuid": prompt.uuid }),
            );
            let attachment = json!({ "type": "queued_command", "prompt": prompt.text,
                "source_uuid": prompt.uuid, "commandMode": "prompt", "rowSource": "local" });
            self.transcript.append_more("attachment", &uuid(), &json!({ "attachment": attachment }));
            self.replay(&prompt);
            self.lifecycle(&prompt.uuid, "started");
            self.current.push(prompt.uuid);
            texts.push(prompt.text);
        }
        texts
    }

    /// Answers and ends such a turn. Without a woven prompt it says that the task is done; with some it answers them, and their words count as in any
    /// turn. `origin` marks the result as the task's; `again` is a turn that a crash cut off, whose words are not followed a second time.
    fn end_own(&mut self, woven: &[String], origin: Value, again: bool) {
        let ids = std::mem::take(&mut self.current);
        self.current.clone_from(&ids);
        let text = woven.join("\n");
        let (words, answer) = self.script.steer(&text);
        let words = words.once(&config_dir(), ids.first().map_or("own", String::as_str));
        let answer = if woven.is_empty() {
            "the task is done".to_owned()
        } else {
            answer.unwrap_or_else(|| self.recall(&text))
        };
        // The tool calls of such a turn are over; a prompt that asks for one calls it unless it did so before.
        let words = if again { Words::default() } else { words };
        self.wait(words.millis("DELAY"));
        let mut result = self.answer(&words, &answer);
        if !origin.is_null() {
            result["origin"] = origin;
        }
        // Before the result, while in a turn of the host's `completed` comes behind it: a host must not take
        // the order for a sign.
        let state = if self.interrupted { "cancelled" } else { "completed" };
        for id in &ids {
            self.lifecycle(id, state);
        }
        // Carried on after a crash, such a turn has a result that names no prompt, although it answered one.
        self.result(result, &ids, &words, again);
        (self.own, self.interrupted) = (false, false);
        self.current.clear();
        self.end_tasks();
        // With another note the next turn follows, and the CLI does not say `idle` in between.
        if self.notes.is_empty() && !again {
            self.state("idle");
        }
    }

    /// Tells of the tasks that died with the last CLI, without asking the model.
    pub(super) fn tell_of_dead_tasks(&mut self, takes_up: bool) {
        // All that is told of them costs no question to the model: the result has `num_turns` 0.
        let dead = std::mem::take(&mut self.transcript.unended);
        if dead.is_empty() {
            return;
        }
        for (task, call) in &dead {
            self.system(
                "task_notification",
                json!({ "task_id": task, "tool_use_id": call,
                "status": "stopped", "output_file": "", "summary": STOPPED }),
            );
        }
        self.state("running");
        self.drain(Duration::from_millis(20));
        for (task, call) in &dead {
            let text = note_text(task, call, "stopped", STOPPED);
            let fields = json!({ "origin": { "kind": "task-notification" },
                "message": { "role": "user", "content": text } });
            self.transcript.append_dead_note(&uuid(), &fields, takes_up);
        }
        self.init();
        let result = json!({ "subtype": "success", "is_error": false, "num_turns": 0, "result": "",
            "stop_reason": null, "origin": { "kind": "task-notification" } });
        self.result(result, &[], &Words::default(), false);
    }
}

/// The text of the note as the model gets it; `is_head` of the transcript reads the status off it.
fn note_text(task: &str, call: &str, status: &str, summary: &str) -> String {
    format!(
        "<task-notification>\n<task-id>{task}</task-id>\n<tool-use-id>{call}</tool-use-id>\n<status>{status}</status>\n\
         <summary>{summary}</summary>\n</task-notification>"
    )
}
