//! What outlives a process: session records, the turn journal, leases.
//!
//! It keeps and finds; it decides nothing. It never starts a process and never speaks to the CLI.

mod error;
mod journal;
mod lease;
mod lock;
mod record;
mod store;
pub mod transcript;

pub use error::{StoreError, StoreErrorKind};
pub use journal::{Settled, TurnRow, TurnState};
pub use lease::{Held, Holder, Lease, TreeLock};
pub use record::SessionRecord;
pub use store::{Durability, Store, StoreOptions, default_state_dir};
