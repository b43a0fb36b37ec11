//! The OS corner of treewarden: spawns, contains, reads, writes and ends the process tree of a session, and proves it
//! gone.
//!
//! It knows nothing of turns, frames or JSON: what it reads are lines, and what it writes are lines.
//!
//! # What it promises
//!
//! * A [`Tree`] owns its processes: dropping it starts their end, with or without a runtime.
//! * [`TreeGone`] is a value that only this crate can make. It means that the leader is reaped and that no live process
//!   is left in the tree's cgroup; or, where none can be made, in its process group and its session, or with its
//!   [`Cookie`] in its environment. What cannot be looked at is never taken for gone.
//! * A process is named by its id and its start time, so that a reused id is never signalled.
//! * When the host dies, however it dies, the kernel sends SIGTERM to each leader, so that it can clean up.
//! * Reading is bounded: a line over the limit is skipped, stderr is read at once and only its tail is kept.
//!
//! Linux is first class. macOS builds, and finds a tree by its process group only.

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("treewarden-process supports Linux and macOS");

mod gone;
mod host;
mod leader;
mod lines;
mod os;
mod pid;
mod program;
mod scan;
mod spawn;
mod spawn_error;
mod stderr;
mod stop;
mod sweep;
mod tree;
mod writer;

pub use gone::{NotGone, TreeGone, prove_gone};
pub use lines::{Line, LineReader, MAX_LINE};
pub use pid::{Pid, Process};
pub use program::{Cookie, Program};
pub use spawn::spawn;
pub use spawn_error::{SpawnError, SpawnErrorKind};
pub use stderr::StderrTail;
pub use stop::{Ladder, Rung};
pub use sweep::{Swept, sweep};
pub use tree::{Containment, ContainmentPolicy, Tree};
pub use writer::LineWriter;
