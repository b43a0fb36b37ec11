//! Test doubles for programs that drive Claude Code.
//!
//! * [`fake_cli`]: a scriptable stand-in for the `claude` command.
//! * [`mock_api`]: a model API on loopback, for runs of the real command.
//!
//! It is for tests; a running tree needs none of it.

pub mod fake_cli;
pub mod mock_api;
