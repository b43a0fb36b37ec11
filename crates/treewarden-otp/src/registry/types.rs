//! The registry itself.
//!
//! It is for finding who has a key. It is not for starting anybody, and it must never call a program's code under a lock but where the
//! method's doc says so.

use std::any::Any;
use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use ractor::{ActorCell, ActorId};

use super::claim::{self, Claim};
use super::error::{AlreadyRegistered, DuplicateKeys, UpdateError};
use super::events::{Listener, Outlet, RegistryEvent, Weigh};
use super::lock::KeyLocks;
use super::meta::Meta;
use super::name::Name;
use super::reaper::{Reap, Reaper};
use super::table::{Attachment, Owned, Owner, Slot, Tables, take};

/// Says whether a key may have more than one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Each key has at most one owner.
    Unique,
    /// A key may be registered any number of times, by one actor too.
    Duplicate,
}

/// One registration, as a look-up shows it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Entry<V> {
    /// The actor that registered the key; `None` if it was [claimed](Registry::claim).
    pub owner: Option<ActorCell>,
    /// The value it registered.
    pub value: V,
}

/// Keys, their owners and their values; a cheap clone.
///
/// It is in memory alone, and of this process. An actor's keys go with the actor: nobody has to unregister. A look-up finds nobody
/// who has ended, and no actor that is stopping.
///
/// # Examples
///
/// ```
/// use treewarden_otp::registry::Registry;
///
/// // What is no actor claims a key; it is free again when the claim is dropped.
/// let rooms: Registry<String, u16> = Registry::unique().build();
/// let claim = rooms.claim("lobby".to_owned(), 7, |_| false)?;
/// assert_eq!(rooms.lookup("lobby")[0].value, 7);
/// drop(claim);
/// assert!(rooms.lookup("lobby").is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Registry<K, V = ()>(Arc<Inner<K, V>>);

impl<K, V> Clone for Registry<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
pub(super) struct Inner<K, V> {
    kind: Keys,
    tables: Tables<K, V>,
    pub(super) outlet: Outlet<K, V>,
    reaper: Reaper,
    locks: KeyLocks<K>,
    meta: Meta,
}

/// Describes a registry.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct RegistryBuilder<K, V = ()> {
    kind: Keys,
    partitions: usize,
    weigh: Weigh<K, V>,
}

impl<K: Key, V: Value> RegistryBuilder<K, V> {
    /// Sets into how many parts the tables are divided, each with a lock of its own; 16 by default.
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions;
        self
    }

    /// Says how many bytes a key, and its value where there is one, hold on the heap; none by default.
    ///
    /// It is asked of each event that somebody [listens](Registry::listen) to, whose number and bytes are bounded.
    pub fn weigh(mut self, weigh: fn(&K, Option<&V>) -> usize) -> Self {
        self.weigh = weigh;
        self
    }

    /// Makes the registry.
    #[must_use]
    pub fn build(self) -> Registry<K, V> {
        Registry(Arc::new(Inner {
            kind: self.kind,
            tables: Tables::new(self.partitions),
            outlet: Outlet::new(self.weigh),
            reaper: Reaper::default(),
            locks: KeyLocks::default(),
            meta: Meta::default(),
        }))
    }
}

/// What a key must be able to do.
///
/// It is hashed, compared, cloned and dropped under a lock of the registry, and must not use the registry in any of these.
pub trait Key: Eq + Hash + Clone + Send + Sync + 'static {}
impl<K: Eq + Hash + Clone + Send + Sync + 'static> Key for K {}

/// What a value must be able to do.
///
/// Its `clone` is called under a lock of the registry, and must not use it. Its `drop` may. An event that somebody
/// [listens](Registry::listen) to keeps the value until all listeners have read it, or it makes room for others.
pub trait Value: Clone + Send + Sync + 'static {}
impl<V: Clone + Send + Sync + 'static> Value for V {}

impl<K: Key, V: Value> Reap for Inner<K, V> {
    fn reaper(&self) -> &Reaper {
        &self.reaper
    }

