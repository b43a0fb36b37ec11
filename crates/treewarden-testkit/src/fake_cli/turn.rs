//! One turn of the fake CLI, with the faults that its words ask for.
//!
//! It is for what the model would do. It must never answer otherwise to the same prompt in the same conversation, so that a turn that is
//! run again can be told from one that ran once by its transcript alone.
//!
//! ```text
//! running ─► queued, started ─► init ─► echo, prompt into the transcript ─► faults_before
//!                                                                                │
//!          ┌─ refused by the API (AUTH, STATUS, LIMIT) ──────────────────────────┤
//!          │                              ┌─ interrupted: a note, an error ◄─────┤
//!          ▼                              ▼                                      ▼
//!        result ◄──────────────────────────────────── answer: BACKGROUND, TOOL or ASK, deltas, assistant
//!          └─► completed or cancelled ─► idle
//! ```
//!
//! Control requests are answered wherever it waits (`wait`, `drain`), on the same thread. So a fault that must not answer, `HANG`, waits nowhere
//! of these; and one that must be interrupted, such as `DELAY`, does nothing else.
//!
//! The order of what is written and what crashes is the point of this file: the prompt is in the transcript before `CRASH=read`, and the answer
//! is before `CRASH=result`. A change of it changes what every test of a crash says.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::output::{frame, raw, stderr, uuid};
use super::run::{Cli, IGNORE_TERM, Prompt, TakenUp, crash, hang};
use super::script::Words;
use super::transcript::{GO_ON, INTERRUPTED, INTERRUPTED_TOOL, Transcript, config_dir};

impl Cli {
    /// Runs these prompts as one turn; a resumed one stands in the transcript already.
    ///
    /// Several prompts are one text, with line ends between, and the words of all of them hold. `ONCE` is counted by the first one's uuid.
    pub(super) fn turn(&mut self, prompts: Vec<Prompt>, resumed: bool) {
        self.interrupted = false;
        let text = prompts.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join("\n");
        let (words, answer) = self.script.steer(&text);
        // By the prompt's uuid, which a resume keeps: counted for each process, `ONCE=1` would crash every
        // CLI that carries the turn on.
        let words = words.once(&config_dir(), &prompts[0].uuid);
        self.current = prompts.iter().map(|p| p.uuid.clone()).collect();
        self.said.clear();
        self.state("running");
        if let Some(run) = self.taken_up.as_ref().map(|run| run.run.clone()) {
            self.lifecycle(&run, "started");
            // What was sent already is read before the model is asked.
            self.drain(Duration::from_millis(20));
        } else {
            for prompt in &prompts {
                // It was said already when it came amid a turn of the CLI's own.
                if !prompt.announced {
                    self.lifecycle(&prompt.uuid, "queued");
                }
                self.lifecycle(&prompt.uuid, "started");
            }
        }
        let clear = text.trim() == "/clear" && prompts.iter().all(|prompt| !prompt.verbatim);
        if clear {
            self.clear();
        }
        self.init();
        if let Some(run) = &mut self.taken_up {
            run.at_once = true;
        }
        for prompt in &prompts {
            self.replay(prompt);
            if !resumed && !clear {
                let message = json!({ "role": "user", "content": prompt.text });
                // As 2.1.330 does: a prompt sent again on a plain resume stands twice.
                let twice = self.transcript.find(&prompt.uuid).is_some();
                let entry = if twice { uuid() } else { prompt.uuid.clone() };
                self.transcript.append("user", &entry, &message);
            }
        }
        self.faults_before(&words);
        let ids: Vec<_> = prompts.iter().map(|p| p.uuid.clone()).collect();
        if clear {
            let result = json!({ "subtype": "success", "is_error": false, "result": "", "num_turns": 0 });
            self.result(result, &ids, &Words::default(), false);
        } else if let Some(result) = self.refusal(&words) {
            self.result(result, &ids, &words, resumed);
        } else {
            let answer = answer.unwrap_or_else(|| self.recall(&text));
            let result = self.answer(&words, &answer);
            self.result(result, &ids, &words, resumed);
        }
        // 2.1.332 says so of a turn that the API failed, too.
        let given_up = std::mem::take(&mut self.by_api);
        let state = if self.interrupted || given_up { "cancelled" } else { "completed" };
        if let Some(TakenUp { run, open, .. }) = self.taken_up.take() {
            self.lifecycle(&run, state);
            if open && run != ids[0] {
                self.lifecycle(&ids[0], state);
            }
        } else {
            for id in &ids {
                self.lifecycle(id, state);
            }
        }
        self.interrupted = false;
        self.end_tasks();
        if self.notes.is_empty() {
            self.state("idle");
        }
    }

