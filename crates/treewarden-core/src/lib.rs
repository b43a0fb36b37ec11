//! The decisions of treewarden, without I/O and without a clock.
//!
//! Each machine takes `now` and an event, and returns actions and the time of its next deadline. The crate never
//! spawns a process, reads a file, reads a clock, or knows ractor: whoever drives it does that.

mod backoff;
mod budget;
mod exit_reason;
pub mod near;
pub mod places;
pub mod session;
pub mod supervisor;
pub mod warm;

pub use backoff::Backoff;
pub use budget::Budget;
pub use exit_reason::{Cause, ExitReason};
