//! What outlives a process: the contract of a store of records and turns, and the locks of one machine.
//!
//! It is for what any store must do ([`Backend`]), for a store in memory ([`MemoryStore`]), and for the leases and the tree lock,
//! which are files and no matter of a database. It is not for a database: `treewarden-sqlite` is one. It decides nothing,
//! never starts a process, and never speaks to the CLI.

mod contract;
#[doc(hidden)]
pub mod dir;
mod door;
mod durability;
mod error;
mod foreign;
mod holder;
mod host_id;
mod lease;
mod lease_files;
mod lease_place;
#[doc(hidden)]
pub mod lock;
mod memory;
mod now;
#[doc(hidden)]
pub mod placed;
mod plain;
mod problem;
mod record;
mod state_dir;
mod tree_lock;
mod turn_row;

pub use contract::expiry;
pub use contract::{
    Backend, Change, CommitError, Committed, Completed, Keep, Lines, LostNames, NameState, NewTurn,
    OpenError, Pending, Pruned, Settle, StoredTurn, Taken, Tenure, Told, is_written,
};
pub use dir::default_state_dir;
pub use durability::Durability;
pub use error::{StoreError, StoreErrorKind};
pub use holder::{Held, Holder};
pub use lease::{Lease, LeaseError, LeaseWatch};
#[doc(hidden)]
pub use lease_files::{LeaseFile, lease_files, newest_of_each, write_name};
pub use memory::MemoryStore;
#[doc(hidden)]
pub use now::now;
#[doc(hidden)]
pub use plain::is_obeyed;
#[doc(hidden)]
pub use problem::ENDS;
pub use problem::{Concern, Problem, ProblemKind};
pub use record::{Seen, SessionRecord};
pub use state_dir::StateDir;
pub use tree_lock::TreeLock;
pub use turn_row::{TurnRow, TurnState};
