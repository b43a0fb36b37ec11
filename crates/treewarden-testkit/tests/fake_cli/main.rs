//! The fake CLI: its conversation, its protocol, its faults.

mod conversation;
#[cfg(target_os = "linux")]
mod faults;
mod protocol;
mod running;
