//! The one timer of a driver.
//!
//! Deadlines of children come and go with every stop, nearly always unmet, and to set a timer may wake a thread. So it is
//! only ever moved to an earlier time, and left alone when the deadline is off; it then goes off once for nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

/// Wakes the driver's task when a deadline has come.
#[derive(Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
}

impl Alarm {
    /// Sets the next deadline; ready when it has come.
    pub(super) fn set(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        self.deadline = deadline;
        match (deadline, &self.sleep) {
            (None, _) => Poll::Pending,
            // It goes off early then and is set anew, which costs less than to set a timer for each stop.
            (Some(at), Some(sleep)) if sleep.deadline().into_std() <= at => Poll::Pending,
            (Some(at), _) => {
                self.sleep = Some(Box::pin(tokio::time::sleep_until(at.into())));
                // Polled at once, since a timer that was never polled wakes nobody.
                self.poll(cx)
            }
        }
    }

    /// Ready when the deadline has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            let reached = sleep.deadline().into_std();
            self.sleep = None;
            match self.deadline {
                Some(at) if at <= reached => {
                    self.deadline = None;
                    return Poll::Ready(());
                }
                Some(at) => self.sleep = Some(Box::pin(tokio::time::sleep_until(at.into()))),
                None => {}
            }
        }
        Poll::Pending
    }
}
