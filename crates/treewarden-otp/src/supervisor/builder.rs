//! Describes a supervisor, and starts it: as a root, under a user's own actor, or as a child of another supervisor.
//!
//! It is not for what a supervisor does once it runs: that is its driver's. A start must never leave anything behind when it fails or
//! is dropped: neither an actor, nor a child, nor a name.

use std::fmt;
use std::sync::Arc;

use ractor::{Actor, ActorCell};
use tokio::sync::{mpsc, oneshot, watch};
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{
    AutoShutdown, ChildId, Flags, GiveUp, InitError, Kind, Machine, Mode, Strategy,
};

use super::by_gate;
use super::child::Child;
use super::drive::{self, Bell};
use super::driver::{Driver, State};
use super::feed::{Feed, Observer, SupervisionEvent};
use super::gate::{Control, Gate};
use super::handle::{StartError, Supervisor};
use super::live::{self, Factory};
use super::spec::ChildSpec;
use super::start::{Info, Parent, Place, StartChild, StartContext, StartFailure, StartFuture, Started};
use super::watch::Watcher;
use crate::registry::Name;

/// How many calls wait before a caller has to.
const CALLS: usize = 64;

/// A supervisor's description, with Elixir's names and defaults: 3 restarts in 5 seconds.
///
/// Unless it says otherwise a supervisor has a list of children, restarts the one that failed alone
/// ([`OneForOne`](Strategy::OneForOne)), allows 3 restarts within 5 s, never ends with its children
/// ([`AutoShutdown::Never`]), and ends itself when the budget is spent ([`GiveUp::Escalate`]).
///
/// # Examples
///
/// Users that come and go, of whom one that fails for good takes nobody along:
///
/// ```
/// use treewarden_otp::supervisor::{ChildSpec, ExitReason, GiveUp, StartContext, StartFailure, Started, Supervisor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let users = Supervisor::builder().name("users").dynamic(Some(100)).give_up(GiveUp::Park).start().await?;
/// let nothing = |_: StartContext| async { Ok::<_, StartFailure>(Started::Ignore) };
/// let started = users.start_child(ChildSpec::new("ann", nothing)).await?;
/// assert!(started.child().is_none(), "this start had nothing to run");
/// users.stop(ExitReason::Shutdown).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until it is started"]
pub struct SupervisorBuilder {
    name: Option<Arc<str>>,
    flags: Flags,
    children: Vec<ChildSpec>,
    at_once: bool,
    mode: Shape,
    observer: Watch,
    via: Option<Name>,
}

/// The observer, which has nothing to show.
#[derive(Clone, Default)]
struct Watch(Option<Observer>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watch(..)" } else { "None" })
    }
}

#[derive(Debug, Clone, Default)]
enum Shape {
    #[default]
    List,
    Dynamic(Option<usize>),
    Template(ChildSpec),
}

impl SupervisorBuilder {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Makes the children come and go: Elixir's `DynamicSupervisor`, with at most `max_children` of them.
    ///
    /// `None` is no limit. Children that are added to the builder are not started then, and an id names no child alone: two may have
    /// the same. One is found by its run ([`ChildInfo`](super::ChildInfo), [`RunningChild::run_id`](super::RunningChild::run_id)), and
    /// stopped by [`terminate_run`](Supervisor::terminate_run), which forgets it. The strategy is `OneForOne`, whatever was set.
    pub fn dynamic(mut self, max_children: Option<usize>) -> Self {
        self.mode = Shape::Dynamic(max_children);
        self
    }

    /// Makes the children come and go, all after one spec: OTP's `simple_one_for_one`.
    ///
    /// `start_child` takes the start from the spec it is given, and everything else from the template.
    pub fn template(mut self, spec: ChildSpec) -> Self {
        self.mode = Shape::Template(spec);
        self
    }

    /// Sets the name that a root has in paths and reports.
    ///
    /// It is for people, and empty by default. A supervisor below another one has its child's id instead.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the name that the supervisor's actor has in a registry, from before its children start until it has ended.
    pub fn via(mut self, name: Name) -> Self {
        self.via = Some(name);
        self
    }

    /// Calls `observe` with each report of this supervisor and of those below it, as it is made.
    ///
    /// It runs in the supervisor, which waits for it. A [`Feed`] is for everything that may take time.
    pub fn on_report(mut self, observe: impl Fn(&SupervisionEvent) + Send + Sync + 'static) -> Self {
        self.observer = Watch(Some(Arc::new(observe)));
        self
    }

