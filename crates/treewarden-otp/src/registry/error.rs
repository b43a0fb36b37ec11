//! What a registry refuses.

use ractor::ActorCell;

/// Says that a unique key has a living owner.
#[derive(Debug, Clone, thiserror::Error)]
#[error("register the key: {} has it", said(owner.as_ref()))]
pub struct AlreadyRegistered {
    /// The actor that has it; `None` if it was claimed.
    pub owner: Option<ActorCell>,
}

fn said(owner: Option<&ActorCell>) -> String {
    owner.map_or_else(|| "a claim".to_owned(), |actor| format!("actor {}", actor.get_id()))
}

/// Says that an operation needs unique keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("use a key of a registry with duplicate keys as if it had one owner")]
pub struct DuplicateKeys;

/// Says why a value was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The actor does not own the key.
    #[error("update the value: the actor does not own the key")]
    NotOwner,
    /// The registry has duplicate keys.
    #[error("update the value: the registry has duplicate keys")]
    DuplicateKeys,
}
