//! The decisions about sessions and their CLIs, without I/O and without a clock.
//!
//! Each machine takes `now` and an event, and returns actions and the time of its next deadline. The crate never
//! spawns a process, reads a file, reads a clock, or knows ractor: whoever drives it does that. What a supervisor
//! decides is in `treewarden-otp-core`.

pub mod events;
pub mod holds;
pub mod idle;
pub mod limits;
pub mod places;
pub mod session;
mod size;
pub mod warm;
