//! The CLIs that are kept for the next conversations of one launch: who wants them, and which there are.
//!
//! The CLIs themselves belong to the tasks that bring them up ([`spare`](super::spare)); the pool holds a slot for each,
//! through which it is taken or ended. A slot is there from before the spawn until after the end, so that whoever finds
//! none knows that no process is left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use treewarden_core::warm::Stock;
use treewarden_proto::SessionId;

use super::launch::Launch;
use super::spare::Spare;

/// Where a CLI that is taken is to be sent.
pub(super) type Reply = oneshot::Sender<Box<Spare>>;

/// How far a CLI has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It waits for its spawn.
    Queued,
    /// It comes up, and has a place among the live CLIs.
    Starting,
    /// It is initialized.
    Ready,
}

struct Slot {
    id: SessionId,
    stage: Stage,
    /// A session has the id already.
    reserved: bool,
    /// A reply sent here takes the CLI; dropping this ends it. `None` once either was done.
    orders: Option<oneshot::Sender<Reply>>,
}

impl Slot {
    fn is_free(&self) -> bool {
        self.orders.is_some() && !self.reserved
    }
}

#[derive(Default)]
struct Inner {
    /// How many each session wants that is there, and how many sessions want so many.
    wants: BTreeMap<usize, usize>,
    slots: Vec<Slot>,
    closed: bool,
}

pub(crate) struct Pool {
    pub(super) launch: Launch,
    inner: Mutex<Inner>,
    /// Wakes the keeper.
    pub(super) bell: Notify,
    /// Wakes whoever waits for a slot to be gone.
    gone: Notify,
}

/// A slot of the pool, for as long as the value lives.
pub(super) struct Listed {
    pub(super) pool: Arc<Pool>,
    pub(super) id: SessionId,
}

impl Listed {
    pub(super) fn set_stage(&self, stage: Stage) {
        if let Some(slot) = self.pool.lock().slot(self.id) {
            slot.stage = stage;
        }
        // The keeper counts what comes up, and may start another one now.
        self.pool.bell.notify_one();
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // The slot is gone before anybody is woken: whoever wakes looks for it once.
        self.pool.lock().slots.retain(|slot| slot.id != self.id);
        self.pool.gone.notify_waiters();
        self.pool.bell.notify_one();
    }
}

impl Inner {
    fn slot(&mut self, id: SessionId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.id == id)
    }
}

impl Pool {
    pub(super) fn new(launch: Launch) -> Arc<Self> {
        Arc::new(Self { launch, inner: Mutex::default(), bell: Notify::new(), gone: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn raise(&self, n: usize) {
        *self.lock().wants.entry(n).or_default() += 1;
        self.bell.notify_one();
    }

    pub(super) fn lower(&self, n: usize) {
        let mut inner = self.lock();
        if let Some(count) = inner.wants.get_mut(&n) {
            *count -= 1;
            if *count == 0 {
                inner.wants.remove(&n);
            }
        }
        drop(inner);
        self.bell.notify_one();
    }

    /// What the pool has and wants.
    pub(super) fn stock(&self) -> Stock {
        let inner = self.lock();
        let free = || inner.slots.iter().filter(|slot| slot.is_free());
        let wanted = inner.wants.last_key_value().map_or(0, |(n, _)| *n);
        Stock {
            wanted: if inner.closed { 0 } else { wanted },
            have: free().count(),
            coming: free().filter(|slot| slot.stage < Stage::Ready).count(),
        }
    }

    /// Adds a slot for a CLI that is about to be started, and the end at which it hears its orders.
    pub(super) fn list(self: &Arc<Self>) -> (Listed, oneshot::Receiver<Reply>) {
        let (orders, heard) = oneshot::channel();
        let id = SessionId::random();
        let mut inner = self.lock();
        // A pool that was closed while the keeper chose to start hands out no orders, and the CLI ends before
        // its spawn.
        let orders = (!inner.closed).then_some(orders);
        inner.slots.push(Slot { id, stage: Stage::Queued, reserved: false, orders });
        (Listed { pool: Arc::clone(self), id }, heard)
    }

    /// Promises a CLI to a session: the id that it has. The one that has come furthest is chosen.
    pub(super) fn reserve(&self) -> Option<SessionId> {
        let mut inner = self.lock();
        // One that waits for its spawn may wait for long: for its turn, and for a place that nobody else has.
        // A session starts its own sooner.
        let free = inner.slots.iter_mut().filter(|slot| slot.is_free() && slot.stage > Stage::Queued);
        let slot = free.max_by_key(|slot| slot.stage)?;
        slot.reserved = true;
        let id = slot.id;
        drop(inner);
        self.bell.notify_one();
        Some(id)
    }

    pub(super) fn has(&self, id: SessionId) -> bool {
        self.lock().slot(id).is_some()
    }

    /// Takes the CLI of this id; `None` once it is known that nothing of it is left.
    ///
    /// # Cancel safety
    ///
    /// A CLI that was on its way to a future that is dropped is ended.
    pub(super) async fn take(&self, id: SessionId) -> Option<Box<Spare>> {
        let orders = self.lock().slot(id)?.orders.take();
        if let Some(orders) = orders {
            let (reply, spare) = oneshot::channel();
            // One that has ended meanwhile does not hear it; the wait below is for its slot then.
            let _gone = orders.send(reply);
            if let Ok(spare) = spare.await {
                return Some(spare);
            }
        }
        self.wait_gone(|inner| inner.slot(id).is_none()).await;
        None
    }

    /// Has the CLI of this id ended.
    pub(super) fn discard(&self, id: SessionId) {
        if let Some(slot) = self.lock().slot(id) {
            slot.orders = None;
        }
        self.bell.notify_one();
    }

    /// Ends all CLIs and starts no more.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        for slot in &mut inner.slots {
            slot.orders = None;
        }
        drop(inner);
        self.bell.notify_one();
    }

    /// Nobody wants a CLI, and there is none.
    pub(super) fn is_done(&self) -> bool {
        let inner = self.lock();
        inner.slots.is_empty() && (inner.closed || inner.wants.is_empty())
    }

    /// Waits until no CLI is left.
    pub(super) async fn emptied(&self) {
        self.wait_gone(|inner| inner.slots.is_empty()).await;
    }

    async fn wait_gone(&self, mut done: impl FnMut(&mut Inner) -> bool) {
        loop {
            // The wait is made and enabled before the look: a slot that goes in between would wake nobody,
            // and the wait would have no end.
            let gone = self.gone.notified();
            tokio::pin!(gone);
            gone.as_mut().enable();
            if done(&mut self.lock()) {
                return;
            }
            gone.await;
        }
    }
}