    /// Says the state, unless it is said to be running already.
    pub(super) fn state(&self, state: &str) {
        let running = state == "running";
        if self.running.replace(running) && running {
            return;
        }
        if std::env::var("CLAUDE_CODE_SDK_READS_SESSION_STATE").is_ok_and(|v| v == "1") {
            self.system("session_state_changed", json!({ "state": state }));
        }
    }

    /// Writes a `system` frame with these fields, which must be an object; type, ids and subtype are put in.
    pub(super) fn system(&self, subtype: &str, mut fields: Value) {
        fields["type"] = json!("system");
        fields["subtype"] = json!(subtype);
        fields["uuid"] = json!(uuid());
        fields["session_id"] = json!(self.session_id);
        frame(&fields);
    }

    /// Says what a turn begins with, each turn anew as the real command does: a host that wants it once has to look.
    pub(super) fn init(&self) {
        let mut fields = json!({
            "cwd": std::env::current_dir().unwrap_or_default(), "tools": ["Bash"], "mcp_servers": [],
            "model": self.model, "permissionMode": self.mode, "slash_commands": ["clear"],
            "apiKeySource": "none", "claude_code_version": self.script.version,
            "output_style": "default", "agents": [], "skills": [], "plugins": [],
        });
        if self.script.lifecycle {
            fields["capabilities"] = json!(["interrupt_receipt_v1", "msg_lifecycle_v1"]);
        }
        self.system("init", fields);
    }

    /// Does what the words ask for before the first delta, in the order of this function and not of the prompt: noise first, then what takes the
    /// process away, and the delay last.
    fn faults_before(&mut self, words: &Words) {
        if words.text("CRASH") == Some("read") {
            crash(words);
        }
        self.ignore_eof |= words.has("IGNORE_EOF");
        // `Relaxed`: the thread that reads it looks at nothing else of this one.
        IGNORE_TERM.fetch_or(words.has("IGNORE_TERM"), Ordering::Relaxed);
        for n in 0..words.number("GARBAGE").unwrap_or(0) {
            raw(format!("this is not JSON {n}\n").as_bytes());
        }
        if let Some(bytes) = words.number("HUGE") {
            let filler = "x".repeat(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.system("informational", json!({ "level": "info", "content": filler }));
        }
        if let Some((times, bytes)) = words.text("STRAY").and_then(|text| text.split_once(':')) {
            let filler = "x".repeat(bytes.parse().unwrap_or(0));
            for _ in 0..times.parse().unwrap_or(0) {
                self.system("from_the_future", json!({ "payload": filler }));
            }
        }
        if let Some(bytes) = words.number("STDERR") {
            for _ in 0..bytes.div_ceil(64) {
                stderr("a line of noise on stderr, which nobody may be reading at all.\n\n");
            }
        }
        if words.has("UNKNOWN") {
            frame(&json!({ "type": "from_the_future", "uuid": uuid(), "session_id": self.session_id }));
            self.system("from_the_future", json!({ "payload": [1, 2, 3] }));
        }
        if let Some(mib) = words.number("HOARD") {
            // Written to, or the system gives no memory for it; and never let go of.
            let hoard = vec![1_u8; usize::try_from(mib << 20).unwrap_or(0)];
            std::mem::forget(std::hint::black_box(hoard));
        }
        if words.has("CHILD") {
            // In a session of its own, as the shells of the real CLI's tools are: a signal to the CLI's
            // process group does not reach them.
            let child = std::process::Command::new("setsid").args(["sleep", "300"]).spawn();
            if let Err(error) = child {
                stderr(&format!("setsid sleep: {error}\n"));
            }
        }
        if words.has("HANG") {
            hang();
        }
        #[cfg(unix)]
        if words.has("FREEZE") {
            super::run::signal_self(rustix::process::Signal::STOP);
        }
        self.wait(words.millis("DELAY"));
    }

    /// Waits so long, answering control requests; an interrupt ends it.
    pub(super) fn wait(&mut self, time: Duration) {
        let until = std::time::Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            // In slices, so that an interrupt ends the wait after 20 ms at most.
            self.drain(left.min(Duration::from_millis(20)));
            if self.interrupted || left.is_zero() {
                return;
            }
        }
    }

