#![doc = include_str!("../README.md")]

#[cfg(panic = "abort")]
compile_error!("a panic must end one actor and not the program: build treewarden with panic = \"unwind\"");

mod binaries;
pub mod clock;
pub mod config;
mod env_sources;
pub mod events;
mod guards;
pub mod host;
mod limits;
mod lookup;
mod names;
mod places;
mod private_files;
mod problems;
mod prune;
mod scales;
mod second_door;
pub mod session;
mod suggest;
mod supervision;
mod traces;
pub mod tree;
mod warm;

pub use host::Host;
pub use session::{Prompt, Session, SessionOptions};
pub use suggest::no_such;
pub use tree::Tree;
pub use treewarden_otp::{ExitReason, Supervisor, registry, supervisor};
pub use treewarden_proto::{
    InvalidId, InvalidName, SessionId, SessionName, SessionSpec, TurnId, control, frame, spec,
};
pub use treewarden_store as store;
pub use treewarden_store::{Concern, Durability, Keep, LostNames, Problem, ProblemKind, StoreErrorKind};
