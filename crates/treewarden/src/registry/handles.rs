//! What the actors stand for that a [`Name`](super::Name) was given to: by a name one finds a handle, not an actor only.
//!
//! Only sessions and supervisors that were started under a name of a user's registry are here, and only while they run.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use ractor::ActorId;

type Handles = HashMap<ActorId, Box<dyn Any + Send + Sync>>;

static HANDLES: LazyLock<RwLock<Handles>> = LazyLock::new(RwLock::default);

/// Notes what an actor stands for.
pub(crate) fn note<T: Any + Send + Sync>(actor: ActorId, handle: T) {
    HANDLES.write().unwrap_or_else(PoisonError::into_inner).insert(actor, Box::new(handle));
}

/// What an actor stands for, if it is of this type.
pub(crate) fn of<T: Any + Clone>(actor: ActorId) -> Option<T> {
    HANDLES.read().unwrap_or_else(PoisonError::into_inner).get(&actor)?.downcast_ref::<T>().cloned()
}

/// Forgets an actor that ends.
pub(crate) fn forget(actor: ActorId) {
    let forgotten = HANDLES.write().unwrap_or_else(PoisonError::into_inner).remove(&actor);
    // A handle may hold the last of something, whose end is not to happen under the lock.
    drop(forgotten);
}
