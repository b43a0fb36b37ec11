//! The life of one fake CLI: start, the loop over stdin, control requests, the end.
//!
//! It is for what holds between turns; a turn is `turn.rs`'s. It must never outlive its stdin, unless it was told to.
//!
//! ```text
//! main ─► arguments ─► script ─► --version? ─► bare? ─► open: refuse, or load and fork ─► serve ─► hint ─► exit code
//!                                                                                          │
//! serve: await initialize ─► resume ─► ┌─► tasks whose time is over
//!                                      │   a prompt waits?        ─► next: local answer, or begin ─► turn
//!                                      │   a note of a task?      ─► own_turn
//!                                      │   stdin ended?           ─► the end, but with IGNORE_EOF
//!                                      └── pump: stdin, until a task ends, 250 ms at most
//! ```
//!
//! The order is the real command's: a script that crashes at the spawn does so before the conversation is looked at, and a conversation is
//! refused before `initialize` is answered. Everything here runs on the main thread but the two below: the reader of stdin, and the waiter for
//! SIGTERM, which shares nothing with it but `IGNORE_TERM`.

use std::collections::VecDeque;
use std::io::BufRead;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::background::{Note, Task};
use super::options::Options;
use super::output::{exit, frame, raw, stderr, uuid};
use super::script::{Script, Words};
use super::transcript::{Transcript, config_dir, text_of};

/// Set by the word `IGNORE_TERM`; the signal thread reads it.
///
/// A flag of the process, so that it can be set in the middle of a turn; it is never cleared by a turn.
pub(super) static IGNORE_TERM: AtomicBool = AtomicBool::new(false);

/// What the reader thread hands over, in the order in which it came.
pub(super) enum Input {
    /// One line, without its end; whether it is JSON is looked at where it is taken.
    Line(String),
    /// Stdin has ended or cannot be read; nothing follows.
    Eof,
}

/// A prompt on its way to a turn.
pub(super) struct Prompt {
    /// What the host named it, or a random one; the transcript, the lifecycle frames and the result name it so.
    pub(super) uuid: String,
    /// Its text blocks, joined by line ends; what is no text is left out.
    pub(super) text: String,
    /// It is taken as it is (`client_composed`).
    pub(super) verbatim: bool,
    /// The frame as it came, for the echo; `null` if there is nothing to echo.
    pub(super) frame: Value,
    /// It was said to be `queued` when it came.
    pub(super) announced: bool,
}

/// A prompt that is run again although nobody sent it yet.
#[derive(Debug)]
pub(super) struct TakenUp {
    /// The prompt's own, by which it is known when the host sends it after all.
    pub(super) uuid: String,
    /// The uuid that stands for the run in the lifecycle frames: the prompt's, or that of the line that carries it on.
    pub(super) run: String,
    /// The prompt's own frame is `completed` at once: a tool was called, or the model asked already.
    pub(super) at_once: bool,
    /// The prompt was sent again, and is still to be `completed`.
    pub(super) open: bool,
}

