//! A model API on loopback, for runs of the real `claude` command without a network or a key.
//!
//! It answers `POST /v1/messages` (streamed or not) and `count_tokens`, and records every request.
//! By default the words of the last prompt steer the answer, anywhere in its text:
//!
//! | word | effect |
//! |---|---|
//! | `DELAY=<ms>` | waits before the first byte |
//! | `STREAM=<n>:<ms>` | n text deltas, ms apart |
//! | `BASH=<command>;;` | the model calls the Bash tool, then answers after its result |
//! | `STATUS=<n>` | an API error of that status |
//! | `HANG` | never answers |
//!
//! The answer ends with `answer to <tag>`, where the tag is the prompt's last `PROMPT-…` word.
//!
//! It is not for the fake CLI, which asks no model; nor is it a model: it never looks at what the words of a prompt mean.
//!
//! ```text
//! claude ── POST /v1/messages ──► recorded ──► background? ── yes ─► "ok"
//!                                                │ no
//!                                                └─► handler, or the words ─► Reply ─► delay ─► events, or one message
//! ```
//!
//! # What is the CLI's own business
//!
//! The real command also asks the model for titles, summaries and counts, at times of its own. Such requests are recorded as
//! [`background`](Request::background), get the text `ok` or a count, and neither reach the handler nor count as turns: a test that counted them
//! would fail with the next version of the command.
//!
//! | request | is |
//! |---|---|
//! | a stream over the conversation | a turn: the handler answers |
//! | without a stream, or `count_tokens` | background |
//! | a stream whose newest user text is a title's, a side question's or a compaction's | background |
//! | another method or path | 404, and not recorded |
//!
//! # Examples
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! use treewarden_testkit::mock_api::{MockApi, Reply};
//!
//! let api = MockApi::builder().reply(|_| Reply::text("hello")).start().await?;
//! assert!(api.base_url().starts_with("http://127.0.0.1:"));
//! assert!(api.requests().is_empty());
//! # Ok(()) }
//! ```
//!
//! What the model was told can be asked after any turn. Here the request of a CLI is written by hand:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::TcpStream;
//! use treewarden_testkit::mock_api::MockApi;
//!
//! let api = MockApi::start().await?;
//! let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hello PROMPT-a STREAM=2:0"}]}"#;
//! let mut cli = TcpStream::connect(api.base_url().trim_start_matches("http://")).await?;
//! let head = format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
//! cli.write_all((head + body).as_bytes()).await?;
//! let mut answer = String::new();
//! cli.read_to_string(&mut answer).await?;
//! assert!(answer.contains("word1 ") && answer.contains("answer to PROMPT-a"));
//! assert_eq!(api.prompts_in_last_context(), ["PROMPT-a"]);
//! assert_eq!(api.requests()[0].model, "m");
//! # Ok(()) }
//! ```

mod events;
mod reply;
mod request;
mod server;

pub use reply::Reply;
pub use request::{Content, Request};
pub use server::{MockApi, MockApiBuilder};

/// Finds `treewarden-mock-api` in the target folder of the running test, and builds it if need be.
///
/// It blocks: for seconds the first time. A test in Rust needs no program: [`MockApi::start`] runs the server in its own process.
///
/// # Errors
///
/// It cannot be built: the message says why, and how to build it.
///
/// # Examples
///
/// ```no_run
/// use std::io::{BufRead, BufReader};
/// use std::process::{Command, Stdio};
///
/// use treewarden_testkit::mock_api::mock_api_path;
///
/// let mut server = Command::new(mock_api_path()?).stdout(Stdio::piped()).spawn()?;
/// let mut url = String::new();
/// BufReader::new(server.stdout.take().expect("it is a pipe")).read_line(&mut url)?;
/// assert!(url.starts_with("http://127.0.0.1:"));
/// // It runs until it is killed.
/// server.kill()?;
/// server.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn mock_api_path() -> std::io::Result<std::path::PathBuf> {
    crate::programs::program("treewarden-mock-api")
}
