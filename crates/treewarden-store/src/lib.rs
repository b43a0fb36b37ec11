//! What outlives a process: session records, the turn journal, leases.
//!
//! It keeps and finds; it decides nothing. It never starts a process and never speaks to the CLI.

mod dir;
mod door;
mod error;
mod files;
mod foreign;
mod holder;
mod host_id;
mod journal;
mod lease;
mod lease_place;
mod lock;
mod mark;
mod patience;
#[doc(hidden)]
pub mod placed;
mod plain;
mod problem;
mod record;
mod schema;
mod sessions;
mod store;
mod tail;
mod tree_lock;
mod writer;

pub use dir::default_state_dir;
pub use error::{StoreError, StoreErrorKind};
pub use holder::{Held, Holder};
pub use journal::{Completed, Settled, TurnRow, TurnState, is_written};
pub use lease::{Lease, LeaseError, LeaseWatch};
pub use problem::{Problem, ProblemKind};
pub use record::{Seen, SessionRecord};
pub use store::{Durability, Store, StoreOptions};
pub use tree_lock::TreeLock;
