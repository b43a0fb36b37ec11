//! A start that is under way.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use treewarden_core::ExitReason;
use treewarden_core::supervisor::{ChildId, Pid};

use super::child::Lifeline;
use super::live::Factory;
use super::start::{StartContext, StartFailure, Started};

type Outcome = Result<Started, ExitReason>;

/// The run that is to begin, and the future of the user's start function.
pub(super) struct Starting {
    pub(super) id: ChildId,
    pub(super) pid: Pid,
    pub(super) lifeline: Arc<Lifeline>,
    future: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl Starting {
    pub(super) fn new(Factory(start): Factory, context: StartContext, limit: Option<Duration>) -> Self {
        let (id, pid, lifeline) = (context.id.clone(), context.pid, context.lifeline.clone());
        let caught = AssertUnwindSafe(async move { start.start(context).await }).catch_unwind();
        let starting = async move {
            match caught.await {
                Ok(result) => result.map_err(StartFailure::into_reason),
                Err(panic) => Err(ExitReason::Panic(panic_text(&*panic).into())),
            }
        };
        let future: Pin<Box<dyn Future<Output = Outcome> + Send>> = match limit {
            None => Box::pin(starting),
            Some(limit) => Box::pin(async move {
                tokio::time::timeout(limit, starting).await.unwrap_or(Err(ExitReason::StartTimeout))
            }),
        };
        Self { id, pid, lifeline, future }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.future.as_mut().poll(cx)
    }
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
