//! The store of one machine: records, turns, tenures and transcript lines in an SQLite database.
//!
//! It is a [`Backend`](treewarden_store::Backend), and says nothing of what a store must do: the contract does. It decides
//! nothing about sessions, starts no process, and writes no file but those of its database.
//!
//! # How it is made
//!
//! One thread (`writer`) writes: what waits for it is stored by one commit. Two others read (`readers`). So no caller blocks a
//! thread, and each is answered within a time of its own. Each row has a checksum over all that it holds (`row`, `checksum`).
//! An opening looks for damage before a name is told of (`opening`), and asks a file beside the database whether it is the one
//! that was used last (`witness`); a name whose record is gone is lost, and never begun blank (`lost`). What earlier versions
//! left is carried over (`import`).

mod backend;
mod checksum;
mod commit;
mod connection;
mod copy;
mod error;
mod findings;
mod full;
mod import;
mod locker;
mod lost;
mod meta;
mod opening;
mod options;
mod patience;
mod place;
mod problems;
mod prune;
mod quarantine;
mod read;
mod readers;
mod row;
mod schema;
mod store;
mod transaction;
mod unwritable;
mod witness;
mod writer;

pub use copy::{Restore, RestoreError, Restored, damage, restore};
pub use options::SqliteOptions;
pub use schema::is_of_earlier_version;
pub use store::SqliteStore;
