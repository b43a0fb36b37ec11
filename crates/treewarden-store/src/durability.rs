//! What a stored value survives: chosen once for a store.

use serde::{Deserialize, Serialize};

/// What a stored value survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Nothing: turns are not stored, only the records of sessions are.
    ///
    /// A turn still survives the death of its CLI, since the host holds it. When the host dies, the turns that waited or
    /// ran are gone and nobody asks them again; no outcome can be looked up later, and a conversation that lost its end
    /// is not noticed, as nothing says what it held.
    Nothing,
    /// The death of the process, `kill -9` included.
    #[default]
    Process,
    /// The death of the machine: every commit is synced, and callers at one time share a sync.
    Power,
}
