//! The OS corner of treewarden: spawns, contains, reads, writes and ends the process tree of a session, and proves it
//! gone.
//!
//! It knows nothing of turns, frames or JSON: what it reads are lines, and what it writes are lines.
//!
//! # What it promises
//!
//! * A [`ProcessTree`] owns its processes: dropping it starts their end, with or without a runtime.
//! * [`TreeGone`] is a value that only this crate can make. It means that the leader has ended and that no live process
//!   of the tree is left: none in its cgroup, in the leader's process group or session, with its [`Cookie`] in its
//!   environment, or that descends from it. What cannot be looked at is never taken for gone. After a crash in a cgroup
//!   the cgroup is the proof, and what slipped out of it is ended beside the next start ([`TreeGone::leftovers`]).
//! * Nothing of a live other host is ended, whatever namespaces that runs in, and nothing of another user's is waited for.
//! * A process is named by its id and its start time, so that a reused id is never signalled.
//! * What it spawns has the limit of open files that the host had before it [raised](raise_open_files) its own.
//! * When the host dies, however it dies, the kernel sends SIGTERM to each leader, so that it can clean up.
//! * Reading is bounded: a line over the limit is skipped, stderr is read at once and only its tail is kept.
//!
//! Linux is first class. macOS builds, and finds a tree by its process group only.

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("treewarden-process supports Linux and macOS");

mod asked;
mod clock;
mod ending;
mod host;
mod kin;
mod leader;
mod leftovers;
mod limit;
mod limits;
mod lines;
mod mask;
mod members;
mod memory;
mod orphans;
mod os;
mod pid;
mod program;
mod proof;
mod prove;
mod scan;
mod spawn;
mod spawn_error;
mod stderr;
mod stop;
mod survivors;
mod sweep;
mod tree;
mod writer;

pub use clock::time_since_boot;
pub use kin::Proofs;
pub use limit::{KernelLimits, Unkept, controllers, make_room_for_limits};
pub use limits::{Limits, is_full, is_shortage, limits, raise_open_files};
pub use lines::{Line, LineReader, MAX_LINE};
pub use mask::take_all_signals;
pub use members::ContainmentPolicy;
pub use memory::{Meter, Reading, kill, weigh};
pub use orphans::{adopt_orphans, reap_orphans};
pub use pid::{Pid, Process};
pub use program::{Cookie, Program};
pub use proof::{NotGone, TreeGone};
pub use prove::prove_gone;
pub use spawn_error::{SpawnError, SpawnErrorKind};
pub use stderr::StderrTail;
pub use stop::{Ladder, Rung};
pub use sweep::{Swept, sweep};
pub use tree::{Containment, ProcessTree, spawn};
pub use writer::LineWriter;
