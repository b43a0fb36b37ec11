//! One at a time for each key: Elixir's `Registry.lock`.
//!
//! The locks have nothing to do with registrations: any key can be locked. A lock exists while somebody holds it or
//! waits for it, so keys that are done leave nothing behind.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

type Locks<K> = Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>;

#[derive(Debug)]
pub(super) struct KeyLocks<K>(Locks<K>);

impl<K> Default for KeyLocks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> KeyLocks<K> {
    /// Runs `work` while nobody else runs work under this key; those that wait are served in their order.
    pub(super) async fn run<T>(&self, key: K, work: impl Future<Output = T>) -> T {
        let place = self.place(key);
        let held = place.lock.lock().await;
        let result = work.await;
        drop(held);
        result
    }

    fn place(&self, key: K) -> Place<'_, K> {
        // This lock is held for the map alone and never over an await, so that it may be taken in a drop.
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = locks.entry(key.clone()).or_default().clone();
        Place { locks: &self.0, key, lock }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// A holder's or waiter's share in a lock; the last one takes the lock away, however it leaves.
struct Place<'a, K: Eq + Hash + Clone> {
    locks: &'a Locks<K>,
    key: K,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl<K: Eq + Hash + Clone> Drop for Place<'_, K> {
    fn drop(&mut self) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Shares are only made under this mutex: the map's own and this one are the last two.
        if Arc::strong_count(&self.lock) == 2
            && let Entry::Occupied(entry) = locks.entry(self.key.clone())
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_that_nobody_holds_or_waits_for_has_no_lock() {
        let locks = KeyLocks::<u8>::default();
        let waits_in_vain = async {
            tokio::select! {
                biased;
                () = locks.run(1, async {}) => false,
                () = tokio::task::yield_now() => true,
            }
        };
        assert!(locks.run(1, waits_in_vain).await, "the second of one key waits");
        assert_eq!(locks.len(), 0);
    }
}