/// One fake CLI and its conversation. The main thread owns it; no other sees it.
pub(super) struct Cli {
    pub(super) options: Options,
    pub(super) script: Script,
    /// The conversation of the frames from here on; `/clear` changes it.
    pub(super) session_id: String,
    /// The file of that conversation, and the branch that it is on.
    pub(super) transcript: Transcript,
    /// What `init` says: `--model`, or what `set_model` said last.
    pub(super) model: String,
    /// What `init` says: `--permission-mode`, or what `set_permission_mode` said last.
    pub(super) mode: String,
    /// How many results this process wrote: the `result_index` of the next one.
    pub(super) results: u64,
    /// What the model was paid by this process, in thousandths of a dollar.
    pub(super) paid: u64,
    /// The prompts that came and that no turn took yet. What comes while a turn runs is one turn together, when that is over.
    pub(super) queue: VecDeque<Prompt>,
    /// `interrupt` was asked since the turn began; a turn looks at it where it waits, and clears it at its beginning and end.
    pub(super) interrupted: bool,
    /// The tool calls that the host refused in this turn.
    pub(super) denials: Vec<Value>,
    /// What is said is that the model API failed.
    pub(super) by_api: bool,
    /// The last `control_response` of the host, until the turn that asked takes it.
    pub(super) answered: Option<Value>,
    /// It lives on after the end of stdin, until a signal.
    pub(super) ignore_eof: bool,
    /// Stdin has ended: what is queued is still run, and then the process ends.
    pub(super) eof: bool,
    /// The last result was an error, which the exit code says.
    pub(super) failed: bool,
    /// The turn that this process took up by itself after a resume, while it runs.
    pub(super) taken_up: Option<TakenUp>,
    /// The uuids of the prompts that the turn of the moment answers.
    pub(super) current: Vec<String>,
    /// The text of the deltas of the turn of the moment.
    pub(super) said: String,
    /// The background tasks that run.
    pub(super) tasks: Vec<Task>,
    /// The tasks that ended, of which no turn was told yet.
    pub(super) notes: VecDeque<Note>,
    /// A turn of the CLI's own is under way.
    pub(super) own: bool,
    /// The last state that was said is `running`.
    pub(super) running: std::cell::Cell<bool>,
    /// The first line, if it was read before anything was run.
    pub(super) first: Option<String>,
    /// `end_session` was asked: nothing more is taken.
    ended: bool,
    /// The lines of the reader thread; 1,024 at most wait here, and more in the pipe.
    pub(super) input: Receiver<Input>,
}

/// Runs one CLI from its arguments to its exit code; a crash or a signal ends the process before this returns.
///
/// What is wrong with the arguments is told before the script is read, as a host that passes a wrong flag is to hear of the flag.
pub(super) fn main(args: Vec<String>) -> ExitCode {
    let options = match Options::parse(&args) {
        Ok(options) => options,
        Err(error) => {
            stderr(&format!("{error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let script = match Script::from_env() {
        Ok(script) => script,
        Err(error) => {
            stderr(&format!("{error}\n"));
            return ExitCode::from(2);
        }
    };
    if options.version {
        raw(format!("{} (Claude Code)\n", script.version).as_bytes());
        return ExitCode::SUCCESS;
    }
    if options.await_initialize && !script.awaits_initialize() {
        stderr("error: unknown option '--await-initialize'\n");
        return ExitCode::FAILURE;
    }
    if script.bare {
        return super::bare::main(&options, &script);
    }
    watch_sigterm();
    let mut cli = match Cli::open(options, script) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli.serve();
    cli.transcript.hint();
    ExitCode::from(u8::from(cli.failed))
}

/// Starts the thread that ends the process with 143 on SIGTERM. Where it cannot be started, the signal kills as by default.
#[cfg(unix)]
fn watch_sigterm() {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]) else { return };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if !IGNORE_TERM.load(Ordering::Relaxed) {
                // From a thread of its own, as the CLI ends in the middle of whatever it does: no result
                // comes, and the exit code is 128 + 15.
                exit(143);
            }
        }
    });
}

#[cfg(not(unix))]
fn watch_sigterm() {}

/// Starts the reader thread, and returns where its lines come out. It ends with stdin, or once nobody receives.
fn read_stdin() -> Receiver<Input> {
    // In a thread, so that an interrupt is read while a turn waits. A host that sends more than 1024 lines
    // ahead is held up by its pipe.
    let (sender, receiver) = sync_channel(1024);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.send(Input::Line(line)).is_err() {
                return;
            }
        }
        // Nobody receives any more: the process is ending.
        drop(sender.send(Input::Eof));
    });
    receiver
}

