//! The runtimes that everything is measured on.

use tokio::runtime::{Builder, Runtime};

/// The name of a runtime in figures, and the runtime.
pub(crate) fn runtimes() -> [(&'static str, Runtime); 2] {
    [("current", current_thread()), ("workers", two_workers())]
}

pub(crate) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub(crate) fn two_workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Does the work in a task of the runtime, as a program would.
pub(crate) fn on<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
    runtime.block_on(async { tokio::spawn(work).await.expect("the bench does not panic") })
}
