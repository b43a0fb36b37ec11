//! What a session has its name by, and what is found under it: the room below the sessions, where they are nothing but holders
//! of names.
//!
//! A name belongs to the session and to none of its actors: it is held while no actor serves it, in a restart, parked or given up,
//! and it is no runtime's, since a host outlives the runtime that it was opened in. So no actor owns it in the registry, but a
//! claim, which the session keeps. The registry keeps the session in turn by a weak reference alone: whoever can still serve it,
//! or waits for it, is who holds it, and with the last of them the name is free.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use treewarden_otp::registry::Claim;
use treewarden_proto::SessionName;

/// Whoever holds the name of a session, as [`Host::names`](crate::Host::names) has it; [`session`](Self::session) is a handle of it.
///
/// It keeps nothing alive.
#[derive(Clone)]
pub struct Holder(Weak<dyn Any + Send + Sync>);

impl Holder {
    pub(crate) fn new<T: Any + Send + Sync>(who: &Arc<T>) -> Self {
        let who: Weak<T> = Arc::downgrade(who);
        Self(who)
    }

    /// Whoever it is, if it is there still.
    pub(crate) fn who<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.upgrade()?.downcast().ok()
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").finish_non_exhaustive()
    }
}

/// The claim by which a session has its name. It ends with the session, or when that gives the name up.
#[derive(Default)]
pub(crate) struct NameHeld(Mutex<Option<Claim<SessionName, Holder>>>);

impl NameHeld {
    /// Has the name by this claim from now on, or by none.
    pub(crate) fn replace(&self, claim: Option<Claim<SessionName, Holder>>) {
        // The earlier claim is let go when the lock is free: to end a claim takes the lock of the registry,
        // whose listeners may look for this name.
        let earlier = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), claim);
        drop(earlier);
    }
}
