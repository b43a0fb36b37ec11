//! The contract of a store: records, turns, tenures and transcript lines, kept by whatever implements [`Backend`].
//!
//! It is for the types that are asked and answered, and for what each promises. It is not for how anything is kept. Nothing
//! here may read or write a file.
//!
//! # Who writes
//!
//! Whoever writes a name takes it first ([`Backend::take`]) and gets a [`Tenure`]: the name, an epoch that no other taking of
//! it ever had, and the number of its next commit. A [commit](Backend::commit) names all three; one of an earlier epoch, or
//! with another number, changes nothing. So the stored conversation is one chain of commits, whoever sleeps or wakes late.
//! A turn is [opened](Backend::open) without a tenure: to ask is anybody's, to answer is the holder's.

mod backend;
mod change;
mod completed;
pub mod expiry;
mod failure;
mod lines;
mod retention;
mod turn;

pub use backend::{Backend, Pending};
pub use change::{Change, Committed, Settle, Tenure};
pub use completed::{Completed, is_written};
pub use failure::{CommitError, OpenError};
pub use lines::Lines;
pub use retention::{Keep, Pruned};
pub use turn::{LostNames, NameState, NewTurn, StoredTurn, Taken, Told};
