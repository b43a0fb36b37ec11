//! A running child: its actor, its task, and whatever else must be gone before the next one starts.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ractor::ActorCell;
use ractor::concurrency::JoinHandle;
use tokio::sync::oneshot;
use treewarden_core::ExitReason;
use treewarden_core::supervisor::{ChildId, Pid};

/// Something a child holds that outlives its task: a process, a pipe, a lease.
///
/// The supervisor calls [`release`](Self::release) after the child's task has ended and before anything else is done
/// about that: the child counts as running until the returned future is ready.
pub trait Resource: Send + Sync + 'static {
    /// Lets go of everything, and is ready when it is gone.
    fn release(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What a start function hands to its supervisor: the actor, its task and its resources.
pub struct Child {
    pub(super) cell: ActorCell,
    pub(super) join: JoinHandle<()>,
    pub(super) resource: Option<Arc<dyn Resource>>,
    pub(super) extension: Option<Arc<dyn Any + Send + Sync>>,
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

/// What there is to know about one run, from its start on.
pub(super) struct Run {
    id: ChildId,
    pid: Pid,
    /// One of [`TOLD`], by its place from 1, since a supervisor has no other reasons to stop a child; 0 before.
    told: AtomicUsize,
    said: OnceLock<ExitReason>,
    end: Mutex<End>,
    /// Set when the start has succeeded.
    actor: OnceLock<(ActorCell, Option<Arc<dyn Any + Send + Sync>>)>,
}

/// Why a supervisor stops a child: because it wants to, or because it is being killed itself.
const TOLD: [ExitReason; 2] = [ExitReason::Shutdown, ExitReason::Killed];

impl Run {
    /// A run that is to begin.
    pub(super) fn new(id: ChildId, pid: Pid) -> Arc<Self> {
        let (told, said, actor) = (AtomicUsize::new(0), OnceLock::new(), OnceLock::new());
        Arc::new(Self { id, pid, told, said, end: Mutex::default(), actor })
    }

    pub(super) fn id(&self) -> &ChildId {
        &self.id
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// The run's start has succeeded.
    pub(super) fn began(
        self: Arc<Self>,
        actor: ActorCell,
        extension: Option<Arc<dyn Any + Send + Sync>>,
    ) -> RunningChild {
        let _ = self.actor.set((actor, extension));
        RunningChild(self)
    }

    /// Why the supervisor told the child to stop, once it has.
    pub(super) fn told(&self) -> Option<ExitReason> {
        TOLD.get(self.told.load(Ordering::Acquire).wrapping_sub(1)).cloned()
    }

    pub(super) fn tell(&self, reason: &ExitReason) {
        let killed = matches!(reason, ExitReason::Killed);
        self.told.store(1 + usize::from(killed), Ordering::Release);
    }
}

/// What a child and its supervisor tell each other besides ractor's messages: typed exit reasons.
#[derive(Clone)]
pub struct Lifeline(pub(super) Arc<Run>);

/// How the run ended, or who waits to know.
#[derive(Debug)]
enum End {
    Awaited(Vec<oneshot::Sender<ExitReason>>),
    Known(ExitReason),
}

impl Default for End {
    fn default() -> Self {
        Self::Awaited(Vec::new())
    }
}

impl Lifeline {
    /// Why the supervisor told the child to stop, once it has.
    #[must_use]
    pub fn told(&self) -> Option<ExitReason> {
        self.0.told()
    }

    /// Says with which reason the child is going to end; the first one counts.
    ///
    /// Use it before `stop`, whose own reason is only a string. A kill is still a kill, and an error returned from a
    /// handler is still that error.
    pub fn exit_with(&self, reason: ExitReason) {
        let _ = self.0.said.set(reason);
    }
}

impl fmt::Debug for Lifeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (told, said) = (self.told(), self.0.said());
        f.debug_struct("Lifeline").field("told", &told).field("said", &said).finish_non_exhaustive()
    }
}

impl Run {
    pub(super) fn said(&self) -> Option<&ExitReason> {
        self.said.get()
    }

    /// Tells those who wait how the run ended; the first word counts.
    pub(super) fn ended(&self, reason: &ExitReason) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if let End::Awaited(waiting) = &mut *end {
            for waiting in waiting.drain(..) {
                // Whoever has given up does not want to know.
                let _ = waiting.send(reason.clone());
            }
            *end = End::Known(reason.clone());
        }
    }

    /// How the run ended, once it has.
    pub(super) fn end(&self) -> Option<ExitReason> {
        match &*self.end.lock().unwrap_or_else(PoisonError::into_inner) {
            End::Known(reason) => Some(reason.clone()),
            End::Awaited(_) => None,
        }
    }

    fn wait(&self) -> Result<ExitReason, oneshot::Receiver<ExitReason>> {
        match &mut *self.end.lock().unwrap_or_else(PoisonError::into_inner) {
            End::Known(reason) => Ok(reason.clone()),
            End::Awaited(waiting) => {
                waiting.retain(|waiting| !waiting.is_closed());
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Err(receiver)
            }
        }
    }
}

/// One run of a child, as calls and reports show it; a cheap clone that keeps nothing alive.
#[derive(Clone)]
pub struct RunningChild(Arc<Run>);

impl RunningChild {
    fn actor(&self) -> &(ActorCell, Option<Arc<dyn Any + Send + Sync>>) {
        self.0.actor.get().expect("a running child is made of a run that began")
    }

    /// The child's id within its supervisor.
    #[must_use]
    pub fn id(&self) -> &ChildId {
        &self.0.id
    }

    /// Which run this is.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.0.pid
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
            .field("id", &self.0.id)
            .field("pid", &self.0.pid)
            .field("actor", &self.cell().get_id())
            .finish_non_exhaustive()
    }
}
