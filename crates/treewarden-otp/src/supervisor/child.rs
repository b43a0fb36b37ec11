//! A running child: its actor, its task, and whatever else must be gone before the next one starts.
//!
//! It is for what a start function gives, and for what others are shown of it. It must never end a child: that is its supervisor's.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ractor::ActorCell;
use ractor::concurrency::JoinHandle;
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{ChildId, RunId};

use super::run::{Extension, Run};

/// Something a child holds that outlives its task: a process, a pipe, a lease.
///
/// The supervisor calls [`release`](Self::release) after the child's task has ended and before anything else is done
/// about that: the child counts as running until the returned future is ready.
///
/// # Examples
///
/// ```
/// use std::pin::Pin;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use ractor::{Actor, ActorProcessingErr, ActorRef};
/// use treewarden_otp::supervisor::{
///     Child, ChildSpec, ExitReason, Resource, StartContext, StartFailure, Started, Supervisor,
/// };
///
/// #[derive(Default)]
/// struct Lease(AtomicBool);
///
/// impl Resource for Lease {
///     fn release(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
///         Box::pin(async { self.0.store(true, Ordering::SeqCst) })
///     }
/// }
///
/// # struct Idle;
/// # impl Actor for Idle {
/// #     type Msg = ();
/// #     type State = ();
/// #     type Arguments = ();
/// #     async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lease = Arc::<Lease>::default();
/// let held = Arc::clone(&lease);
/// let start = move |context: StartContext| {
///     let held = Arc::clone(&held);
///     async move {
///         let (actor, task) = Idle::spawn_linked(None, Idle, (), context.supervisor()).await?;
///         Ok::<_, StartFailure>(Started::from(Child::new(actor, task).resource(held)))
///     }
/// };
/// let root = Supervisor::builder().child(ChildSpec::new("holder", start)).start().await?;
/// assert!(!lease.0.load(Ordering::SeqCst));
/// root.terminate_child("holder").await?;
/// assert!(lease.0.load(Ordering::SeqCst), "it was let go before the call was answered");
/// root.stop(ExitReason::Shutdown).await;
/// # Ok(())
/// # }
/// ```
pub trait Resource: Send + Sync + 'static {
    /// Lets go of everything, and is ready when it is gone.
    fn release(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What a start function hands to its supervisor: the actor, its task and its resources.
pub struct Child {
    pub(super) cell: ActorCell,
    pub(super) join: JoinHandle<()>,
    pub(super) resource: Option<Arc<dyn Resource>>,
    pub(super) extension: Option<Extension>,
}

impl Child {
    /// Makes a child of what ractor's `spawn` and `spawn_linked` return.
    ///
    /// Link the actor to [`StartContext::supervisor`](super::StartContext::supervisor) when it is spawned; otherwise
    /// it is linked here, and an end in between is seen without its reason.
    pub fn new(cell: impl Into<ActorCell>, join: JoinHandle<()>) -> Self {
        Self { cell: cell.into(), join, resource: None, extension: None }
    }

    /// Adds what must be released before the child's next start.
    #[must_use]
    pub fn resource(mut self, resource: Arc<dyn Resource>) -> Self {
        self.resource = Some(resource);
        self
    }

    /// Adds a typed handle, for whoever looks the child up: see [`RunningChild::extension`].
    #[must_use]
    pub fn extension<T: Any + Send + Sync>(mut self, handle: T) -> Self {
        self.extension = Some(Arc::new(handle));
        self
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("actor", &self.cell.get_id()).finish_non_exhaustive()
    }
}

/// One run of a child, as calls and reports show it; a cheap clone that keeps nothing alive.
#[derive(Clone)]
pub struct RunningChild(Arc<Run>);

impl RunningChild {
    /// Of a run whose start has succeeded.
    pub(super) fn new(run: Arc<Run>, actor: ActorCell, extension: Option<Extension>) -> Self {
        run.began(actor, extension);
        Self(run)
    }

    fn actor(&self) -> &(ActorCell, Option<Extension>) {
        self.0.actor().expect("a running child is made of a run that began")
    }

    /// The child's id within its supervisor.
    #[must_use]
    pub fn id(&self) -> &ChildId {
        self.0.id()
    }

    /// Which run this is.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.0.run_id()
    }

    /// The actor.
    #[must_use]
    pub fn cell(&self) -> &ActorCell {
        &self.actor().0
    }

    /// The typed handle that the start function added with [`Child::extension`].
    #[must_use]
    pub fn extension<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.actor().1.as_deref()?.downcast_ref()
    }

    /// Says whether this run has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.cell().get_status() < ractor::ActorStatus::Stopped
    }

    /// Waits until this run's actor has ended, and says how: Erlang's `monitor`.
    ///
    /// Ready at once when it has ended already. What the run holds besides its actor may not be released yet.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn wait(&self) -> ExitReason {
        match self.0.wait() {
            Ok(reason) => reason,
            // The supervisor is gone without a word: it was killed, and its children with it.
            Err(reason) => reason.await.unwrap_or(ExitReason::Killed),
        }
    }

    pub(super) fn run(&self) -> &Run {
        &self.0
    }
}

impl PartialEq for RunningChild {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for RunningChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningChild")
            .field("id", self.id())
            .field("pid", &self.run_id())
            .field("actor", &self.cell().get_id())
            .finish_non_exhaustive()
    }
}
