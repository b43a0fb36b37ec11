//! Who gives the driver its turns: whoever brings an event, if nobody does already, and its own task otherwise.
//!
//! An event that had to wake the driver's task first would cost a switch of tasks, and often of threads. So the
//! watcher, which has just dropped the state of a child, gives the driver a turn there and then; so does a caller whose
//! call finds a driver with nothing to do. What the driver has to wait for always wakes its task.
//!
//! It promises: one turn at a time; nobody waits for a turn of somebody else; nothing that was brought before
//! [`Drive::turn`] is overlooked; a driver that panics, as when what a spec holds panics as it is
//! dropped, ends its supervisor, and nobody else.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::runtime::{Handle, Id};

use super::driver::{Call, Driver};
use super::watch::Notice;

/// Wakes the driver's task.
#[derive(Debug, Default)]
pub(super) struct Bell(AtomicWaker);

impl Bell {
    pub(super) fn ring(&self) {
        self.0.wake();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

/// The place of a supervisor's driver.
pub(super) struct Drive {
    /// How many turns were asked for since the one that is under way began, that one included.
    asked: AtomicUsize,
    /// Locked by whoever made `asked` 1, so never waited for; empty before the start and after the end.
    seat: Mutex<Option<Box<Driver>>>,
    bell: Arc<Bell>,
    waker: Waker,
    /// Where children are spawned: a caller of another runtime must not start any.
    runtime: Option<Id>,
}

impl Drive {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        Self {
            asked: AtomicUsize::new(0),
            seat: Mutex::new(None),
            waker: bell.clone().into(),
            bell,
            runtime: current_runtime(),
        }
    }

    /// Seats the driver; the future is the driver's task, and is ready when the supervisor has ended.
    ///
    /// When it is dropped before, so is the driver.
    pub(super) fn run(self: Arc<Self>, driver: Driver) -> impl Future<Output = ()> + Send {
        *self.seat() = Some(Box::new(driver));
        let place = Place(self);
        poll_fn(move |cx| {
            let drive = &place.0;
            // Before the turn: a bell that rings while it is under way would otherwise wake nobody.
            drive.bell.0.register(cx.waker());
            if drive.take_turn(|driver, cx| driver.poll_all(cx)) == Turn::Over {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }

    /// Gives the driver a turn, unless it has one now: then its task will see to what is new.
    pub(super) fn turn(&self) {
        self.take_turn(Driver::poll);
    }

    /// Gives the driver a notice and a turn; gives the notice back if somebody else has the driver, who does not
    /// learn of that.
    pub(super) fn turn_with_notice(&self, notice: Notice) -> Option<Notice> {
        // Not counted as in `take_turn`: the notice lies nowhere yet. Whoever has the driver could look for
        // it before it is queued, and nobody would look again.
        if self.asked.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Some(notice);
        }
        let mut notice = Some(notice);
        self.have_turn(|driver, cx| {
            if let Some(notice) = notice.take() {
                driver.hear(notice);
            }
            driver.poll(cx)
        });
        notice
    }

    /// Gives the driver a call and a turn, if it has nothing else to do; gives the call back otherwise.
    pub(super) fn turn_with(&self, call: Call) -> Option<Call> {
        // A turn may start children, which are spawned on the runtime of the thread: they would end with the
        // caller's runtime, and not with their supervisor's.
        if self.runtime.is_none() || self.runtime != current_runtime() {
            return Some(call);
        }
        let mut call = Some(call);
        self.take_turn(|driver, cx| {
            if driver.is_at_rest()
                && let Some(call) = call.take()
            {
                driver.call(call);
                return driver.poll(cx);
            }
            Poll::Pending
        });
        call
    }

    fn take_turn(&self, work: impl FnOnce(&mut Driver, &mut Context<'_>) -> Poll<()>) -> Turn {
        // What was brought before this is seen by whoever takes the count back with `swap`, and rings for the
        // driver's task, which looks at everything.
        if self.asked.fetch_add(1, Ordering::AcqRel) > 0 {
            return Turn::Taken;
        }
        self.have_turn(work)
    }

    /// Has the turn of whoever made `asked` 1.
    fn have_turn(&self, work: impl FnOnce(&mut Driver, &mut Context<'_>) -> Poll<()>) -> Turn {
        let mut cx = Context::from_waker(&self.waker);
        let mut seat = self.seat();
        let over = match seat.as_mut() {
            Some(driver) => {
                !matches!(catch_unwind(AssertUnwindSafe(|| work(driver, &mut cx))), Ok(Poll::Pending))
            }
            None => true,
        };
        let ended = if over { seat.take() } else { None };
        // The seat is free before the count is: whoever makes that 1 finds the mutex unlocked, and no turn
        // ever waits for another.
        drop(seat);
        if self.asked.swap(0, Ordering::AcqRel) > 1 {
            self.bell.ring();
        }
        // With neither lock nor count: what users put into a driver may call this supervisor as it is
        // dropped.
        dispose(ended);
        if over {
            // The driver's task ends when it finds the seat empty.
            self.bell.ring();
            return Turn::Over;
        }
        Turn::Pending
    }

    fn seat(&self) -> std::sync::MutexGuard<'_, Option<Box<Driver>>> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what is left of a driver; what users put into it may panic then.
fn dispose(driver: Option<Box<Driver>>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(driver)));
}

fn current_runtime() -> Option<Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

#[derive(PartialEq, Eq)]
enum Turn {
    /// Somebody else has the driver, and will look once more.
    Taken,
    Pending,
    /// The supervisor has ended.
    Over,
}

/// What the driver's task owns.
struct Place(Arc<Drive>);

impl Drop for Place {
    fn drop(&mut self) {
        // The guard ends with this line. Under it, a drop that asks this supervisor for something would wait
        // for its own thread.
        let driver = self.0.seat().take();
        dispose(driver);
    }
}
