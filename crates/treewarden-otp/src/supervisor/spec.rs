//! The spec of a child, as users write it.
//!
//! It is not for what a supervisor makes of it, which is the core's: here a factory is shared and shown. It must never call one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::Actor;
use treewarden_otp_core::supervisor as core;
use treewarden_otp_core::supervisor::{ChildId, GiveUp, Kind, Restart, Shutdown};
use treewarden_otp_core::{Backoff, ExitReason};

use super::start::{StartChild, supervised};

/// Says how a child is started, restarted and stopped: OTP's child spec, with OTP's defaults.
///
/// A cheap clone: the factory is shared.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use ractor::{Actor, ActorProcessingErr, ActorRef};
/// use treewarden_otp::supervisor::{ChildSpec, Restart, Shutdown};
///
/// struct Mailer;
///
/// impl Actor for Mailer {
///     type Msg = String;
///     type State = ();
///     type Arguments = ();
///
///     async fn pre_start(&self, _: ActorRef<String>, (): ()) -> Result<(), ActorProcessingErr> {
///         Ok(())
///     }
/// }
///
/// let spec = ChildSpec::actor("mailer", || (Mailer, ()))
///     .restart(Restart::Transient)
///     .shutdown(Shutdown::Timeout(Duration::from_secs(30)));
/// # let _ = spec;
/// ```
#[derive(Clone)]
#[must_use = "a spec does nothing until a supervisor has it"]
pub struct ChildSpec(pub(super) core::ChildSpec<Arc<dyn StartChild>>);

impl ChildSpec {
    /// Makes the spec of a permanent worker that `start` starts.
    ///
    /// # Examples
    ///
    /// A start that is told which it is, and that gives its supervisor a typed handle besides:
    ///
    /// ```
    /// use ractor::{Actor, ActorProcessingErr, ActorRef};
    /// use treewarden_otp::supervisor::{Child, ChildSpec, ExitReason, StartContext, StartFailure, Started, Supervisor};
    ///
    /// struct Counter;
    ///
    /// impl Actor for Counter {
    ///     type Msg = ();
    ///     type State = ();
    ///     type Arguments = ();
    ///
    ///     async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// async fn start(context: StartContext) -> Result<Started, StartFailure> {
    ///     let (actor, task) = Counter::spawn_linked(None, Counter, (), context.supervisor()).await?;
    ///     Ok(Child::new(actor, task).extension(context.incarnation()).into())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let root = Supervisor::builder().child(ChildSpec::new("counter", start)).start().await?;
    /// assert_eq!(root.child("counter").await?.extension::<u64>(), Some(&1));
    /// root.stop(ExitReason::Shutdown).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(id: impl Into<ChildId>, start: impl StartChild) -> Self {
        Self::from_arc(id, Arc::new(start))
    }

    /// Makes the spec of a permanent worker from a factory that is shared already.
    pub fn from_arc(id: impl Into<ChildId>, start: Arc<dyn StartChild>) -> Self {
        Self(core::ChildSpec::new(id, start))
    }

    /// Makes the spec of a plain ractor actor; `make` is called for each run.
    ///
    /// The running child's [`extension`](super::RunningChild::extension) is its `ActorRef`.
    pub fn actor<A, F>(id: impl Into<ChildId>, make: F) -> Self
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        Self::new(id, supervised(make))
    }

    /// Sets when the child is started again.
    ///
    /// [`Permanent`](Restart::Permanent) by default: always.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.0.restart = restart;
        self
    }

    /// Sets whether the child's end counts for the supervisor's `auto_shutdown`.
    ///
    /// It does not by default. A permanent child cannot be significant, nor any child of a supervisor whose `auto_shutdown` is `Never`:
    /// such a spec is refused when it is given to one.
    pub fn significant(mut self, significant: bool) -> Self {
        self.0.significant = significant;
        self
    }

    /// Sets how the child is stopped.
    ///
    /// By default a worker is told to stop and killed after 5 s, and a supervisor is waited for without limit.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.0.shutdown = Some(shutdown);
        self
    }

    /// Sets what the child is.
    ///
    /// A [`Worker`](Kind::Worker) by default; it says how the child is counted, and which `shutdown` it has by default.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Sets how long restarts wait; without it they are immediate.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.0.backoff = Some(backoff);
        self
    }

    /// Sets how long a start may take; without it, as long as it likes.
    ///
    /// While a child starts its supervisor does nothing else, as in OTP. A start that takes longer is dropped, and has failed.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.0.start_timeout = Some(limit);
        self
    }

    /// The child's id.
    #[must_use]
    pub fn id(&self) -> &ChildId {
        &self.0.id
    }

    /// When the child is started again.
    #[must_use]
    pub fn restart_type(&self) -> Restart {
        self.0.restart
    }

    /// Whether the child's end counts for the supervisor's `auto_shutdown`.
    #[must_use]
    pub fn is_significant(&self) -> bool {
        self.0.significant
    }

    /// How the child is stopped, with the default filled in.
    #[must_use]
    pub fn shutdown_type(&self) -> Shutdown {
        self.0.effective_shutdown()
    }

    /// What the child is.
    #[must_use]
    pub fn child_kind(&self) -> Kind {
        self.0.kind
    }

    /// Tells the factory that the child's supervisor stays down; one that only ends may be started again.
    pub fn parked_with(&self, how: GiveUp, last_exit: Option<&ExitReason>) {
        if how == GiveUp::Park {
            self.0.start.given_up(how, last_exit);
        }
    }

    /// The factory.
    #[must_use]
    pub fn start(&self) -> &Arc<dyn StartChild> {
        &self.0.start
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.0.id)
            .field("restart", &self.0.restart)
            .field("significant", &self.0.significant)
            .field("shutdown", &self.0.effective_shutdown())
            .field("kind", &self.0.kind)
            .finish_non_exhaustive()
    }
}
