//! Waits for what a run leaves behind: its task, then its resource.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
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

/// The runs that are waited for; mostly one at a time, which then costs nothing to wait for.
#[derive(Default)]
pub(super) struct Reaping {
    one: Option<Reap>,
    more: FuturesUnordered<Reap>,
}

impl Reaping {
    pub(super) fn is_empty(&self) -> bool {
        self.one.is_none() && self.more.is_empty()
    }

    pub(super) fn push(&mut self, reap: Reap) {
        if self.one.is_none() {
            self.one = Some(reap);
        } else {
            self.more.push(reap);
        }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<ActorId>> {
        if let Some(reap) = &mut self.one
            && let Poll::Ready(id) = Pin::new(reap).poll(cx)
        {
            self.one = None;
            return Poll::Ready(Some(id));
        }
        match self.more.poll_next_unpin(cx) {
            // A set with nothing in it is at its end at once, and that would hide that `one` is waited for.
            Poll::Ready(None) if self.one.is_some() => Poll::Pending,
            next => next,
        }
    }
}
