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

mod events;
mod reply;
mod request;
mod server;

pub use reply::Reply;
pub use request::{Content, Request};
pub use server::{MockApi, MockApiBuilder};

/// Finds `treewarden-mock-api` in the target folder of the running test, and builds it if need be.
///
/// # Errors
///
/// It cannot be built: the message says why, and how to build it.
pub fn mock_api_path() -> std::io::Result<std::path::PathBuf> {
    crate::programs::program("treewarden-mock-api")
}
