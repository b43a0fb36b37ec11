#![doc = include_str!("../README.md")]
//!
//! The decisions are `treewarden-otp-core`'s. This crate must never hold one, and must never know what an actor is for:
//! treewarden's sessions are children like any other.

#[cfg(panic = "abort")]
compile_error!(
    "a panic must end one actor and not the program: build treewarden-otp with panic = \"unwind\""
);

pub mod registry;
pub mod restarts;
mod stream;
pub mod supervisor;

pub use registry::Registry;
pub use supervisor::{ChildSpec, ExitReason, Supervisor};
