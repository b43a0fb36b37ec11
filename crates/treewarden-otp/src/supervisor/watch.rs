//! The actor that children are linked to. It never waits for anything, so what it is told about is dropped at once.
//!
//! ractor puts the final state of a child into the event of its end, and leaves it there until the event is handled. A
//! supervisor that handles events and also waits for other children would keep that state alive past the start of the
//! child's successor. So this actor drops it, notes which child ended and how, and gives the driver a turn, which does
//! not wait either.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Wake;

use ractor::{ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use treewarden_otp_core::ExitReason;

use super::drive::{Bell, Drive};
use super::reason::exit_reason;

/// Something the watcher saw.
#[derive(Debug)]
pub(super) enum Notice {
    /// A child's actor has ended, and its state is dropped.
    Ended(ActorId, ExitReason),
    /// So many rings were heard: every end that came before one of them was noted before this.
    Caught(u64),
}

/// The notices that the driver has not taken yet; never more than one for each child and ring.
#[derive(Debug, Default)]
pub(super) struct Notices {
    waiting: Mutex<VecDeque<Notice>>,
    /// As long as the queue: the driver looks before each step.
    length: AtomicUsize,
}

impl Notices {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Notice>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, notice: Notice) {
        let mut waiting = self.lock();
        waiting.push_back(notice);
        // Under the lock, so that it never stays another than the queue's. Who pushes asks for a turn
        // afterwards: a driver that still read 0 looks again.
        self.length.store(waiting.len(), Ordering::Release);
    }

    pub(super) fn pop(&self) -> Option<Notice> {
        if self.is_empty() {
            return None;
        }
        let mut waiting = self.lock();
        let notice = waiting.pop_front();
        self.length.store(waiting.len(), Ordering::Release);
        notice
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length.load(Ordering::Acquire) == 0
    }
}

/// Makes the watcher give the driver a turn, after everything that it was told before.
///
/// The driver's task is not woken by the end of a child's task, since that wakes the watcher as well: two tasks that
/// become ready together are soon on two threads.
#[derive(Debug)]
pub(super) struct Ring {
    /// Whether a task of a child has rung, and the watcher has not heard it.
    rung: AtomicBool,
    rings: AtomicU64,
    heard: AtomicU64,
    watcher: OnceLock<ActorCell>,
    bell: Arc<Bell>,
}

impl Ring {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        let (rings, heard) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { rung: AtomicBool::new(false), rings, heard, watcher: OnceLock::new(), bell }
    }

    /// Sets who is rung for.
    pub(super) fn attach(&self, watcher: &ActorCell) {
        let _ = self.watcher.set(watcher.clone());
    }

    /// Rings; returns the number that a `Caught` notice must reach for every end so far to be noted.
    pub(super) fn ring(&self) -> u64 {
        // Counted before it is sent. Fewer than `number` rings were counted before, so one of the first
        // `number` that the watcher hears was sent after this line, and ractor hands it all ends before that
        // message. Sent first, a ring that somebody sent earlier and has not counted yet would pass for this
        // one.
        let number = self.rings.fetch_add(1, Ordering::AcqRel) + 1;
        let sent = self.watcher.get().is_some_and(|watcher| watcher.send_message(()).is_ok());
        if !sent {
            // Without a watcher it is for the driver's task, which notices that it is gone.
            self.bell.ring();
        }
        number
    }

    fn answer(&self) -> u64 {
        // Before the driver looks: a task that ends from now on rings anew. Cleared after the look, an end in
        // between would ring for nobody. A swap and no store: a processor may put the look before a store, so
        // that a task that ends in between finds itself rung for, and the look does not see its end. What
        // was done before a ring that the swap takes is seen by the look.
        self.rung.swap(false, Ordering::AcqRel);
        self.heard.fetch_add(1, Ordering::AcqRel) + 1
    }
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.ring();
        }
    }
}

pub(super) struct Watcher {
    pub(super) notices: Arc<Notices>,
    pub(super) ring: Arc<Ring>,
    pub(super) drive: Arc<Drive>,
}

impl Watcher {
    fn note(&self, notice: Notice) {
        if let Some(notice) = self.drive.turn_with_notice(notice) {
            // Queued first and asked for then: the turn of somebody else could end in between, without having
            // seen the notice.
            self.notices.push(notice);
            self.drive.turn();
        }
    }
}

#[ractor::actor(message = (), state = (), arguments = ())]
impl Watcher {
    async fn pre_start(&self, _myself: ActorRef<()>, _args: ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<()>,
        _message: (),
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.note(Notice::Caught(self.ring.answer()));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<()>,
        event: SupervisionEvent,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, state, text) => {
                // A state whose drop panics must not take the watcher, and with it every child, along.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
                self.note(Notice::Ended(cell.get_id(), exit_reason(text.as_deref())));
            }
            SupervisionEvent::ActorFailed(cell, error) => {
                self.note(Notice::Ended(cell.get_id(), ExitReason::from_boxed(error)));
            }
            _ => {}
        }
        Ok(())
    }
}
