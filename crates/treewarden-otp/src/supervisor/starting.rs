//! A start that is under way.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;
use treewarden_otp_core::ExitReason;

use super::live::Factory;
use super::run::Run;
use super::start::{StartContext, StartFailure, StartFuture, Started};

type Outcome = Result<Started, ExitReason>;

/// The run that is to begin, and the future of the user's start function.
pub(super) struct Starting {
    pub(super) run: Arc<Run>,
    /// Or the panic of the function itself.
    future: Result<StartFuture, ExitReason>,
    limit: Option<Pin<Box<Sleep>>>,
}

impl Starting {
    pub(super) fn new(
        run: Arc<Run>,
        Factory(start): Factory,
        context: StartContext,
        limit: Option<Duration>,
    ) -> Self {
        let future =
            catch_unwind(AssertUnwindSafe(|| start.start(context))).map_err(|panic| panicked(&*panic));
        let limit = limit.map(|limit| Box::pin(tokio::time::sleep(limit)));
        Self { run, future, limit }
    }

    /// A start that panics, or takes longer than it may, has failed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let future = match &mut self.future {
            Ok(future) => future,
            Err(panic) => return Poll::Ready(Err(panic.clone())),
        };
        // The start before its limit: a start that is through when its time is over has a child, which would
        // be left running.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(result)) => Poll::Ready(result.map_err(StartFailure::into_reason)),
            Ok(Poll::Pending) => self.poll_limit(cx),
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    }

    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.limit {
            Some(limit) => limit.as_mut().poll(cx).map(|()| Err(ExitReason::StartTimeout)),
            None => Poll::Pending,
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> ExitReason {
    ExitReason::Panic(panic_text(panic).into())
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
