//! What outlives a process: session records, the turn journal, leases.
//!
//! It keeps and finds; it decides nothing. It never starts a process and never speaks to the CLI.

mod contract;
#[doc(hidden)]
pub mod dir;
mod door;
mod durability;
mod error;
mod files;
mod foreign;
mod holder;
mod host_id;
mod journal;
mod lease;
mod lease_files;
mod lease_place;
#[doc(hidden)]
pub mod lock;
#[doc(hidden)]
pub mod mark;
mod memory;
mod patience;
#[doc(hidden)]
pub mod placed;
mod plain;
mod problem;
mod record;
mod schema;
mod sessions;
mod shim;
mod state_dir;
mod store;
mod tail;
mod tree_lock;
mod writer;

pub use contract::expiry;
pub use contract::{
    Backend, Change, CommitError, Committed, Keep, Lines, LostNames, NewTurn, OpenError, Pending, Pruned,
    Settle, StoredTurn, Taken, Tenure, Told,
};
pub use dir::default_state_dir;
pub use durability::Durability;
pub use error::{StoreError, StoreErrorKind};
pub use holder::{Held, Holder};
pub use journal::{Completed, Settled, TurnRow, TurnState, is_written};
pub use lease::{Lease, LeaseError, LeaseWatch};
#[doc(hidden)]
pub use lease_files::{LeaseFile, lease_files, newest_of_each, write_name};
pub use memory::MemoryStore;
pub use problem::{Problem, ProblemKind};
pub use record::{Seen, SessionRecord};
pub use state_dir::StateDir;
pub use store::{Store, StoreOptions};
pub use tree_lock::TreeLock;
