//! The language of the Claude Code CLI: frames in and out, control requests, and options as argv, environment
//! and `initialize`.
//!
//! This crate does no I/O and knows no runtime. It turns bytes into typed frames and typed values into bytes.
//! What it does not know it keeps raw: an unknown frame type, subtype or field is never an error.

mod acts;
pub mod control;
pub mod frame;
mod ids;
pub mod input;
mod line;
pub mod spec;
pub mod transcript;
mod wire;

pub use frame::Frame;
pub use ids::{InvalidId, InvalidName, SessionId, SessionName, TurnId};
pub use spec::SessionSpec;
