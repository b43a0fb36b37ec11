//! The task that drives a supervisor: nothing of a supervisor runs in the task of anybody else.
//!
//! It promises: whatever wakes the driver while it works has it work once more; a driver that panics, as when what a spec holds
//! panics as it is dropped, ends its supervisor, and nobody else.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use futures_util::task::AtomicWaker;

use super::driver::Driver;

/// Wakes the driver's task for what comes by no channel: a stop that is asked for, a suspension.
#[derive(Debug, Default)]
pub(super) struct Bell(AtomicWaker);

impl Bell {
    pub(super) fn ring(&self) {
        self.0.wake();
    }
}

/// The driver's task, which is ready when the supervisor has ended. When it is dropped before, so is the driver.
pub(super) fn run(driver: Driver, bell: Arc<Bell>) -> impl Future<Output = ()> + Send {
    let mut owned = Owned(Some(Box::new(driver)));
    poll_fn(move |cx| {
        let Some(driver) = &mut owned.0 else { return Poll::Ready(()) };
        // Before the driver looks: a bell that rings while it does would otherwise wake nobody.
        bell.0.register(cx.waker());
        if matches!(catch_unwind(AssertUnwindSafe(|| driver.poll(cx))), Ok(Poll::Pending)) {
            return Poll::Pending;
        }
        owned.dispose();
        Poll::Ready(())
    })
}

/// What the driver's task owns.
struct Owned(Option<Box<Driver>>);

impl Owned {
    /// Drops what is left of the driver; what users put into it may panic then.
    fn dispose(&mut self) {
        let driver = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(driver)));
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.dispose();
    }
}
