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