    fn owners(&self) -> Vec<ActorCell> {
        self.tables.all_owners()
    }

    fn forget(&self, owner: ActorId) {
        // The lock of the owners is free again here. It and that of a shard are never held together, so there
        // is no order between them to keep.
        let Some(owned) = self.tables.owners(owner).remove(&owner) else { return };
        for key in owned.keys {
            self.remove(&key, |slot| slot.is_of(owner));
        }
    }
}

impl<K: Key, V: Value> Inner<K, V> {
    /// Removes the slots that match; says how many there were.
    pub(super) fn remove<Q>(&self, key: &Q, matches: impl FnMut(&Slot<V>) -> bool) -> usize
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut shard = self.tables.write(key);
        let Some(slots) = shard.get_mut(key) else { return 0 };
        let removed = take(slots, matches);
        if slots.is_empty() {
            shard.remove(key);
        }
        // Before the values are dropped: the drop of one may use the registry, and would wait for this lock.
        drop(shard);
        removed.len()
    }

    /// Adds a slot, unless the key is unique and has an owner that neither has ended nor yields.
    fn add(
        &self,
        owner: Owner,
        key: &K,
        value: &V,
        yields: impl FnOnce(&V) -> bool,
    ) -> Result<(), AlreadyRegistered> {
        // Declared before the lock, and so dropped after it.
        let (_ended, _yielded);
        let mut shard = self.tables.write(key);
        let slots = shard.entry(key.clone()).or_default();
        if self.kind == Keys::Unique {
            // Until the reaper comes, an owner that has ended stands here. One in its stop hook still
            // counts: a successor would run beside it.
            _ended = take(slots, Slot::is_vacant);
            if let Some(slot) = slots.first() {
                let claimed = matches!(slot.owner, Owner::Claim(_));
                if !(claimed && yields(&slot.value)) {
                    return Err(AlreadyRegistered { owner: slot.owner.actor().cloned() });
                }
                _yielded = take(slots, |_| true);
            }
        }
        slots.push(Slot { owner, value: value.clone() });
        Ok(())
    }

    /// Notes that the owner has one more key; says whether it is new here.
    fn own(&self, owner: &ActorCell, key: K) -> bool {
        let mut owners = self.tables.owners(owner.get_id());
        let mut is_new = false;
        let owned = owners.entry(owner.get_id()).or_insert_with(|| {
            is_new = true;
            Owned { cell: owner.clone(), keys: Vec::new(), attached: None }
        });
        owned.keys.push(key);
        is_new
    }

    /// Forgets `count` registrations of the key in the owner's list.
    fn disown<Q>(&self, owner: &ActorCell, key: &Q, count: usize)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut owners = self.tables.owners(owner.get_id());
        if let Some(owned) = owners.get_mut(&owner.get_id()) {
            let mut left = count;
            owned.keys.retain(|known| {
                left == 0 || known.borrow() != key || {
                    left -= 1;
                    false
                }
            });
        }
    }
}

impl<K: Key, V: Value> Registry<K, V> {
    /// Describes a registry whose keys have one owner each.
    pub fn unique() -> RegistryBuilder<K, V> {
        RegistryBuilder { kind: Keys::Unique, partitions: 16, weigh: |_, _| 0 }
    }

    /// Describes a registry whose keys may be registered more than once.
    pub fn duplicate() -> RegistryBuilder<K, V> {
        RegistryBuilder { kind: Keys::Duplicate, partitions: 16, weigh: |_, _| 0 }
    }

    /// Whether a key may have more than one owner.
    #[must_use]
    pub fn kind(&self) -> Keys {
        self.0.kind
    }