    /// Sets which children are restarted when one fails.
    ///
    /// [`OneForOne`](Strategy::OneForOne) by default.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.flags.strategy = strategy;
        self
    }

    /// Sets how many restarts are allowed within `max_seconds`.
    ///
    /// 3 by default, as in Elixir; with 0 the first failure spends the budget. All children count together, but where the supervisor
    /// [parks](GiveUp::Park) what fails: then each has a budget of its own.
    pub fn max_restarts(mut self, restarts: u32) -> Self {
        self.flags.max_restarts = restarts;
        self
    }

    /// Sets the length of the window for `max_restarts`.
    ///
    /// 5 s by default; with 0 the supervisor does not start, as in OTP.
    pub fn max_seconds(mut self, seconds: u32) -> Self {
        self.flags.max_seconds = seconds;
        self
    }

    /// Sets whether the supervisor ends with its significant children.
    ///
    /// [`Never`](AutoShutdown::Never) by default, with which no child may be significant; a [`dynamic`](Self::dynamic) supervisor
    /// allows nothing else.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.flags.auto_shutdown = auto_shutdown;
        self
    }

    /// Sets what happens when the restart budget is spent.
    ///
    /// By default the supervisor stops its children and ends ([`GiveUp::Escalate`]), as in OTP, and it is up to the one above to start it
    /// again. A root has nobody above: its program has to [wait](Supervisor::wait) for its end, or to have it
    /// [park](GiveUp::Park) what fails.
    pub fn give_up(mut self, give_up: GiveUp) -> Self {
        self.flags.give_up = give_up;
        self
    }

    /// Sets all flags at once.
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// Adds a child; children start in the order in which they are added.
    pub fn child(mut self, spec: ChildSpec) -> Self {
        self.children.push(spec);
        self
    }

    /// Adds children.
    pub fn children(mut self, specs: impl IntoIterator<Item = ChildSpec>) -> Self {
        self.children.extend(specs);
        self
    }

    /// Makes the end of the supervisor stop all its children at once, and not newest first.
    ///
    /// For many children that do not need each other, and that are to be found by their ids: a
    /// [`dynamic`](Self::dynamic) supervisor, which stops its children so, has no ids.
    pub fn stop_at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// Starts the supervisor and its children, one after another.
    ///
    /// # Errors
    ///
    /// Flags or specs that are not valid, or a child that did not start; those before it are stopped again.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, what was started is stopped.
    pub async fn start(self) -> Result<Supervisor, StartError> {
        self.launch(None, None).await.map(|(supervisor, _)| supervisor)
    }

    /// Starts the supervisor under an actor of the user's: linked to it, and told to stop when that ends.
    ///
    /// ractor kills the children of an actor that ends; the supervisor notices that and takes its own children down.
    /// An actor that stops the supervisor first, in its `post_stop`, has an orderly end.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, what was started is stopped.
    pub async fn start_linked(self, parent: ActorCell) -> Result<Supervisor, StartError> {
        self.launch(Some(parent), None).await.map(|(supervisor, _)| supervisor)
    }

    /// Makes the spec of a supervisor that is a child of another one.
    ///
    /// Its running child's [`extension`](super::RunningChild::extension), and the info of its start, is the
    /// [`Supervisor`].
    pub fn into_child(self, id: impl Into<ChildId>) -> ChildSpec {
        ChildSpec::new(id, Subtree(self)).kind(Kind::Supervisor)
    }

    /// Starts the supervisor as a child, for a start function of one's own.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), as the reason that the parent reports: OTP's `{shutdown, {failed_to_start_child, …}}`
    /// for a child that failed.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, what was started is stopped.
    pub async fn start_child_of(self, context: &StartContext) -> Result<(Supervisor, Child), StartFailure> {
        let parent = context.supervisor();
        let (supervisor, driver) = self.launch(Some(parent), Some(context)).await.map_err(start_failure)?;
        let child = Child::new(supervisor.cell(), driver).extension(supervisor.clone());
        Ok((supervisor, child))
    }

    async fn launch(
        self,
        parent: Option<ActorCell>,
        context: Option<&StartContext>,
    ) -> Result<(Supervisor, ractor::concurrency::JoinHandle<()>), StartError> {
        let place = match context {
            Some(context) => Place { path: context.path().into(), names: context.place() },
            None => Place::root(self.name.clone()),
        };
        let feed = Feed::below(context.map(|context| &context.parent.feed), self.observer.0.clone());
        let exit_reasons = context.map(StartContext::exit_reasons);
        let via = self.via.clone();
        let machine = self.machine()?;
        let (done, is_done) = watch::channel(None);
        let bell = Arc::<Bell>::default();
        let control = Arc::new(Control::new(bell.clone()));
        #[expect(
            clippy::disallowed_methods,
            reason = "a child has one end, and each empty message of the driver one answer: that is the bound"
        )]
        let (note, notices) = mpsc::unbounded_channel();
        let (watcher, watcher_task) = spawn(Watcher { notices: note }, None).await?;
        let gate = Gate {
            control: control.clone(),
            done: is_done.clone(),
            exit_reasons: exit_reasons.clone(),
            place: place.clone(),
            feed: feed.clone(),
        };
        let (gate, gate_task) = match spawn(gate, parent).await {
            Ok(gate) => gate,
            Err(error) => {
                // Nobody else knows of the watcher yet: it would live on for good.
                watcher.stop(None);
                return Err(error);
            }
        };
        // Before a child is started: whoever comes second for a name has started nothing that would have to
        // be taken back.
        if let Some(taken) = via.as_ref().and_then(|name| name.register(&gate).err()) {
            gate.kill();
            watcher.stop(None);
            return Err(taken.into());
        }
        let (calls, receiver) = mpsc::channel(CALLS);
        let (initialized, result) = oneshot::channel();
        let supervisor = Supervisor {
            calls,
            control: control.clone(),
            gate: gate.clone(),
            done: is_done,
            path: place.path.clone(),
            feed: feed.clone(),
        };
        let parent = Arc::new(Parent { supervisor: supervisor.clone(), watcher, place, feed });
        if via.is_some() {
            // Before the driver's first turn: a child that starts may look its supervisor up by the name.
            by_gate::note(gate.get_id(), supervisor.clone());
        }
        let driver = Driver {
            machine,
            is_named: via.is_some(),
            calls: receiver,
            control,
            notices,
            parent,
            watcher_task,
            gate,
            gate_task,
            exit_reasons,
            initialized: Some(initialized),
            done,
            state: State::default(),
        };
        // A start may be dropped half way, as by a limit that a parent sets. The killed gate has the driver
        // take down what was started.
        let guard = KillOnDrop(Some(driver.gate.clone()));
        let task = ractor::concurrency::spawn(drive::run(driver, bell));
        match result.await {
            Ok(Ok(())) => {
                guard.disarm();
                Ok((supervisor, task))
            }
            Ok(Err(error)) => {
                // What was started is stopped by now; gate and watcher are on their way.
                let _ = task.await;
                Err(error.into())
            }
            Err(_) => Err(StartError::Killed),
        }
    }

    fn machine(self) -> Result<live::Machine, InitError> {
        let now = tokio::time::Instant::now().into_std();
        let seed = seed();
        match self.mode {
            Shape::List => {
                let specs = self.children.into_iter().map(ChildSpec::into_core).collect();
                let mut machine = Machine::new(now, seed, self.flags, specs)?;
                if self.at_once {
                    machine.stop_at_once();
                }
                Ok(machine)
            }
            Shape::Dynamic(max_children) => {
                Machine::dynamic(now, seed, self.flags, Mode::Dynamic { max_children })
            }
            Shape::Template(spec) => {
                let template: treewarden_otp_core::supervisor::ChildSpec<Factory> = spec.into_core();
                Machine::dynamic(now, seed, self.flags, Mode::Template(Box::new(template)))
            }
        }
    }
}

