//! A scriptable stand-in for the `claude` command in stream-json mode.
//!
//! It keeps a transcript, so that `--resume` has history, and misbehaves on request. It is not a
//! model: it remembers `My name is X`, and otherwise answers `answer to <prompt>`.
//!
//! # The script language
//!
//! A prompt steers its own turn by words, separated by spaces. The same words may stand in the
//! JSON script that the environment variable `TREEWARDEN_FAKE` names (or holds, if it begins with
//! `{`):
//!
//! ```json
//! {
//!   "version": "2.1.332", "lifecycle": true,
//!   "start": "CRASH=initialize EXIT=3 ONCE=1",
//!   "prompts": [{ "contains": "deploy", "do": "CRASH=result ONCE=2", "answer": "done" }]
//! }
//! ```
//!
//! | word | effect |
//! |---|---|
//! | `CRASH=<point>` | exits at `spawn`, `initialize` (both in `start` only), `read`, `delta:<n>`, `result`, `half_result`, `after_result` |
//! | `EXIT=<code>` or `EXIT=kill` | how it crashes (70 otherwise) |
//! | `ONCE=<k>` | the faults of this turn (or start) happen on its first k attempts only |
//! | `HANG` | reads nothing and answers nothing from here on |
//! | `FREEZE` | stops itself with SIGSTOP |
//! | `DELAY=<ms>`, `SLOW=<ms>` | waits before the first delta, before each delta; `DELAY` in `start`: before it answers `initialize` |
//! | `STREAM=<n>:<ms>` | n deltas, ms apart |
//! | `SPEAK=<ms>` | the answer itself as deltas, word by word, ms apart |
//! | `N=<n>` | n equal deltas, as fast as the pipe takes them |
//! | `GARBAGE=<n>`, `HUGE=<bytes>`, `PARTIAL`, `UNKNOWN` | lines that are not JSON, one long line, a line in two writes, frames of unknown types |
//! | `STRAY=<n>:<bytes>` | n frames of so many bytes that name no turn |
//! | `STDERR=<bytes>` | floods stderr |
//! | `HOARD=<MiB>` | takes so much memory and keeps it |
//! | `IGNORE_EOF`, `IGNORE_TERM` | lives on after the end of stdin, after SIGTERM |
//! | `TOOL=<ms>` | a tool call that takes so long; `CHILD` adds a process in its own session |
//! | `COUNT=<file>` | the tool adds a line to that file of the working directory, each time that it runs |
//! | `BACKGROUND=<ms>` | a tool call that starts a background task, which ends so much later; the CLI then has a turn of its own about it |
//! | `OWN=<ms>`, `OWN_TOOL=<ms>` | beside `BACKGROUND`: that turn waits so long, then calls a tool for so long (`OWN_TOOL=prompt`: until a prompt waits); prompts that came till then are woven in |
//! | `REFUSE=<reason>` | in `start` only: refuses to start, with a result under an id of its own |
//! | `REFUSE_INITIALIZE=<reason>` | in `start` only: answers `initialize` with that error, and lives on |
//! | `REFUSED` | as if a hook refused the prompt: answered without the model |
//! | `ASK` | asks the host by `can_use_tool` and waits for the answer |
//! | `MISSING` | a result with hardly any fields |
//! | `LIMIT=<seconds>` | a usage limit that ends so much later |
//! | `AUTH`, `STATUS=<n>` | an API error 401, n |
//!
//! [`FakeCli`] builds that script. A version says what the CLI knows: from 2.1.248 on it takes a prompt with `client_composed` as it
//! is, and from 2.1.330 on it says its version in the answer to `initialize`. Otherwise `/clear` starts a new conversation. `/compact` begins a new root; `/help`, `/cost` and a
//! prompt of blanks are answered without the model. `IGNORE_TERM` and `IGNORE_EOF` hold from the word on, or from the
//! spawn if they stand in `start`. A `lifecycle` of false leaves out what 2.1.197 has not.
//!
//! A script of `{ "bare": true }` is for benches: one thread, no transcript, no names on frames, and no words but `N` and
//! `HUGE`, so that what drives the CLI is what is measured.
//!
//! # Where a crash leaves the conversation
//!
//! What a crash at each point leaves in the transcript, and what a later CLI makes of it that resumes with
//! `CLAUDE_CODE_RESUME_INTERRUPTED_TURN=1`:
//!
//! | `CRASH=` | in the transcript | on stdout | after the resume |
//! |---|---|---|---|
//! | `spawn` | nothing | nothing | nothing to resume |
//! | `initialize` | nothing new | no answer to `initialize` | as before that start |
//! | `read` | the prompt | `init`, the echo | the turn runs again by itself |
//! | `delta:<n>` | the prompt | n deltas, with `--include-partial-messages` | the turn runs again by itself |
//! | `result` | the prompt and the answer | the answer, no `result` | sent again, it is `completed` at once, without a result |
//! | `half_result` | as `result` | half a line, without its end | as `result` |
//! | `after_result` | as `result` | all of it, but no `completed` | as `result` |
//!
//! `ONCE=<k>` counts in files of the config directory, by the uuid of the prompt (or the id of the conversation, for `start`), so that the
//! count outlives the process, and a test with a config directory of its own begins at nothing.
//!
//! # How it ends
//!
//! | exit code | when |
//! |---|---|
//! | 0 | stdin ended, or `end_session` was asked; `--version` |
//! | 1 | the last result was an error; arguments, an id or a stdin line that the real command refuses; nobody reads stdout |
//! | 2 | the script of `TREEWARDEN_FAKE` cannot be read |
//! | 70, or `EXIT=<code>` | it crashed as it was told |
//! | 143 | SIGTERM, without `IGNORE_TERM` |
//! | signal 9 | `EXIT=kill` |
//!
//! # What it reads of its environment
//!
//! | variable | for what |
//! |---|---|
//! | `TREEWARDEN_FAKE` | the script: a path, or JSON that begins with `{` |
//! | `CLAUDE_CONFIG_DIR`, else `HOME` with `.claude` | where transcripts and counts are |
//! | `CLAUDE_CODE_RESUME_INTERRUPTED_TURN=1` | a resume runs again what nothing answered |
//! | `CLAUDE_CODE_RESUME_SHOWS_CUT_OFF_CALLS=1` | a resume answers tool calls that have no result, instead of leaving them on a dead branch |
//! | `CLAUDE_CODE_SDK_READS_SESSION_STATE=1` | it says `session_state_changed` |
//!
//! It reads no settings, keys or credentials, and opens no connection: whatever else the environment says, nothing leaves the machine.
//!
//! # Which thread does what
//!
//! ```text
//! stdin ─► reader thread ─► at most 1024 lines ─► main thread: the turn, control requests, transcript ─► stdout
//! SIGTERM ─► signal thread ─► exit 143, in the middle of whatever the main thread does
//! ```
//!
//! # Examples
//!
//! A CLI that is killed once in the middle of a turn, and then answers. The program of the example is the fake CLI as well:
//!
//! ```standalone_crate
//! use std::io::Write;
//! use std::process::{Command, ExitCode, Stdio};
//!
//! use treewarden_testkit::fake_cli::{self, FakeCli};
//!
//! fn main() -> ExitCode {
//!     if std::env::var_os("TREEWARDEN_FAKE").is_some() {
//!         return fake_cli::main(std::env::args().skip(1));
//!     }
//!     let home = std::env::temp_dir().join(format!("example-of-a-crash-{}", std::process::id()));
//!     let id = "11111111-2222-4333-8444-555555555555";
//!     let prompt = r#"{"type":"user","uuid":"a","message":{"role":"user","content":"hello CRASH=read ONCE=1"}}"#;
//!     let run = |args: &[&str]| {
//!         let (key, script) = FakeCli::new().env();
//!         let mut cli = Command::new(std::env::current_exe().unwrap())
//!             .args(args)
//!             .env(key, script)
//!             .env("CLAUDE_CONFIG_DIR", &home)
//!             .env("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1")
//!             .stdin(Stdio::piped())
//!             .stdout(Stdio::piped())
//!             .spawn()
//!             .unwrap();
//!         // Its stdin ends with this block, and so does it.
//!         writeln!(cli.stdin.take().unwrap(), "{prompt}").unwrap();
//!         let ended = cli.wait_with_output().unwrap();
//!         (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
//!     };
//!     let (code, said) = run(&["--session-id", id]);
//!     assert_eq!(code, Some(70));
//!     assert!(!said.contains(r#""type":"result""#));
//!     let (code, said) = run(&["--resume", id]);
//!     assert_eq!(code, Some(0));
//!     assert!(said.contains("answer to hello"));
//!     std::fs::remove_dir_all(&home).unwrap();
//!     ExitCode::SUCCESS
//! }
//! ```

