//! Tells listeners about keys that come and go by a call; not about those that go because their owner has ended.

use std::sync::{Arc, OnceLock};

use ractor::ActorCell;

use crate::stream::{LIMITS, Listening, Stream, Unheard};

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

/// Receives a registry's events; it holds 1,024 that were not read, and 8 MiB of them at most, and a slower listener misses the
/// oldest.
///
/// How many bytes a key and its value hold is what the registry was [told](super::RegistryBuilder::weigh).
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use treewarden_otp::registry::{Registry, RegistryEvent};
///
/// let rooms: Registry<&str, u16> = Registry::unique().build();
/// let mut listener = rooms.listen();
/// drop(rooms.claim("lobby", 7, |_| false)?);
/// assert!(matches!(listener.next().await?, RegistryEvent::Registered { key: "lobby", value: 7, .. }));
/// assert!(matches!(listener.next().await?, RegistryEvent::Unregistered { key: "lobby", .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Listener<K, V>(Listening<RegistryEvent<K, V>>);

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
        self.0.next().await.map_err(|unheard| match unheard {
            Unheard::Missed(missed) => Missed::Events(missed),
            Unheard::Ended => Missed::Closed,
        })
    }
}

/// How many bytes a key, and its value where there is one, hold besides themselves.
pub(super) type Weigh<K, V> = fn(&K, Option<&V>) -> usize;

/// Where events go; nothing is allocated until somebody listens.
#[derive(Debug)]
pub(super) struct Outlet<K, V> {
    stream: OnceLock<Arc<Stream<RegistryEvent<K, V>>>>,
    weigh: Weigh<K, V>,
}

impl<K, V> Outlet<K, V> {
    pub(super) fn new(weigh: Weigh<K, V>) -> Self {
        Self { stream: OnceLock::new(), weigh }
    }
}

impl<K: Clone, V: Clone> Outlet<K, V> {
    pub(super) fn listen(&self) -> Listener<K, V> {
        Listener(self.stream.get_or_init(|| Arc::new(Stream::new(LIMITS))).listen())
    }

    pub(super) fn send(&self, event: impl FnOnce() -> RegistryEvent<K, V>) {
        let Some(stream) = self.stream.get() else { return };
        stream.tell(|| {
            let event = event();
            let held = match &event {
                RegistryEvent::Registered { key, value, .. } => (self.weigh)(key, Some(value)),
                RegistryEvent::Unregistered { key, .. } => (self.weigh)(key, None),
            };
            (size_of_val(&event).saturating_add(held), event)
        });
    }
}

impl<K, V> Drop for Outlet<K, V> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.get() {
            stream.end();
        }
    }
}
