//! What is known about one run of a child, from before its start until after its end, and the child's own view of it.
//!
//! It is not for what the supervisor owns of a run, its task and its resources: those are in `runs`.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ractor::ActorCell;
use tokio::sync::oneshot;
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{ChildId, RunId};

/// A typed handle that a start function added to its child.
pub(super) type Extension = Arc<dyn Any + Send + Sync>;

/// What there is to know about one run, from its start on.
pub(super) struct Run {
    id: ChildId,
    pid: RunId,
    /// One of [`TOLD`], by its place from 1, since a supervisor has no other reasons to stop a child; 0 before.
    told: AtomicUsize,
    said: OnceLock<ExitReason>,
    end: Mutex<End>,
    /// Set when the start has succeeded.
    actor: OnceLock<(ActorCell, Option<Extension>)>,
}

/// Why a supervisor stops a child: because it wants to, or because it is being killed itself.
const TOLD: [ExitReason; 2] = [ExitReason::Shutdown, ExitReason::Killed];

impl Run {
    /// A run that is to begin.
    pub(super) fn new(id: ChildId, pid: RunId) -> Arc<Self> {
        let (told, said, actor) = (AtomicUsize::new(0), OnceLock::new(), OnceLock::new());
        Arc::new(Self { id, pid, told, said, end: Mutex::default(), actor })
    }

    pub(super) fn id(&self) -> &ChildId {
        &self.id
    }

    pub(super) fn run_id(&self) -> RunId {
        self.pid
    }

    /// The run's start has succeeded.
    pub(super) fn began(&self, actor: ActorCell, extension: Option<Extension>) {
        let _ = self.actor.set((actor, extension));
    }

    /// The run's actor and its handle, once it has begun.
    pub(super) fn actor(&self) -> Option<&(ActorCell, Option<Extension>)> {
        self.actor.get()
    }

    /// Why the supervisor told the child to stop, once it has.
    pub(super) fn told(&self) -> Option<ExitReason> {
        // 0, for nothing told, wraps round to a place that the list does not have.
        TOLD.get(self.told.load(Ordering::Acquire).wrapping_sub(1)).cloned()
    }

    pub(super) fn tell(&self, reason: &ExitReason) {
        let killed = matches!(reason, ExitReason::Killed);
        self.told.store(1 + usize::from(killed), Ordering::Release);
    }

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

    /// How the run ended, or what will tell.
    pub(super) fn wait(&self) -> Result<ExitReason, oneshot::Receiver<ExitReason>> {
        match &mut *self.end.lock().unwrap_or_else(PoisonError::into_inner) {
            End::Known(reason) => Ok(reason.clone()),
            End::Awaited(waiting) => {
                // Those who gave up are taken out here: a child that is waited for again and again with a
                // time limit would collect them for as long as it lives.
                waiting.retain(|waiting| !waiting.is_closed());
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Err(receiver)
            }
        }
    }
}

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

/// What a child and its supervisor tell each other besides ractor's messages: typed exit reasons.
#[derive(Clone)]
pub struct ExitReasons(pub(super) Arc<Run>);

impl ExitReasons {
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

impl fmt::Debug for ExitReasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (told, said) = (self.told(), self.0.said());
        f.debug_struct("ExitReasons").field("told", &told).field("said", &said).finish_non_exhaustive()
    }
}
