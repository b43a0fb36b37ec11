//! A start that is under way.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use treewarden_core::ExitReason;
use treewarden_core::supervisor::{ChildId, Pid};

use super::child::Lifeline;
use super::live::Factory;
use super::start::{StartChild, StartContext, StartFailure, Started};

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
        let future: Pin<Box<dyn Future<Output = Outcome> + Send>> = match limit {
            None => Box::pin(run(start, context)),
            Some(limit) => Box::pin(async move {
                let in_time = tokio::time::timeout(limit, run(start, context)).await;
                in_time.unwrap_or(Err(ExitReason::StartTimeout))
            }),
        };
        Self { id, pid, lifeline, future }
    }

    /// A start that panics has failed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        match catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(cx))) {
            Ok(outcome) => outcome,
            Err(panic) => Poll::Ready(Err(ExitReason::Panic(panic_text(&*panic).into()))),
        }
    }
}

async fn run(start: Arc<dyn StartChild>, context: StartContext) -> Outcome {
    start.start(context).await.map_err(StartFailure::into_reason)
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}
