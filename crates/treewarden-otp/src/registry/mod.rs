//! Names for actors: Elixir's `Registry`, with keys of any type, values, and keys that go with their owner.
//!
//! ractor's own name table is global, frees a name before the actor's stop hook has run, and forgets by name whoever
//! holds it. This one is a value that the program owns, knows each entry by its owner, and never hands out an actor
//! that has ended. It is not distributed.
//!
//! It promises: a unique key has one owner, who keeps it until it unregisters or has ended; an owner that has ended is
//! replaced at once; a look-up takes one short lock and never waits for anything. What is no actor owns a key by a
//! [`Claim`].

mod claim;
mod error;
mod events;
mod lock;
mod meta;
mod name;
mod reaper;
mod table;
mod types;

pub use claim::Claim;
pub use error::{AlreadyRegistered, DuplicateKeys, UpdateError};
pub use events::{Listener, Missed, RegistryEvent};
pub use name::Name;
pub use types::{Entry, Key, Keys, Registry, RegistryBuilder, Value};
