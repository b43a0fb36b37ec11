//! How a child is started: a factory, so that nothing it needs must be `Clone`.
//!
//! It is for what a start is told, and what it may come to. It is not for when a child is started, which is the core's to say.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{ChildId, GiveUp, RunId, StartCause};

use super::child::Child;
use super::feed::Feed;
use super::handle::Supervisor;
use super::run::{ExitReasons, Run};

/// What a start is told about itself.
///
/// A start that differs with what went before looks here: [`attempt`](Self::attempt) and [`last_exit`](Self::last_exit) tell a first start from a
/// restart, and why that is.
#[derive(Clone)]
pub struct StartContext {
    pub(super) run: Arc<Run>,
    pub(super) attempt: u32,
    pub(super) cause: StartCause,
    pub(super) last_exit: Option<ExitReason>,
    pub(super) parent: Arc<Parent>,
}

/// Where in the tree a supervisor is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// For people: the names joined with `/`, which a name may hold as well.
    pub(super) path: Arc<str>,
    /// The names from the root down.
    pub(super) names: Arc<[ChildId]>,
}

impl Place {
    /// That of a root, which has a name or none.
    pub(super) fn root(name: Option<Arc<str>>) -> Self {
        Self { names: name.iter().cloned().map(ChildId::new).collect(), path: name.unwrap_or_default() }
    }
}

/// What each start is told about its supervisor.
pub(super) struct Parent {
    pub(super) supervisor: Supervisor,
    pub(super) watcher: ActorCell,
    pub(super) place: Place,
    pub(super) feed: Feed,
}

impl StartContext {
    /// The child's id within its supervisor.
    #[must_use]
    pub fn id(&self) -> &ChildId {
        self.run.id()
    }

    /// The child's place in the tree: the names from the root down, joined with `/`.
    ///
    /// It is for people. A name may hold a `/`, so that two places may have one path: see [`place`](Self::place).
    #[must_use]
    pub fn path(&self) -> String {
        let (parent, id) = (&self.parent.place.path, self.id());
        if parent.is_empty() { id.to_string() } else { format!("{parent}/{id}") }
    }

    /// The child's place in the tree: the names from the root down.
    #[must_use]
    pub fn place(&self) -> Arc<[ChildId]> {
        self.parent.place.names.iter().chain([self.id()]).cloned().collect()
    }

    /// Which of the child's starts this is, from 1.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.run_id().incarnation
    }

    /// The identity of the run that is to begin.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.run.run_id()
    }

    /// How many restarts in a row led here; 0 for a start that is not a restart.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Why the child is started.
    #[must_use]
    pub fn cause(&self) -> StartCause {
        self.cause
    }

    /// Why the run before this one ended, or why the last start failed.
    #[must_use]
    pub fn last_exit(&self) -> Option<&ExitReason> {
        self.last_exit.as_ref()
    }

    /// The actor to link the child to.
    #[must_use]
    pub fn supervisor(&self) -> ActorCell {
        self.parent.watcher.clone()
    }

    /// The supervisor, for a child that is to have itself stopped or restarted later.
    ///
    /// A call to it during the start would wait for the start.
    #[must_use]
    pub fn parent(&self) -> Supervisor {
        self.parent.supervisor.clone()
    }

    /// The typed exit reasons of this run.
    #[must_use]
    pub fn exit_reasons(&self) -> ExitReasons {
        ExitReasons(self.run.clone())
    }
}

impl fmt::Debug for StartContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartContext")
            .field("id", self.id())
            .field("pid", &self.run_id())
            .field("attempt", &self.attempt)
            .field("last_exit", &self.last_exit)
            .finish_non_exhaustive()
    }
}

/// What a start may return to the caller of `start_child`, besides the child.
pub struct Info(Box<dyn Any + Send>);

impl Info {
    /// Wraps a value.
    pub fn new<T: Any + Send>(value: T) -> Self {
        Self(Box::new(value))
    }

