//! Tells listeners about keys that come and go by a call; not about those that go because their owner has ended.

use std::sync::{Mutex, PoisonError};

use ractor::ActorCell;
use tokio::sync::broadcast;

const CAPACITY: usize = 1024;

/// Something that happened to a key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RegistryEvent<K, V> {
    /// The key was registered, or claimed, with this value.
    Registered {
        /// The key.
        key: K,
        /// The actor that has it, if it is an actor's.
        owner: Option<ActorCell>,
        /// Its value.
        value: V,
    },
    /// An actor gave up the key, as in Elixir whether it had it or not; or a claim of it was dropped.
    Unregistered {
        /// The key.
        key: K,
        /// The actor that gave it up, if it is an actor's.
        owner: Option<ActorCell>,
    },
}

/// Says how many events a slow listener missed, or that the registry is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missed {
    /// So many events were dropped; the next call goes on after them.
    #[error("read every event of the registry: {0} were missed")]
    Events(u64),
    /// No more events can come.
    #[error("read the next event: the registry is gone")]
    Closed,
}

/// Receives a registry's events; it holds 1024, and a slower listener misses the oldest.
#[derive(Debug)]
pub struct Listener<K, V>(broadcast::Receiver<RegistryEvent<K, V>>);

impl<K: Clone, V: Clone> Listener<K, V> {
    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// Events were missed, or the registry is gone.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<RegistryEvent<K, V>, Missed> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => Missed::Events(missed),
            broadcast::error::RecvError::Closed => Missed::Closed,
        })
    }
}

/// Where events go; nothing is allocated until somebody listens.
#[derive(Debug)]
pub(super) struct Outlet<K, V>(Mutex<Option<broadcast::Sender<RegistryEvent<K, V>>>>);

impl<K, V> Default for Outlet<K, V> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K: Clone, V: Clone> Outlet<K, V> {
    pub(super) fn listen(&self) -> Listener<K, V> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Listener(sender.get_or_insert_with(|| broadcast::channel(CAPACITY).0).subscribe())
    }

    pub(super) fn send(&self, event: impl FnOnce() -> RegistryEvent<K, V>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.as_ref().filter(|sender| sender.receiver_count() > 0) {
            // Nobody left to hear it is no error.
            let _ = sender.send(event());
        }
    }
}