impl Cli {
    /// Makes the CLI of a conversation that is new, resumed or forked.
    ///
    /// # Errors
    ///
    /// The exit code of a start that was refused; what the host is to know of it is written already.
    fn open(options: Options, mut script: Script) -> Result<Self, ExitCode> {
        let mut session_id =
            options.resume.clone().or_else(|| options.session_id.clone()).unwrap_or_else(uuid);
        let start = std::mem::take(&mut script.start).once(&config_dir(), &format!("start-{session_id}"));
        IGNORE_TERM.store(start.has("IGNORE_TERM"), Ordering::Relaxed);
        if start.text("CRASH") == Some("spawn") {
            crash(&start);
        }
        if let Some(reason) = start.text("REFUSE") {
            // A CLI that refuses to start has no conversation yet: its result has a session id of its own.
            frame(&json!({
                "type": "result", "subtype": "error_during_execution", "is_error": true, "num_turns": 0,
                "startup_failure_reason": reason, "errors": [format!("cannot start: {reason}")],
                "duration_ms": 0, "duration_api_ms": 0, "total_cost_usd": 0, "usage": {}, "modelUsage": {},
                "permission_denials": [], "session_id": uuid(), "uuid": uuid(),
            }));
            return Err(ExitCode::FAILURE);
        }
        // The two refusals below differ as the real ones do: an unknown id is told by a result and exit code
        // 1, an id in use on stderr alone.
        let mut transcript = Transcript::new(&session_id);
        let exists = transcript.path().exists();
        if options.resume.is_some() {
            if !exists {
                frame(&json!({
                    "type": "result", "subtype": "error_during_execution", "is_error": true, "num_turns": 0,
                    "errors": [format!("No conversation found with session ID: {session_id}")],
                    "duration_ms": 0, "duration_api_ms": 0, "total_cost_usd": 0, "usage": {}, "modelUsage": {},
                    "permission_denials": [], "session_id": session_id, "uuid": uuid(),
                }));
                return Err(ExitCode::FAILURE);
            }
            transcript.load();
            if options.fork {
                session_id = options.session_id.clone().unwrap_or_else(uuid);
                transcript = transcript.fork(&session_id);
            }
        } else if exists {
            stderr(&format!("Error: Session ID {session_id} is already in use.\n"));
            return Err(ExitCode::FAILURE);
        }
        let ignore_eof = start.has("IGNORE_EOF");
        script.start = start;
        Ok(Self {
            model: options.model.clone().unwrap_or_else(|| "claude-sonnet-5".into()),
            mode: options.mode.clone().unwrap_or_else(|| "default".into()),
            options,
            script,
            session_id,
            transcript,
            ignore_eof,
            results: 0,
            paid: 0,
            queue: VecDeque::new(),
            interrupted: false,
            denials: Vec::new(),
            by_api: false,
            answered: None,
            eof: false,
            failed: false,
            taken_up: None,
            current: Vec::new(),
            said: String::new(),
            tasks: Vec::new(),
            notes: VecDeque::new(),
            own: false,
            running: std::cell::Cell::new(false),
            first: None,
            ended: false,
            input: read_stdin(),
        })
    }

    /// Serves until stdin or the session ends. Between two turns and nowhere else is decided what is run next.
    fn serve(&mut self) {
        if self.script.start.has("HANG") {
            hang();
        }
        if self.options.await_initialize && !self.await_initialize() {
            return;
        }
        if self.options.resume.is_some() {
            self.resume();
        }
        while !self.ended {
            self.end_tasks();
            // A prompt that waits goes before a turn of the CLI's own.
            if let Some(prompt) = self.queue.pop_front() {
                self.next(prompt);
            } else if let Some(note) = self.notes.pop_front() {
                self.own_turn(&note);
            } else if self.eof && !self.ignore_eof {
                return;
            } else {
                self.pump(self.until_a_task_ends().min(Duration::from_millis(250)));
            }
        }
    }

    /// Runs this prompt: by itself if the CLI answers it, or with all that wait behind it up to the next command.
    fn next(&mut self, prompt: Prompt) {
        if let Some(local) = self.local(&prompt) {
            return self.answer_locally(&prompt, &local);
        }
        // Prompts that came while a turn ran become one turn.
        let mut prompts = vec![prompt];
        while let Some(prompt) = self.next_for_the_model() {
            prompts.push(prompt);
        }
        self.begin(prompts);
    }

    /// The prompt that comes next, unless the CLI answers that by itself.
    pub(super) fn next_for_the_model(&mut self) -> Option<Prompt> {
        let is_command = super::local::is_command(self.queue.front()?);
        if is_command { None } else { self.queue.pop_front() }
    }