    /// Answers stdin for this long or less, without ending early for prompts that wait: they are the next turn's.
    pub(super) fn drain(&mut self, left: Duration) {
        self.end_tasks();
        if self.queue.is_empty() {
            self.pump(left);
        } else {
            std::thread::sleep(left);
            self.pump(Duration::ZERO);
        }
    }

    /// The result of a turn that the API refuses.
    ///
    /// `None` if no word asks for one. Of several words `LIMIT` counts, then `AUTH`, then `STATUS`.
    fn refusal(&mut self, words: &Words) -> Option<Value> {
        let status = if words.has("AUTH") { Some(401) } else { words.number("STATUS") };
        let status = if let Some(seconds) = words.number("LIMIT") {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let resets = now.map_or(0, |d| d.as_secs()) + seconds;
            frame(&json!({ "type": "rate_limit_event", "uuid": uuid(), "session_id": self.session_id,
                "rate_limit_info": { "status": "rejected", "resetsAt": resets, "rateLimitType": "five_hour" } }));
            429
        } else {
            status?
        };
        let text = format!("API Error: {status} scripted");
        self.by_api = true;
        self.say(&json!([{ "type": "text", "text": text }]), "stop_sequence");
        // An error of the API ends a turn as a success that `is_error`: who looks at the subtype alone takes
        // the error's text for an answer.
        Some(json!({ "subtype": "success", "is_error": true, "api_error_status": status,
            "terminal_reason": "api_error", "result": text }))
    }

    /// What the model says of this text, from the prompts of the branch alone: the newest `My name is …`, or `answer to <text>`. It is how a test sees
    /// whether a resume brought back the history.
    pub(super) fn recall(&self, text: &str) -> String {
        // The words that carry a turn on are nobody's prompt: what was cut off is answered.
        if text == GO_ON
            && let Some(asked) = self.transcript.asked_last()
        {
            return self.recall(&asked);
        }
        if !text.contains("my name") {
            return format!("answer to {text}");
        }
        let name = self.transcript.prompts().rev().find_map(|p| {
            let rest = p.split_once("My name is ")?.1;
            Some(rest.split(|c: char| !c.is_alphanumeric()).next()?.to_owned())
        });
        name.map_or_else(|| "I do not know your name.".into(), |n| format!("Your name is {n}."))
    }