/// Kills a supervisor whose start was abandoned.
struct KillOnDrop(Option<ActorCell>);

impl KillOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(gate) = &self.0 {
            gate.kill();
        }
    }
}

/// A number that differs between supervisors; only jitter depends on it.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

async fn spawn<A>(
    actor: A,
    parent: Option<ActorCell>,
) -> Result<(ActorCell, ractor::concurrency::JoinHandle<()>), StartError>
where
    A: Actor<Msg = (), Arguments = ()>,
{
    let spawned = match parent {
        Some(parent) => A::spawn_linked(None, actor, (), parent).await,
        None => A::spawn(None, actor, ()).await,
    };
    spawned.map(|(actor, task)| (actor.get_cell(), task)).map_err(|_| StartError::Killed)
}

/// The reason that a parent reports for a supervisor that did not start.
fn start_failure(error: StartError) -> StartFailure {
    StartFailure::new(match error {
        StartError::Init(InitError::Child(failed)) => ExitReason::shutdown_with(failed),
        StartError::Killed => ExitReason::Killed,
        StartError::Name(taken) => ExitReason::error(taken),
        other => ExitReason::error(other),
    })
}

/// Starts a supervisor as a child, from a description that is kept for the next time.
struct Subtree(SupervisorBuilder);

impl StartChild for Subtree {
    fn start(&self, context: StartContext) -> StartFuture {
        let builder = self.0.clone();
        Box::pin(async move {
            let (supervisor, child) = builder.start_child_of(&context).await?;
            Ok(Started::RunningWith(child, Info::new(supervisor)))
        })
    }

    fn given_up(&self, how: GiveUp, last_exit: Option<&ExitReason>) {
        self.0.children.iter().for_each(|spec| spec.parked_with(how, last_exit));
    }
}
