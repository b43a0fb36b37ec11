//! The fake CLI: its conversation, its protocol, its faults.

mod background;
mod bare;
mod conversation;
mod cut_off;
#[cfg(target_os = "linux")]
mod faults;
mod local;
mod protocol;
mod running;
