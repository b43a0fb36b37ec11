//! The tables: entries by key and keys by owner, each in shards with a lock of their own.

use std::any::Any;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use ractor::{ActorCell, ActorId, ActorStatus};
use smallvec::SmallVec;

/// Whose registration it is.
#[derive(Debug, Clone)]
pub(super) enum Owner {
    Actor(ActorCell),
    /// The claim of this number.
    Claim(u64),
}

impl Owner {
    pub(super) fn actor(&self) -> Option<&ActorCell> {
        match self {
            Self::Actor(actor) => Some(actor),
            Self::Claim(_) => None,
        }
    }
}

/// One registration.
#[derive(Debug, Clone)]
pub(super) struct Slot<V> {
    pub(super) owner: Owner,
    pub(super) value: V,
}

impl<V> Slot<V> {
    /// Whether the owner can still be talked to.
    pub(super) fn is_reachable(&self) -> bool {
        self.owner.actor().is_none_or(|actor| actor.get_status() < ActorStatus::Stopping)
    }

    /// Whether the owner has ended, stop hook and all.
    pub(super) fn is_vacant(&self) -> bool {
        self.owner.actor().is_some_and(|actor| actor.get_status() == ActorStatus::Stopped)
    }

    pub(super) fn is_of(&self, owner: ActorId) -> bool {
        self.owner.actor().is_some_and(|actor| actor.get_id() == owner)
    }

    pub(super) fn is_claim(&self, claim: u64) -> bool {
        matches!(self.owner, Owner::Claim(id) if id == claim)
    }
}

/// The registrations of one key, oldest first; mostly there is one.
pub(super) type Slots<V> = SmallVec<[Slot<V>; 1]>;

/// Takes out the slots that match, for the caller to drop once the lock is free.
pub(super) fn take<V>(slots: &mut Slots<V>, matches: impl FnMut(&Slot<V>) -> bool) -> Slots<V> {
    let (taken, kept) = std::mem::take(slots).into_iter().partition(matches);
    *slots = kept;
    taken
}

pub(super) type Shard<K, V> = HashMap<K, Slots<V>, RandomState>;

type KeyShard<K, V> = Apart<RwLock<Shard<K, V>>>;

/// Keeps the locks of two shards out of one cache line: threads that look up different keys do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// What one actor has registered.
#[derive(Debug)]
pub(super) struct Owned<K> {
    pub(super) cell: ActorCell,
    pub(super) keys: Vec<K>,
    pub(super) attached: Option<Attachment>,
}

/// What an owner shows to whoever finds it by a name, besides itself.
pub(super) type Attachment = Arc<dyn Any + Send + Sync>;

type Owners<K> = HashMap<ActorId, Owned<K>, RandomState>;

#[derive(Debug)]
pub(super) struct Tables<K, V> {
    hasher: RandomState,
    keys: Box<[KeyShard<K, V>]>,
    owners: Box<[Mutex<Owners<K>>]>,
}

impl<K: Eq + Hash, V> Tables<K, V> {
    pub(super) fn new(partitions: usize) -> Self {
        let count = partitions.max(1).next_power_of_two();
        Self {
            hasher: RandomState::default(),
            keys: (0..count).map(|_| Apart::default()).collect(),
            owners: (0..count).map(|_| Mutex::default()).collect(),
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<Shard<K, V>> {
        let index = (self.hasher.hash_one(key) >> 32) as usize & (self.keys.len() - 1);
        &self.keys[index].0
    }

    pub(super) fn read<Q>(&self, key: &Q) -> RwLockReadGuard<'_, Shard<K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write<Q>(&self, key: &Q) -> RwLockWriteGuard<'_, Shard<K, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each shard in turn, for the operations that look at all keys.
    pub(super) fn shards(&self) -> impl Iterator<Item = RwLockReadGuard<'_, Shard<K, V>>> {
        self.keys.iter().map(|shard| shard.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn owners(&self, owner: ActorId) -> MutexGuard<'_, Owners<K>> {
        let index = self.hasher.hash_one(owner) as usize & (self.owners.len() - 1);
        self.owners[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all_owners(&self) -> Vec<ActorCell> {
        let mut cells = Vec::new();
        for shard in &self.owners {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            cells.extend(shard.values().map(|owned| owned.cell.clone()));
        }
        cells
    }
}