    /// Streams the answer; returns what the result says of it.
    ///
    /// The fields are those that the answer decides (`subtype`, `is_error`, `result`, `terminal_reason`); `result` adds the rest. When this returns,
    /// the answer or the note of the interrupt stands in the transcript.
    pub(super) fn answer(&mut self, words: &Words, answer: &str) -> Value {
        // Of a turn that is carried on, the tool has its result: called again, it would run twice.
        let is_called = self.taken_up.is_some() && self.transcript.has_a_result();
        if let Some(length) = words.number("BACKGROUND").filter(|_| !is_called) {
            self.start_task(words, Duration::from_millis(length));
        }
        if !is_called && (words.has("ASK") || words.text("TOOL").is_some()) {
            self.tool(words);
        }
        let (mut note, mut reason) = (INTERRUPTED_TOOL, "aborted_tools");
        if !self.interrupted {
            (note, reason) = (INTERRUPTED, "aborted_streaming");
            self.deltas(words, answer);
        }
        if self.interrupted {
            // An interrupted answer leaves what was streamed of it, marked as aborted, then a note in the
            // user's name, and a result that is an error by its subtype and no failure.
            let said = std::mem::take(&mut self.said);
            if !said.is_empty() {
                self.speech(&json!([{ "type": "text", "text": said }]), &Value::Null, true);
            }
            let entry = uuid();
            let message = json!({ "role": "user", "content": [{ "type": "text", "text": note }] });
            self.transcript.append("user", &entry, &message);
            frame(&json!({ "type": "user", "message": message, "parent_tool_use_id": null, "uuid": entry,
                "session_id": self.session_id }));
            return json!({ "subtype": "error_during_execution", "is_error": true,
                "errors": ["[ede_diagnostic] interrupted"], "terminal_reason": reason });
        }
        self.say(&json!([{ "type": "text", "text": answer }]), "end_turn");
        json!({ "subtype": "success", "is_error": false, "result": answer, "stop_reason": "end_turn",
            "terminal_reason": "completed" })
    }

    /// Says these content blocks as the model, with this stop reason: into the transcript first, then to the host.
    pub(super) fn say(&mut self, content: &Value, stop: &str) {
        self.speech(content, &json!(stop), false);
    }

    /// An `assistant` entry and frame with the same message and uuid. `aborted` marks the frame of an answer that was cut off by an interrupt; of an
    /// API failure both are marked, so that nobody takes it for the model's words.
    fn speech(&mut self, content: &Value, stop: &Value, aborted: bool) {
        let id = uuid();
        let message = json!({ "id": format!("msg_{id}"), "type": "message", "role": "assistant",
            "model": self.model, "content": content, "stop_reason": stop, "stop_sequence": null,
            "usage": { "input_tokens": 10, "output_tokens": 5 } });
        // In the model's name, and not its words: 2.1.332 leaves such a line out of what it sends to the model.
        let fields = if self.by_api {
            json!({ "message": message, "isApiErrorMessage": true })
        } else {
            json!({ "message": message })
        };
        self.transcript.append_more("assistant", &id, &fields);
        let mut value = json!({ "type": "assistant", "message": message, "parent_tool_use_id": null,
            "uuid": id, "session_id": self.session_id });
        if self.by_api {
            value["is_api_error_message"] = json!(true);
        }
        if aborted {
            value["aborted"] = json!(true);
        }
        frame(&self.attributed(value));
    }

    /// Streams the deltas that stand before the answer, three of them unless told; `N` and `SPEAK` replace them. What was streamed is kept in `said` for
    /// an interrupt. A `CRASH=delta:<n>` beyond their number crashes behind the last one.
    fn deltas(&mut self, words: &Words, answer: &str) {
        let die = words.text("CRASH").and_then(|c| c.strip_prefix("delta:")).and_then(|n| n.parse().ok());
        let (count, gap) = words.text("STREAM").and_then(|s| s.split_once(':')).map_or_else(
            || (3, words.millis("SLOW")),
            |(n, ms)| (n.parse().unwrap_or(3), Duration::from_millis(ms.parse().unwrap_or(0))),
        );
        if let Some(n) = words.number("N") {
            return self.firehose(n);
        }
        if let Some(gap) = words.number("SPEAK") {
            return self.speak(answer, Duration::from_millis(gap));
        }
        for n in 0..count {
            // Before the delta of this number, so that `delta:0` dies with nothing streamed.
            if die == Some(n) {
                crash(words);
            }
            let word = format!("word{n} ");
            let line = self.delta(&word);
            self.said.push_str(&word);
            if words.has("PARTIAL") && n == 0 {
                // Two writes with a pause between: whoever takes what one read brings for a line has half a
                // frame.
                let (head, tail) = line.split_at(line.len() / 2);
                raw(head.as_bytes());
                self.wait(Duration::from_millis(50));
                raw(tail.as_bytes());
            } else if self.options.partial {
                raw(line.as_bytes());
            }
            self.wait(gap);
            if self.interrupted {
                return;
            }
        }
        if die.is_some_and(|n| n >= count) {
            crash(words);
        }
        if self.options.partial {
            raw(self.delta(answer).as_bytes());
        }
    }

