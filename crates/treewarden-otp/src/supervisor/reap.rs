//! Waits for what a run leaves behind: its task, then its resource.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use ractor::ActorId;
use ractor::concurrency::JoinHandle;

use super::child::Resource;

/// The end of one run.
pub(super) struct Reap {
    id: ActorId,
    resource: Option<Arc<dyn Resource>>,
    left: Left,
}

/// What is waited for.
enum Left {
    Task(JoinHandle<()>),
    Release(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Reap {
    pub(super) fn new(id: ActorId, task: JoinHandle<()>, resource: Option<Arc<dyn Resource>>) -> Self {
        Self { id, resource, left: Left::Task(task) }
    }
}

impl Future for Reap {
    type Output = ActorId;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ActorId> {
        if let Left::Task(task) = &mut self.left {
            // A task that panicked or was aborted has ended as well.
            let _ = ready!(Pin::new(task).poll(cx));
            let Some(resource) = self.resource.take() else { return Poll::Ready(self.id) };
            self.left = Left::Release(Box::pin(async move {
                // A release that panics is over: nobody could go on with it, and the restart waits for it.
                let _ = AssertUnwindSafe(async { resource.release().await }).catch_unwind().await;
            }));
        }
        // In the same poll: until it is polled once, the release has not begun, and nothing would wake
        // whoever waits for it.
        if let Left::Release(release) = &mut self.left {
            ready!(release.as_mut().poll(cx));
        }
        Poll::Ready(self.id)
    }
}
