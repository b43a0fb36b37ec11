//! Which supervisor a gate stands for: by a [`Name`](crate::registry::Name) one finds an actor, and wants its handle.
//!
//! Only supervisors that were started under a name are here, and only while they run.

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use ractor::ActorId;

use super::handle::Supervisor;

// Looked up by the gate's id and not by name: an id is given once, so an entry that is forgotten late is
// never another supervisor's.
static SUPERVISORS: LazyLock<RwLock<HashMap<ActorId, Supervisor>>> = LazyLock::new(RwLock::default);

/// Notes whose gate an actor is.
pub(super) fn note(gate: ActorId, supervisor: Supervisor) {
    SUPERVISORS.write().unwrap_or_else(PoisonError::into_inner).insert(gate, supervisor);
}

/// The supervisor whose gate the actor is.
pub(super) fn of(gate: ActorId) -> Option<Supervisor> {
    SUPERVISORS.read().unwrap_or_else(PoisonError::into_inner).get(&gate).cloned()
}

/// Forgets a gate that ends.
pub(super) fn forget(gate: ActorId) {
    let forgotten = SUPERVISORS.write().unwrap_or_else(PoisonError::into_inner).remove(&gate);
    // A handle may hold the last of something, whose end is not to happen under the lock.
    drop(forgotten);
}
