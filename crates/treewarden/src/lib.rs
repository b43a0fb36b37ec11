//! Claude Code sessions, supervised like OTP processes.

pub mod config;
pub mod registry;
pub mod session;
pub mod supervisor;
