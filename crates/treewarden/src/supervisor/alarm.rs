//! The one timer of a driver.
//!
//! Deadlines of children come and go with every stop, nearly always unmet. So the timer is only ever moved to an earlier
//! time; when it goes off too early it is set again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// Wakes the driver's task when a deadline has come.
#[derive(Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
}

impl Alarm {
    /// Sets the next deadline; ready when it has come. Without one, the timer is only kept while more may follow.
    pub(super) fn set(&mut self, deadline: Option<Instant>, keep: bool, cx: &mut Context<'_>) -> Poll<()> {
        self.deadline = deadline;
        let Some(at) = deadline else {
            if !keep {
                self.sleep = None;
            }
            return Poll::Pending;
        };
        if self.sleep.as_ref().is_some_and(|sleep| sleep.deadline().into_std() <= at) {
            return Poll::Pending;
        }
        self.sleep = None;
        self.poll_until(at, cx)
    }

    /// Ready when the deadline has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.deadline {
            Some(at) if self.sleep.is_some() => self.poll_until(at, cx),
            _ => Poll::Pending,
        }
    }

    fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let reached = sleep.deadline().into_std();
            self.sleep = None;
            if reached >= at {
                self.deadline = None;
                return Poll::Ready(());
            }
        }
    }
}