    /// Runs of these prompts those that are new, as one turn.
    ///
    /// | the prompt's uuid | what happens |
    /// |---|---|
    /// | in the branch, and answered | echo; `completed` if an earlier process ran it; no result |
    /// | in the branch, cut off | runs again; by a version without lifecycle frames it is swallowed |
    /// | on a branch that the resume left | echo, `completed`; it never runs |
    /// | nowhere | runs |
    fn begin(&mut self, prompts: Vec<Prompt>) {
        let mut fresh = Vec::new();
        for prompt in prompts {
            match self.transcript.find(&prompt.uuid) {
                // A prompt that is sent again and was answered is not run again: `completed` comes at once.
                // 2.1.197 says nothing at all, and so swallows also one that a kill cut off.
                Some(at) if self.transcript.is_settled(at) || !self.script.lifecycle => {
                    self.replay(&prompt);
                    // What this process ran itself is not `completed` again.
                    if at < self.transcript.loaded {
                        self.lifecycle(&prompt.uuid, "completed");
                    }
                    self.state("idle");
                }
                // One that a resume left on a dead branch is `completed` and never run: the host has to send
                // it under another uuid.
                None if self.transcript.is_elsewhere(&prompt.uuid) => {
                    self.replay(&prompt);
                    self.lifecycle(&prompt.uuid, "completed");
                    self.state("idle");
                }
                _ => fresh.push(prompt),
            }
        }
        if !fresh.is_empty() {
            self.turn(fresh, false);
        }
    }

    /// Echoes a prompt, if the host asked for that: the only sign of a version without lifecycle frames that one was taken.
    pub(super) fn replay(&self, prompt: &Prompt) {
        if self.options.replay && prompt.frame.is_object() {
            let mut echo = prompt.frame.clone();
            echo["session_id"] = json!(self.session_id);
            echo["isReplay"] = json!(true);
            frame(&echo);
        }
    }

    /// Says where a prompt is: `queued`, `started`, then `completed` or `cancelled`. Nothing in a version without such frames.
    pub(super) fn lifecycle(&self, command: &str, state: &str) {
        if self.script.lifecycle {
            frame(&json!({
                "type": "command_lifecycle", "command_uuid": command, "state": state,
                "uuid": uuid(), "session_id": self.session_id,
            }));
        }
    }

