//! The fake CLI: its conversation, its protocol, its faults.

mod bare;
mod conversation;
#[cfg(target_os = "linux")]
mod faults;
mod protocol;
mod running;
