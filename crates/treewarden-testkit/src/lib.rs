//! Test doubles for programs that drive Claude Code.
//!
//! * [`fake_cli`]: a scriptable stand-in for the `claude` command.
//! * [`mock_api`]: a model API on loopback, for runs of the real command.
//! * `real_cli`: the real command, installed on first use (Unix).
//! * `faults`: kill, freeze, and look for processes that are left (Unix).
//! * `role`: the test binary again, as another process (Unix).
//! * `store`: what any backend of `treewarden-store` must do (feature `store`).
//! * [`VirtualClock`], [`poll_until`], [`eventually`]: time in tests.
//!
//! It is for tests; a running tree needs none of it.
//!
//! # Which double for which test
//!
//! | what is tested | what stands in | what it costs |
//! |---|---|---|
//! | how a program takes crashes, hangs, floods, odd frames | the [fake CLI](fake_cli) | a process of its own; no network, no Node.js |
//! | that the real command behaves as a program believes it does | `real_cli` with the [mock API](mock_api) | an install by npm, once for each target folder |
//! | what the model was told: a prompt lost, doubled or woven in | the [mock API](mock_api) | a task of the test's runtime |
//! | a lock, a kill, another user: whatever needs a second process | `role` | a start of the test binary |
//! | a backend of `treewarden-store` | `store` | whatever the backend takes for 41 checks |
//!
//! The fake CLI is a claim about the real one, and is only as true as the last look at that: a test of a program that matters runs
//! once against each. What the two have in common is said where it is imitated, with the version in which it was seen.
//!
//! # What it never does
//!
//! No double reaches a model, an account or the network: the mock API listens on loopback, and the real command is pointed at it with
//! a dummy key. The one exception is the install of the real command, for which npm asks its registry.
//!
//! What is built or installed on first use goes into cargo's target folder and nowhere else: the programs `treewarden-fake-claude` and
//! `treewarden-mock-api` with their lock and log beside the test's own program, and `treewarden-cli-<version>` at its top. So
//! `cargo clean` removes all of it.
//!
//! # Examples
//!
//! The fake CLI driven by hand, with one prompt, a line of JSON each way:
//!
//! ```no_run
//! use std::io::Write;
//! use std::process::{Command, Stdio};
//!
//! use treewarden_testkit::fake_cli::{FakeCli, fake_cli_path};
//!
//! # fn main() -> std::io::Result<()> {
//! let (key, script) = FakeCli::new().answer("weather", "it rains").env();
//! let home = std::env::temp_dir().join("home-of-the-fake-cli");
//! let mut cli = Command::new(fake_cli_path()?)
//!     .args(["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"])
//!     .env("CLAUDE_CONFIG_DIR", &home)
//!     .env(key, script)
//!     .stdin(Stdio::piped())
//!     .stdout(Stdio::piped())
//!     .spawn()?;
//! let prompt = r#"{"type":"user","message":{"role":"user","content":"how is the weather?"}}"#;
//! writeln!(cli.stdin.as_mut().expect("it is a pipe"), "{prompt}")?;
//! let said = cli.wait_with_output()?.stdout;
//! assert!(String::from_utf8_lossy(&said).contains("it rains"));
//! # Ok(())
//! # }
//! ```

mod clock;
pub mod fake_cli;
#[cfg(unix)]
pub mod faults;
pub mod mock_api;
mod programs;
#[cfg(unix)]
pub mod real_cli;
#[cfg(unix)]
pub mod role;
#[cfg(feature = "store")]
pub mod store;
mod target;

pub use clock::{VirtualClock, eventually, poll_until};
