//! Supervised one-off work: Elixir's `Task.Supervisor`.
//!
//! A task is a future that runs as a temporary child: it is not restarted, it ends with its supervisor, and whoever
//! waits for it learns its result or how it ended. It is not the place for work that must be done: for that, make a
//! permanent child.

use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{Restart, RunId};

use super::builder::SupervisorBuilder;
use super::child::{Child, RunningChild};
use super::children::{ChildStarted, StartChildError};
use super::handle::{StartError, Supervisor};
use super::spec::ChildSpec;
use super::start::{StartContext, StartFailure};

type Work = Pin<Box<dyn Future<Output = Result<(), ExitReason>> + Send>>;

/// A supervisor of tasks; a cheap clone.
///
/// # Examples
///
/// ```
/// use treewarden_otp::supervisor::{ExitReason, Supervisor, Tasks};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tasks = Tasks::start(Supervisor::builder(), Some(8)).await?;
/// let sum = tasks.spawn("sum", async { 1 + 2 }).await?;
/// assert_eq!(sum.join().await.ok(), Some(3));
///
/// // One that panics gives its reason, and takes nobody along.
/// let fails = tasks.spawn("fails", async { panic!("no luck") }).await?;
/// let how: Result<(), ExitReason> = fails.join().await;
/// assert!(matches!(how, Err(ExitReason::Panic(_))), "{how:?}");
/// tasks.supervisor().stop(ExitReason::Shutdown).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tasks {
    supervisor: Supervisor,
}

/// A task that was started. Dropping it does not stop the task.
#[derive(Debug)]
pub struct Task<T> {
    child: RunningChild,
    supervisor: Supervisor,
    result: oneshot::Receiver<Result<T, ExitReason>>,
}

impl Tasks {
    /// Starts a supervisor of at most `max` tasks at a time.
    ///
    /// `None` is no limit. A task that is one too many is refused; it does not wait.
    ///
    /// # Errors
    ///
    /// As [`SupervisorBuilder::start`].
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the supervisor is stopped.
    pub async fn start(builder: SupervisorBuilder, max: Option<usize>) -> Result<Self, StartError> {
        Ok(Self { supervisor: builder.dynamic(max).start().await? })
    }

    /// Starts a task.
    ///
    /// # Errors
    ///
    /// The supervisor has its maximum of tasks, or has ended.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the task may still be started.
    pub async fn spawn<T, F>(&self, name: &str, work: F) -> Result<Task<T>, StartChildError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (sender, result) = oneshot::channel();
        let work: Work = Box::pin(async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            let outcome =
                outcome.map_err(|panic| ExitReason::Panic(super::starting::panic_text(&*panic).into()));
            let end = outcome.as_ref().map(|_| ()).map_err(Clone::clone);
            // Nobody may be waiting for it.
            let _ = sender.send(outcome);
            end
        });
        let work = Mutex::new(Some(work));
        let start = move |context: StartContext| {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            async move {
                let work = work.ok_or_else(|| StartFailure::new(ExitReason::NoProc))?;
                run(context, work).await.map(Into::into)
            }
        };
        let spec = ChildSpec::new(name, start).restart(Restart::Temporary);
        match self.supervisor.start_child(spec).await? {
            ChildStarted::Running(child, _) => {
                Ok(Task { child, supervisor: self.supervisor.clone(), result })
            }
            ChildStarted::Ignored => Err(StartChildError::NoProc),
        }
    }

    /// Runs many tasks, at most `at_once` of them at a time, and gives their results in the order of `work`: Elixir's
    /// `async_stream_nolink`.
    ///
    /// A task is started when there is a place for it, so `work` may be long or endless. A task that fails gives its
    /// reason, and one that could not be started `NoProc`; the others go on. When the stream is dropped, the tasks that
    /// it waits for are stopped.
    pub fn stream<T, F>(
        &self,
        name: &str,
        at_once: NonZeroUsize,
        work: impl IntoIterator<Item = F>,
    ) -> impl Stream<Item = Result<T, ExitReason>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (tasks, name) = (self.clone(), name.to_owned());
        let started = futures_util::stream::iter(work).map(move |work| {
            let (tasks, name) = (tasks.clone(), name.clone());
            async move {
                let task = tasks.spawn(&name, work).await.map_err(|_| ExitReason::NoProc)?;
                // Whoever drops the stream drops this future, and with it the task that nobody will hear of
                // any more.
                let _stopped = KillOnDrop(task.child.cell().clone());
                task.join().await
            }
        });
        started.buffered(at_once.get())
    }

    /// The supervisor of the tasks.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }
}