    /// Answers stdin for this long, or until something changes for the turn.
    ///
    /// It returns early when a prompt waits, an interrupt or an answer of the host came, or the session ended, so a caller that wants the whole
    /// time asks again. After the end of stdin it sleeps for all of it.
    pub(super) fn pump(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.eof {
                // Nothing can come any more, but the time of a turn goes by all the same.
                std::thread::sleep(left);
                return;
            }
            if let Some(line) = self.first.take() {
                self.line(&line);
                continue;
            }
            match self.input.recv_timeout(left) {
                Ok(Input::Line(line)) => self.line(&line),
                Ok(Input::Eof) | Err(RecvTimeoutError::Disconnected) => self.eof = true,
                Err(RecvTimeoutError::Timeout) => return,
            }
            if self.interrupted || self.answered.is_some() || self.ended || !self.queue.is_empty() {
                return;
            }
        }
    }

    /// Takes one line: a control request is answered at once, an answer and a prompt are kept for the turn. Frames of other types are nothing to it.
    fn line(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            // Half a line or no JSON is fatal to the real CLI as well, in the middle of a turn too.
            stderr("Error parsing streaming input line\n");
            exit(1);
        };
        match value["type"].as_str() {
            Some("control_request") => self.control(&value),
            Some("control_response") => self.answered = Some(value),
            Some("user") => {
                let id = value["uuid"].as_str().map_or_else(uuid, str::to_owned);
                let text = text_of(&value["message"]);
                let verbatim = value["client_composed"] == true && self.script.takes_verbatim();
                self.prompt(Prompt { uuid: id, text, verbatim, frame: value, announced: false });
            }
            _ => {}
        }
    }

    /// Puts a prompt into the queue, unless it is the one that this process took up by itself: then the host is told of the run under way, and it
    /// is not run twice.
    fn prompt(&mut self, mut prompt: Prompt) {
        let Some(mut run) = self.taken_up.take_if(|run| run.uuid == prompt.uuid) else {
            if self.own {
                self.lifecycle(&prompt.uuid, "queued");
                prompt.announced = true;
            }
            self.queue.push_back(prompt);
            return;
        };
        self.replay(&prompt);
        // Sent again while it is being run again: `completed` for its own uuid comes at once where a tool was
        // called or the model asked, long before there is a result.
        if run.at_once {
            self.lifecycle(&run.uuid, "completed");
        }
        run.open = !run.at_once;
        self.taken_up = Some(run);
    }

    /// Answers a control request of the host, in the middle of a turn too; one that is not known gets the error of the real command.
    ///
    /// | subtype | effect |
    /// |---|---|
    /// | `initialize` | the answer has the pid, the state, what the version can do; crashes or refuses if the script says so |
    /// | `interrupt` | ends the turn of the moment where it waits next; the answer names the prompts that still wait |
    /// | `end_session` | answers, writes the hint, ends with 0 |
    /// | `set_model`, `set_permission_mode` | changes what the next `init` says |
    /// | `mcp_status` | says that there are no servers |
    /// | `get_binary_version` | says the version |
    fn control(&mut self, value: &Value) {
        let request = &value["request"];
        let subtype = request["subtype"].as_str().unwrap_or_default();
        let start = &self.script.start;
        let response = match subtype {
            "initialize" => {
                if start.text("CRASH") == Some("initialize") {
                    crash(start);
                }
                std::thread::sleep(start.millis("DELAY"));
                if let Some(reason) = start.text("REFUSE_INITIALIZE") {
                    frame(&json!({ "type": "control_response", "response": {
                        "subtype": "error", "request_id": value["request_id"], "error": reason,
                    }}));
                    return;
                }
                let mut reply = json!({
                    "commands": [], "agents": [], "output_style": "default", "available_output_styles": [],
                    "models": [], "account": {}, "pid": std::process::id(),
                    "session_state": if self.running.get() { "running" } else { "idle" },
                });
                if self.script.lifecycle {
                    reply["capabilities"] = json!(["interrupt_receipt_v1", "msg_lifecycle_v1"]);
                }
                if self.script.says_version_at_once() {
                    reply["claude_code_version"] = json!(self.script.version);
                }
                reply
            }
            "interrupt" => {
                self.interrupted = true;
                let queued: Vec<_> = self.queue.iter().map(|p| p.uuid.clone()).collect();
                json!({ "still_queued": queued })
            }
            "end_session" => {
                self.ended = true;
                json!({})
            }
            "set_model" => {
                self.model = request["model"].as_str().unwrap_or("claude-sonnet-5").to_owned();
                json!({ "model": self.model })
            }
            "set_permission_mode" => {
                self.mode = request["mode"].as_str().unwrap_or("default").to_owned();
                json!({ "mode": self.mode })
            }
            "mcp_status" => json!({ "mcpServers": [] }),
            // As one that does not know the request answers.
            "get_binary_version" if !self.script.version.is_empty() => {
                json!({ "version": self.script.version })
            }
            other => {
                frame(&json!({ "type": "control_response", "response": {
                    "subtype": "error", "request_id": value["request_id"],
                    "error": format!("Unsupported control request subtype: {other}"),
                    "error_code": "unsupported_request",
                }}));
                return;
            }
        };
        frame(&json!({ "type": "control_response", "response": {
            "subtype": "success", "request_id": value["request_id"], "response": response,
        }}));
        if self.ended {
            // Only a clean end writes which leaf is resumed. After a kill the hint of the last start stands
            // there, which may be on a dead branch.
            self.transcript.hint();
            exit(0);
        }
    }
}

/// Ends the process as `EXIT=` says.
///
/// Nothing is flushed or written besides: each line that was said is out already, and the transcript gets no hint.
pub(super) fn crash(words: &Words) -> ! {
    #[cfg(unix)]
    if words.text("EXIT") == Some("kill") {
        signal_self(rustix::process::Signal::KILL);
    }
    exit(words.number("EXIT").and_then(|code| i32::try_from(code).ok()).unwrap_or(70))
}

/// Does nothing for ever on the main thread. The reader fills its 1,024 lines and then the pipe; SIGTERM still ends the process.
pub(super) fn hang() -> ! {
    loop {
        // A park may end without a reason.
        std::thread::park();
    }
}

/// Sends a signal to this very process; that it could not be sent is told on stderr.
#[cfg(unix)]
pub(super) fn signal_self(signal: rustix::process::Signal) {
    if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), signal) {
        stderr(&format!("signal: {error}\n"));
    }
}
