//! The decisions of an OTP supervisor, without I/O and without a clock.
//!
//! [`supervisor::Machine`] takes `now` and an event, and returns actions and the time of its next deadline: which child to
//! start, which to stop, in which order, whether a restart is within its [`Budget`], and how long a [`Backoff`] makes it
//! wait. The crate knows no actors: whoever drives the machine starts and stops them. `treewarden-otp` does that with
//! ractor.
//!
//! It must never read a clock, wait for anything, or know ractor, tokio or what a child does.

mod backoff;
mod budget;
mod exit_reason;
pub mod ring;
pub mod supervisor;

pub use backoff::Backoff;
pub use budget::Budget;
pub use exit_reason::{Cause, ExitReason};