    /// The line of one text delta, with its end.
    fn delta(&self, text: &str) -> String {
        let event = json!({ "type": "content_block_delta", "index": 0,
            "delta": { "type": "text_delta", "text": text } });
        let value = json!({ "type": "stream_event", "event": event, "session_id": self.session_id,
            "parent_tool_use_id": null, "uuid": uuid() });
        format!("{}\n", self.attributed(value))
    }

    /// Names the prompts that a frame answers, as versions with lifecycle frames do.
    fn attributed(&self, mut value: Value) -> Value {
        if self.script.lifecycle
            && let Some(first) = self.current.first()
        {
            value["user_message_uuid"] = json!(first);
            value["user_message_uuids"] = json!(self.current);
        }
        value
    }

    /// Streams the answer itself, word by word.
    ///
    /// It is what a screen or a person listens to: the deltas together are the answer. An interrupt ends it behind the word of the moment.
    fn speak(&mut self, answer: &str, gap: Duration) {
        for word in answer.split_inclusive(' ') {
            self.said.push_str(word);
            if self.options.partial {
                raw(self.delta(word).as_bytes());
            }
            self.wait(gap);
            if self.interrupted {
                return;
            }
        }
    }

    /// Writes so many equal deltas as fast as the host reads, also without `--include-partial-messages`. Between two blocks stdin is read, so that an
    /// interrupt ends it.
    fn firehose(&mut self, count: u64) {
        let line = self.delta("The quick brown fox ");
        // What a pipe holds goes into one write, or this process would be what a bench measures.
        let per = (64 * 1024 / line.len()).max(1);
        let block = line.repeat(per);
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        while left > 0 && !self.interrupted {
            let now = left.min(per);
            raw(&block.as_bytes()[..now * line.len()]);
            left -= now;
            self.drain(Duration::ZERO);
        }
    }