    /// Registers a key for an actor. It keeps it until it unregisters or has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use ractor::{Actor, ActorProcessingErr, ActorRef};
    /// use treewarden_otp::registry::Registry;
    ///
    /// # struct Idle;
    /// # impl Actor for Idle {
    /// #     type Msg = ();
    /// #     type State = ();
    /// #     type Arguments = ();
    /// #     async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let users: Registry<u32, &str> = Registry::unique().build();
    /// let (actor, task) = Idle::spawn(None, Idle, ()).await?;
    /// users.register(&actor.get_cell(), 7, "ann")?;
    /// assert!(users.register(&actor.get_cell(), 7, "again").is_err(), "the same actor is refused as well");
    /// assert!(users.whereis(&7)?.is_some());
    ///
    /// actor.stop(None);
    /// task.await?;
    /// assert!(users.lookup(&7).is_empty(), "its keys went with it");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The owner of a unique key that has ended, stop hook and all, is replaced at once.
    ///
    /// # Errors
    ///
    /// The key is unique and has an owner, the same actor included.
    pub fn register(&self, owner: &ActorCell, key: K, value: V) -> Result<(), AlreadyRegistered> {
        self.0.add(Owner::Actor(owner.clone()), &key, &value, |_| false)?;
        if self.0.own(owner, key.clone()) {
            Reaper::watch(&self.0, owner);
        }
        self.0.outlet.send(|| RegistryEvent::Registered { key, owner: Some(owner.clone()), value });
        Ok(())
    }

    /// Registers a key for whoever keeps the returned value, instead of an actor.
    ///
    /// A unique key that was claimed before is taken over at once if its holder `yields`, which is asked of the value that
    /// it registered: a holder that is done may still be found, and yet stand in nobody's way. The question is asked under
    /// the lock of the table, and so must neither wait nor use the registry.
    ///
    /// # Errors
    ///
    /// The key is unique and has an owner, who does not yield it; an actor yields only by its end.
    ///
    /// # Examples
    ///
    /// ```
    /// use treewarden_otp::registry::Registry;
    ///
    /// let names: Registry<&str, u32> = Registry::unique().build();
    /// let claim = names.claim("a", 1, |_| false).expect("nobody has it");
    /// assert_eq!(names.lookup("a")[0].value, 1);
    /// drop(claim);
    /// assert!(names.lookup("a").is_empty());
    /// ```
    pub fn claim(
        &self,
        key: K,
        value: V,
        yields: impl FnOnce(&V) -> bool,
    ) -> Result<Claim<K, V>, AlreadyRegistered> {
        let id = claim::next_id();
        self.0.add(Owner::Claim(id), &key, &value, yields)?;
        let claim = Claim::new(Arc::downgrade(&self.0), key.clone(), id);
        self.0.outlet.send(|| RegistryEvent::Registered { key, owner: None, value });
        Ok(claim)
    }

    /// Gives up a key: all of the actor's registrations of it. Listeners hear of it, had it any or not.
    pub fn unregister(&self, owner: &ActorCell, key: &K) {
        self.unregister_match(owner, key, |_| true);
    }

    /// Gives up those of the actor's registrations of a key whose value matches. Listeners hear of it when it has none
    /// of that key any more.
    ///
    /// `matches` is asked under a lock of the registry, and so must neither wait nor use the registry: it could wait for itself.
    pub fn unregister_match(&self, owner: &ActorCell, key: &K, mut matches: impl FnMut(&V) -> bool) {
        let mut left = 0;
        let removed = self.0.remove(key, |slot| {
            let is_own = slot.is_of(owner.get_id());
            let is_meant = is_own && matches(&slot.value);
            left += usize::from(is_own && !is_meant);
            is_meant
        });
        if removed > 0 {
            self.0.disown(owner, key, removed);
        }
        if left == 0 {
            self.0
                .outlet
                .send(|| RegistryEvent::Unregistered { key: key.clone(), owner: Some(owner.clone()) });
        }
    }