    /// Takes the value out.
    ///
    /// # Errors
    ///
    /// The info itself, when it holds another type.
    pub fn downcast<T: Any + Send>(self) -> Result<T, Self> {
        self.0.downcast().map(|value| *value).map_err(Self)
    }
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Info(..)")
    }
}

/// What a start led to, when it did not fail.
#[derive(Debug)]
#[non_exhaustive]
pub enum Started {
    /// The child runs.
    Running(Child),
    /// The child runs, and the caller of `start_child` gets this besides.
    RunningWith(Child, Info),
    /// There is nothing to run, and that is no error.
    Ignore,
}

impl From<Child> for Started {
    fn from(child: Child) -> Self {
        Self::Running(child)
    }
}

/// Why a start failed; made from any error with `?`.
#[derive(Debug, Clone)]
pub struct StartFailure(ExitReason);

impl StartFailure {
    /// Makes the failure from a reason.
    #[must_use]
    pub fn new(reason: ExitReason) -> Self {
        Self(reason)
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &ExitReason {
        &self.0
    }

    /// The reason, by value.
    #[must_use]
    pub fn into_reason(self) -> ExitReason {
        self.0
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for StartFailure {
    fn from(error: E) -> Self {
        Self(ExitReason::error(error))
    }
}

/// The future of a start.
pub type StartFuture = Pin<Box<dyn Future<Output = Result<Started, StartFailure>> + Send>>;

/// Starts a child, as often as its supervisor asks.
///
/// Every closure `Fn(StartContext) -> impl Future<Output = Result<Started, StartFailure>>` is one. The supervisor
/// waits for the start and does nothing else meanwhile, as OTP's does; keep it short, or give the spec a
/// `start_timeout`. All factories are dropped when the supervisor ends, for whatever reason.
pub trait StartChild: Send + Sync + 'static {
    /// Starts one run. A panic, here or in the future, is a start that failed.
    fn start(&self, context: StartContext) -> StartFuture;

    /// Is told that the child spent its restart budget, and what follows: it is parked until somebody starts it, or its
    /// supervisor ends.
    ///
    /// Called on the supervisor's task, which waits for it. `last_exit` is why the last run ended, or why it did not
    /// start.
    fn given_up(&self, how: GiveUp, last_exit: Option<&ExitReason>) {
        let _ = (how, last_exit);
    }

    /// Something that is equal for two factories which start the same thing, for a hot update to compare.
    ///
    /// Without it, a factory is only the same as itself.
    fn fingerprint(&self) -> Option<String> {
        None
    }
}

impl<F, Fut> StartChild for F
where
    F: Fn(StartContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Started, StartFailure>> + Send + 'static,
{
    fn start(&self, context: StartContext) -> StartFuture {
        Box::pin(self(context))
    }
}

/// Makes a start of a plain ractor actor: `make` is called for each run.
pub fn supervised<A, F>(make: F) -> impl StartChild
where
    A: Actor,
    F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
{
    SpawnActor(make)
}

struct SpawnActor<F>(F);

impl<A, F> StartChild for SpawnActor<F>
where
    A: Actor,
    F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
{
    fn start(&self, context: StartContext) -> StartFuture {
        let (actor, arguments) = (self.0)();
        Box::pin(async move {
            let spawned = A::spawn_linked(None, actor, arguments, context.supervisor()).await;
            let (actor, join): (ActorRef<A::Msg>, _) = spawned.map_err(spawn_failure)?;
            Ok(Child::new(actor.get_cell(), join).extension(actor).into())
        })
    }
}

/// Unwraps the error that the actor's `pre_start` returned.
pub(super) fn spawn_failure(error: SpawnErr) -> StartFailure {
    match error {
        SpawnErr::StartupFailed(error) => StartFailure(ExitReason::from_boxed(error)),
        other => StartFailure(ExitReason::message(other.to_string())),
    }
}
