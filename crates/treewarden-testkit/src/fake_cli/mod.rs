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
pub fn main(args: impl IntoIterator<Item = String>) -> ExitCode {
    run::main(args.into_iter().collect())
}
