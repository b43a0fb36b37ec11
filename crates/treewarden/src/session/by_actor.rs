//! Which desk a session's actor serves: by a [`Name`](crate::registry::Name) one finds an actor, and wants the session.
//!
//! Only sessions that were started under a name of a user's registry are here, and only while they run.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};

use ractor::ActorId;

use super::desk::Desk;

static DESKS: LazyLock<RwLock<HashMap<ActorId, Weak<Desk>>>> = LazyLock::new(RwLock::default);

/// Notes whose actor this is.
pub(super) fn note(actor: ActorId, desk: &Arc<Desk>) {
    DESKS.write().unwrap_or_else(PoisonError::into_inner).insert(actor, Arc::downgrade(desk));
}

/// The desk that the actor serves.
pub(super) fn of(actor: ActorId) -> Option<Arc<Desk>> {
    DESKS.read().unwrap_or_else(PoisonError::into_inner).get(&actor)?.upgrade()
}

/// Forgets an actor that ends.
pub(super) fn forget(actor: ActorId) {
    DESKS.write().unwrap_or_else(PoisonError::into_inner).remove(&actor);
}
