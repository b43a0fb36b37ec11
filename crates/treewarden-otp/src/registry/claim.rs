//! A key that belongs to whoever has a value, instead of an actor.
//!
//! It is for what outlives actors, such as a session between two incarnations. What it promises is what the registry
//! promises of actors: a unique key has one owner, who has it until they give it up or are gone; here that is when the value is
//! dropped. There is no actor to be found by such a key, only the value that was registered with it.

use std::fmt;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use super::events::RegistryEvent;
use super::types::{Inner, Key, Value};

/// Tells claims apart, of all registries.
static NEXT: AtomicU64 = AtomicU64::new(0);

pub(super) fn next_id() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A key of a [`Registry`](super::Registry), for as long as the value lives; it keeps no registry alive.
///
/// Dropping it gives the key up. It takes a lock of the registry for that, and so must not be dropped by the closures that the
/// registry calls.
#[must_use = "the key is given up when the value is dropped"]
pub struct Claim<K: Key, V: Value> {
    registry: Weak<Inner<K, V>>,
    key: K,
    id: u64,
}

impl<K: Key, V: Value> Claim<K, V> {
    pub(super) fn new(registry: Weak<Inner<K, V>>, key: K, id: u64) -> Self {
        Self { registry, key, id }
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Key + fmt::Debug, V: Value> fmt::Debug for Claim<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.key).finish()
    }
}

impl<K: Key, V: Value> Drop for Claim<K, V> {
    fn drop(&mut self) {
        let Some(registry) = self.registry.upgrade() else { return };
        // Somebody to whom it yielded may have the key by now.
        if registry.remove(&self.key, |slot| slot.is_claim(self.id)) > 0 {
            let key = self.key.clone();
            registry.outlet.send(|| RegistryEvent::Unregistered { key, owner: None });
        }
    }
}