impl<T> Task<T> {
    /// Waits for the task's result.
    ///
    /// # Errors
    ///
    /// How the task ended, if it ended without one: it panicked, or it was stopped.
    ///
    /// # Cancel safety
    ///
    /// The task goes on when the future is dropped, and its result is lost.
    pub async fn join(self) -> Result<T, ExitReason> {
        self.result.await.unwrap_or(Err(ExitReason::Shutdown))
    }

    /// Waits for the task's result for so long, then stops the task.
    ///
    /// # Errors
    ///
    /// How the task ended, if it ended without a result; `Shutdown` when it was stopped here.
    ///
    /// # Cancel safety
    ///
    /// The task goes on when the future is dropped, and its result is lost.
    pub async fn join_or_stop(mut self, limit: Duration) -> Result<T, ExitReason> {
        if let Ok(result) = tokio::time::timeout(limit, &mut self.result).await {
            return result.unwrap_or(Err(ExitReason::Shutdown));
        }
        // A task that has ended by now has left its result.
        let _ = self.supervisor.terminate_run(self.child.run_id()).await;
        self.result.try_recv().unwrap_or(Err(ExitReason::Shutdown))
    }

    /// The identity of the task's run.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.child.run_id()
    }
}

/// The actor that stands for a task: it can be linked, stopped and killed like any other.
struct Runner {
    outcome: Arc<Mutex<Option<ExitReason>>>,
}

/// Ends a task that nobody waits for any more; one that has ended is not touched by it.
struct KillOnDrop(ActorCell);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Ends the work when the actor ends, however that happens.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(context: StartContext, work: Work) -> Result<Child, StartFailure> {
    let outcome = Arc::new(Mutex::new(None));
    let runner = Runner { outcome: outcome.clone() };
    let arguments = Mutex::new(Some(work));
    let spawned = Runner::spawn_linked(None, runner, arguments, context.supervisor()).await;
    let (actor, task) = spawned.map_err(super::start::spawn_failure)?;
    Ok(Child::new(actor.get_cell(), task))
}

#[ractor::actor(message = (), state = AbortOnDrop, arguments = Mutex<Option<Work>>)]
impl Runner {
    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        arguments: Mutex<Option<Work>>,
    ) -> Result<AbortOnDrop, ActorProcessingErr> {
        let work = arguments.into_inner().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.outcome.clone();
        // In a task of its own, beside the actor: ractor hears a stop between two messages only, and work
        // within a handler could be killed but not stopped.
        let task = tokio::spawn(async move {
            let Some(work) = work else { return };
            match work.await {
                Ok(()) => myself.stop(None),
                Err(reason) => {
                    // Beside the message, which is `()`: ractor's feature `cluster` takes the blanket
                    // `Message` implementation away, and with another type this would no longer compile under
                    // it.
                    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                    // An actor that is gone has ended already.
                    let _ = myself.send_message(());
                }
            }
        });
        Ok(AbortOnDrop(task.abort_handle()))
    }

    async fn handle(
        &self,
        _myself: ActorRef<()>,
        _message: (),
        _state: &mut AbortOnDrop,
    ) -> Result<(), ActorProcessingErr> {
        match self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(reason) => Err(Box::new(reason)),
            None => Ok(()),
        }
    }
}