    /// Calls the Bash tool, after asking the host if `ASK` says so, and writes its result. No command is run: `COUNT` alone leaves a trace, and
    /// `TOOL` takes time. A call that was refused is noted for the result of the turn; one that was interrupted is not.
    fn tool(&mut self, words: &Words) {
        let id = format!("toolu_{}", uuid());
        let input = json!({ "command": "true", "description": "step" });
        self.say(&json!([{ "type": "tool_use", "id": id, "name": "Bash", "input": input }]), "tool_use");
        let mut allowed = true;
        if words.has("ASK") {
            self.answered = None;
            let request = uuid();
            frame(&json!({ "type": "control_request", "request_id": request, "request": {
                "subtype": "can_use_tool", "tool_name": "Bash", "input": input, "tool_use_id": id } }));
            // A host that is gone never answers: the end of stdin is the only word of that.
            while self.answered.is_none() && !self.interrupted && !self.eof {
                self.drain(Duration::from_millis(100));
            }
            if self.interrupted {
                frame(&json!({ "type": "control_cancel_request", "request_id": request }));
            }
            let answer = self.answered.take().unwrap_or_default();
            allowed = answer["response"]["response"]["behavior"] == "allow";
        }
        if !allowed && !self.interrupted {
            self.denials.push(json!({ "tool_name": "Bash", "tool_use_id": id, "tool_input": input }));
        }
        if allowed {
            // When it begins: a tool whose CLI is killed under it has run, and that is what a test counts.
            count(words);
        }
        self.wait(words.millis("TOOL"));
        let text = match allowed {
            _ if self.interrupted => "The user doesn't want to proceed with this tool use.",
            true => "done",
            false => "denied",
        };
        let allowed = allowed && !self.interrupted;
        let message = json!({ "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": id, "content": text, "is_error": !allowed } ] });
        let entry = uuid();
        self.transcript.append("user", &entry, &message);
        frame(&json!({ "type": "user", "message": message, "parent_tool_use_id": null, "uuid": entry,
            "session_id": self.session_id }));
    }

    /// Writes the result of a turn, with what every result has; a field that is there already stays. `ids` are the prompts that it answers, none for
    /// a turn of the CLI's own; `resumed` is said as `resume_reason`.
    ///
    /// The three crashes around a result happen here: before it, in the middle of its line, behind it.
    pub(super) fn result(&mut self, mut result: Value, ids: &[String], words: &Words, resumed: bool) {
        if words.text("CRASH") == Some("result") {
            crash(words);
        }
        result["type"] = json!("result");
        result["uuid"] = json!(uuid());
        let denials = std::mem::take(&mut self.denials);
        if !words.has("MISSING") {
            // A result that says what it cost is not of the model.
            let asked = result.get("total_cost_usd").is_none();
            self.paid += u64::from(asked);
            let usage = json!({ "input_tokens": 10, "output_tokens": 5 });
            // 2.1.332 tells it beside the sums, and 2.1.197 does not.
            if self.script.lifecycle {
                let mut since = json!({});
                if asked {
                    since[&self.model] = json!({ "inputTokens": 10, "outputTokens": 5, "cacheReadInputTokens": 0,
                        "cacheCreationInputTokens": 0, "costUSD": 0.001 });
                }
                result["model_usage_since_last_result"] = since;
            }
            for (key, value) in [
                ("duration_ms", json!(5)),
                ("duration_api_ms", json!(4)),
                ("num_turns", json!(1)),
                ("total_cost_usd", json!(self.paid as f64 / 1000.0)),
                ("usage", usage),
                ("modelUsage", json!({})),
                ("permission_denials", json!(denials)),
                ("session_id", json!(self.session_id)),
            ] {
                if result.get(key).is_none() {
                    result[key] = value;
                }
            }
        }
        // 2.1.197 names no prompts on its results: there they are matched by their order.
        if self.script.lifecycle && !words.has("MISSING") {
            if let Some(first) = ids.first() {
                result["user_message_uuid"] = json!(first);
                result["user_message_uuids"] = json!(ids);
            }
            result["result_index"] = json!(self.results);
            if resumed {
                result["resume_reason"] = json!("interrupted_turn");
            }
        }
        self.results += 1;
        self.failed = result["is_error"] == true;
        let line = format!("{result}\n");
        if words.text("CRASH") == Some("half_result") {
            // No line end comes behind it: a reader must not take a result that was begun for one.
            raw(&line.as_bytes()[..line.len() / 2]);
            crash(words);
        }
        raw(line.as_bytes());
        if words.text("CRASH") == Some("after_result") {
            crash(words);
        }
    }

    /// Starts a new conversation. Its id is the one of the frames that follow: in 2.1.330 the
    /// `new_conversation_id` is another, which names nothing that can be resumed.
    ///
    /// The old conversation gets its hint, so that it can be resumed where it was left.
    fn clear(&mut self) {
        let old = std::mem::replace(&mut self.session_id, uuid());
        self.transcript.hint();
        self.transcript = Transcript::new(&self.session_id);
        self.transcript.begin();
        let new = uuid();
        frame(&json!({ "type": "conversation_reset", "trigger": "clear", "new_conversation_id": new,
            "session_id": old, "uuid": new }));
    }
}

/// Adds a line to the file that the word `COUNT` names: so often the tool ran.
fn count(words: &Words) {
    let Some(name) = words.text("COUNT") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(name);
    if let Err(error) = file.and_then(|mut file| file.write_all(b"x\n")) {
        stderr(&format!("{name}: {error}\n"));
    }
}