    /// Finds the actor that owns a unique key; one that is stopping is not found, nor is who is no actor.
    ///
    /// # Errors
    ///
    /// The registry has duplicate keys.
    pub fn whereis<Q>(&self, key: &Q) -> Result<Option<ActorCell>, DuplicateKeys>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if self.0.kind == Keys::Duplicate {
            return Err(DuplicateKeys);
        }
        let shard = self.0.tables.read(key);
        let slot = shard.get(key).and_then(|slots| slots.first());
        Ok(slot.filter(|slot| slot.is_reachable()).and_then(|slot| slot.owner.actor().cloned()))
    }

    /// Lists the registrations of a key whose owners have not ended.
    #[must_use]
    pub fn lookup<Q>(&self, key: &Q) -> Vec<Entry<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let shard = self.0.tables.read(key);
        let slots = shard.get(key).map_or(&[][..], |slots| &slots[..]);
        let found = slots.iter().filter(|slot| slot.is_reachable());
        found.map(|slot| Entry { owner: slot.owner.actor().cloned(), value: slot.value.clone() }).collect()
    }

    /// Lists the registrations of a key whose value matches; `matches` is asked outside of any lock.
    #[must_use]
    pub fn matching<Q>(&self, key: &Q, mut matches: impl FnMut(&V) -> bool) -> Vec<Entry<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut found = self.lookup(key);
        found.retain(|entry| matches(&entry.value));
        found
    }

    /// Goes through all registrations and keeps what `pick` makes of them.
    ///
    /// `pick` is asked under a lock of the registry, and so must neither wait nor use the registry: it could wait for itself.
    #[must_use]
    pub fn select<T>(&self, mut pick: impl FnMut(&K, Option<&ActorCell>, &V) -> Option<T>) -> Vec<T> {
        let mut picked = Vec::new();
        for shard in self.0.tables.shards() {
            for (key, slots) in shard.iter() {
                let slots = slots.iter().filter(|slot| slot.is_reachable());
                picked.extend(slots.filter_map(|slot| pick(key, slot.owner.actor(), &slot.value)));
            }
        }
        picked
    }

    /// Counts the registrations whose owners have not ended.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count_select(|_, _, _| true)
    }

    /// Counts the registrations of a key whose value matches; `matches` is asked outside of any lock.
    #[must_use]
    pub fn count_match<Q>(&self, key: &Q, matches: impl FnMut(&V) -> bool) -> usize
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.matching(key, matches).len()
    }

    /// Goes through all registrations and counts those that match.
    ///
    /// `matches` is asked under a lock of the registry, and so must neither wait nor use the registry: it could wait for itself.
    #[must_use]
    pub fn count_select(&self, mut matches: impl FnMut(&K, Option<&ActorCell>, &V) -> bool) -> usize {
        let mut count = 0;
        for shard in self.0.tables.shards() {
            for (key, slots) in shard.iter() {
                let slots = slots.iter().filter(|slot| slot.is_reachable());
                count += slots.filter(|slot| matches(key, slot.owner.actor(), &slot.value)).count();
            }
        }
        count
    }

    /// Lists the keys of an actor, one for each registration.
    #[must_use]
    pub fn keys(&self, owner: &ActorCell) -> Vec<K> {
        let owners = self.0.tables.owners(owner.get_id());
        owners.get(&owner.get_id()).map(|owned| owned.keys.clone()).unwrap_or_default()
    }

    /// Lists the values that an actor registered for a key.
    #[must_use]
    pub fn values(&self, owner: &ActorCell, key: &K) -> Vec<V> {
        let shard = self.0.tables.read(key);
        let slots = shard.get(key).map_or(&[][..], |slots| &slots[..]);
        slots.iter().filter(|slot| slot.is_of(owner.get_id())).map(|slot| slot.value.clone()).collect()
    }

    /// Changes the value of a unique key; returns the new value and the old one.
    ///
    /// `change` is asked under a lock of the registry, and so must neither wait nor use the registry: it could wait for itself.
    ///
    /// # Errors
    ///
    /// The actor does not own the key, or the registry has duplicate keys.
    pub fn update_value(
        &self,
        owner: &ActorCell,
        key: &K,
        change: impl FnOnce(&V) -> V,
    ) -> Result<(V, V), UpdateError> {
        if self.0.kind == Keys::Duplicate {
            return Err(UpdateError::DuplicateKeys);
        }
        let mut shard = self.0.tables.write(key);
        let slot =
            shard.get_mut(key).and_then(|slots| slots.iter_mut().find(|slot| slot.is_of(owner.get_id())));
        let slot = slot.ok_or(UpdateError::NotOwner)?;
        let new = change(&slot.value);
        let old = std::mem::replace(&mut slot.value, new.clone());
        Ok((new, old))
    }

    /// Calls `act` with all registrations of a key, outside of any lock; not at all when there are none.
    ///
    /// # Examples
    ///
    /// ```
    /// use treewarden_otp::registry::Registry;
    ///
    /// let topics: Registry<&str, u8> = Registry::duplicate().build();
    /// let _subscribed = [1, 2].map(|who| topics.claim("news", who, |_| false).expect("a duplicate key is never taken"));
    /// let mut told = Vec::new();
    /// topics.dispatch("news", |entries| told.extend(entries.iter().map(|entry| entry.value)));
    /// topics.dispatch("weather", |_| unreachable!("nobody listens"));
    /// assert_eq!(told, [1, 2]);
    /// ```
    pub fn dispatch<Q>(&self, key: &Q, act: impl FnOnce(Vec<Entry<V>>))
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let entries = self.lookup(key);
        if !entries.is_empty() {
            act(entries);
        }
    }

    /// Runs `work` while no other work runs under this key, and returns its result.
    ///
    /// Work under other keys is not held up. Those that wait are served in their order. It is a lock of its own, which
    /// neither needs nor hinders a registration of the key. Work that locks the key that it runs under never ends.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::cell::Cell;
    ///
    /// use treewarden_otp::registry::Registry;
    ///
    /// let accounts: Registry<&str> = Registry::unique().build();
    /// let running = Cell::new(0);
    /// let work = || async {
    ///     assert_eq!(running.replace(1), 0, "nobody else is at this key");
    ///     tokio::task::yield_now().await;
    ///     running.set(0);
    /// };
    /// tokio::join!(accounts.lock("ann", work()), accounts.lock("ann", work()));
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, or `work` panics, the key is free again; whoever waited in vain leaves no trace.
    pub async fn lock<T>(&self, key: K, work: impl Future<Output = T>) -> T {
        self.0.locks.run(key, work).await
    }

    /// Finds the value that was put under a name beside the keys; none when it has another type.
    #[must_use]
    pub fn meta<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        self.0.meta.get(name)
    }

    /// Puts a value of any type under a name beside the keys, in place of one that was there.
    pub fn put_meta<T: Any + Send + Sync>(&self, name: impl Into<Arc<str>>, value: T) {
        self.0.meta.put(name.into(), Arc::new(value));
    }

    /// Takes away what was put under a name beside the keys.
    pub fn delete_meta(&self, name: &str) {
        self.0.meta.delete(name);
    }

    /// Begins to listen to keys that come and go by a call.
    #[must_use]
    pub fn listen(&self) -> Listener<K, V> {
        self.0.outlet.listen()
    }

    /// Attaches a value to an actor that has a key here; it goes when the registry forgets the actor.
    pub(super) fn attach(&self, owner: &ActorCell, what: Attachment) {
        let mut attached = Some(what);
        if let Some(owned) = self.0.tables.owners(owner.get_id()).get_mut(&owner.get_id()) {
            // Exchanged: what was there is dropped when the lock is free again.
            std::mem::swap(&mut owned.attached, &mut attached);
        }
    }

    pub(super) fn attached(&self, owner: &ActorCell) -> Option<Attachment> {
        self.0.tables.owners(owner.get_id()).get(&owner.get_id())?.attached.clone()
    }

    /// Makes a name of a key: what Elixir writes as `{:via, Registry, {registry, key, value}}`.
    pub fn name(&self, key: K, value: V) -> Name
    where
        K: std::fmt::Debug,
    {
        Name::new(self.clone(), key, value)
    }
}
