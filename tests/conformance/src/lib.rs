//! Runs the oracle's schedules on real ractor actors, through treewarden's public API, and compares the traces.
//!
//! A *schedule* is a supervision tree and a list of steps; a *trace* is what then happened, in order. The real
//! Erlang/OTP prints traces for the same schedules (`oracle/`), and this crate says where ours differ. All translation
//! between Erlang's terms and our types is here, none of it in the library.

pub mod compare;
pub mod excused;
pub mod random;
pub mod schedule;

mod kid;
mod ops;
mod registry_ops;
mod run;
mod supervisor_ops;
mod term;
mod tree;
mod validate;
mod world;

pub use run::run;