mod background;
mod bare;
mod builder;
mod local;
mod options;
mod output;
mod path;
mod project;
mod resume;
mod run;
mod script;
mod transcript;
mod turn;

use std::process::ExitCode;

pub use builder::FakeCli;
pub use path::fake_cli_path;

/// Runs the fake CLI on these arguments (without the program's name) until it ends.
///
/// It reads stdin and writes stdout of the calling process, and may end that process itself, so
/// a program that hosts it calls nothing else.
///
/// The table of [its ends](self#how-it-ends) says what the code means. It starts threads of its own, and needs no runtime. Only one can run
/// in a process: the signal handler and the flags of the script are the process's.
///
/// # Examples
///
/// A program of one's own that is the fake CLI where it is started with a script, so that a test needs no second program:
///
/// ```no_run
/// use std::process::ExitCode;
///
/// use treewarden_testkit::fake_cli;
///
/// fn main() -> ExitCode {
///     if std::env::var_os("TREEWARDEN_FAKE").is_some() {
///         return fake_cli::main(std::env::args().skip(1));
///     }
///     // … what the program does otherwise, such as to start itself as the CLI.
///     ExitCode::SUCCESS
/// }
/// ```
pub fn main(args: impl IntoIterator<Item = String>) -> ExitCode {
    run::main(args.into_iter().collect())
}
