//! What goes into the machine and what comes out of it.

use std::fmt;
use std::time::Duration;

use super::error::{
    DeleteChildError, FindChildError, InitError, RestartChildError, StartChildError, UpdateError,
};
use super::report::Report;
use super::spec::{ChildId, ChildSpec, Flags, GiveUp, Kind};
use crate::ExitReason;

/// What the children of a machine are made of.
///
/// The machine moves these values around and never looks inside; `is_alive` is the one question it asks.
pub trait Types: fmt::Debug + 'static {
    /// What starts a child.
    type Start: Clone + fmt::Debug;
    /// A running child.
    type Child: Clone + fmt::Debug;
    /// What a start may return besides the child.
    type Info: fmt::Debug;
    /// Where the answer to a call goes.
    type Caller: fmt::Debug;

    /// Says whether the child still runs, for [`Counts::active`].
    fn is_alive(child: &Self::Child) -> bool;
}

/// One run of one child: never used again once it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId {
    /// The child's place in its supervisor.
    pub slot: u64,
    /// Which of its starts this is, from 1.
    pub incarnation: u64,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}>", self.slot, self.incarnation)
    }
}

/// Names a child in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By its id, under a supervisor with a list of children.
    Id(ChildId),
    /// By one of its runs, under a dynamic supervisor.
    RunId(RunId),
}

/// What a start function returned.
#[derive(Debug, Clone)]
pub enum StartOutcome<H: Types> {
    /// The child runs; with it comes what the caller of `start_child` is given besides.
    Running(H::Child, Option<H::Info>),
    /// There is nothing to run, and that is no error.
    Ignore,
}

/// What happened, as told to the machine.
#[derive(Debug)]
pub enum Event<H: Types> {
    /// The supervisor comes up: start the children.
    Init,
    /// The start asked for with [`Action::Start`] has finished.
    Started(RunId, Result<StartOutcome<H>, ExitReason>),
    /// A child has ended, and everything it held is released.
    Exited(RunId, ExitReason),
    /// The event asked for with [`Action::TryAgain`].
    TryAgain(RunId),
    /// Somebody uses the API.
    Call(H::Caller, Request<H>),
    /// The parent, or the user, wants the supervisor to end with this reason.
    Stop(ExitReason),
    /// The supervisor was killed: its children must go, without ceremony.
    Killed,
    /// The time that `poll_timeout` named has come.
    Tick,
}

/// A child in the list of an [`Request::Update`].
#[derive(Debug, Clone)]
pub enum Place<S> {
    /// It keeps its spec; one that is gone by now stays so.
    Keep(ChildId),
    /// It has this spec from its next start on; one that is new is added.
    Put(ChildSpec<S>),
}

/// A call of the supervisor's API.
#[derive(Debug)]
pub enum Request<H: Types> {
    /// Adds a child and starts it.
    StartChild(ChildSpec<H::Start>),
    /// Stops a child and keeps its spec.
    TerminateChild(Target),
    /// Starts a child that was stopped.
    RestartChild(ChildId),
    /// Stops the child of a dynamic supervisor that has this run, if it runs, and starts it again; it keeps its place.
    RestartRun(RunId),
    /// Forgets a child that was stopped.
    DeleteChild(ChildId),
    /// Lists the children.
    WhichChildren,
    /// Counts the children.
    CountChildren,
    /// Shows a child's spec.
    GetChildSpec(Target),
    /// Replaces flags and specs as OTP's `code_change` does: running children stay, new ones are added but not started.
    CodeChange(Flags, Vec<ChildSpec<H::Start>>),
    /// Replaces flags, specs and order; running children stay as they are, new ones are added but not started.
    Update(Option<Flags>, Vec<Place<H::Start>>),
}

/// The answer to a [`Request`], of the variant with the same name.
#[derive(Debug)]
pub enum Reply<H: Types> {
    /// To `StartChild`.
    StartChild(Result<ChildStarted<H>, StartChildError<H::Child>>),
    /// To `TerminateChild`.
    TerminateChild(Result<(), FindChildError>),
    /// To `RestartChild` and `RestartRun`.
    RestartChild(Result<ChildStarted<H>, RestartChildError>),
    /// To `DeleteChild`.
    DeleteChild(Result<(), DeleteChildError>),
    /// To `WhichChildren`; newest first.
    WhichChildren(Vec<ChildInfo<H::Child>>),
    /// To `CountChildren`.
    CountChildren(Counts),
    /// To `GetChildSpec`; the start is missing when it was dropped (a temporary child that runs).
    GetChildSpec(Result<ChildSpec<Option<H::Start>>, FindChildError>),
    /// To `CodeChange`.
    CodeChange(Result<(), UpdateError>),
    /// To `Update`.
    Update(Result<(), UpdateError>),
    /// To any request when the supervisor is ending.
    NoProc,
}

/// A child that was started by a call.
#[derive(Debug)]
pub enum ChildStarted<H: Types> {
    /// It runs.
    Running(RunId, H::Child, Option<H::Info>),
    /// Its start said there is nothing to run.
    Ignored,
}

/// Where a child is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildState<C> {
    /// It runs.
    Running(RunId, C),
    /// It ended and will be started again.
    Restarting,
    /// It does not run, and will not until somebody asks.
    Stopped,
    /// It spent its restart budget and stays down until somebody asks.
    Parked,
}

/// A line of `which_children`.
#[derive(Debug, Clone)]
pub struct ChildInfo<C> {
    /// The child's id.
    pub id: ChildId,
    /// Where it is in its life.
    pub state: ChildState<C>,
    /// What it is.
    pub kind: Kind,
}

/// The answer of `count_children`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All children with a spec, running or not.
    pub specs: usize,
    /// The children that run.
    pub active: usize,
    /// The children that are supervisors, running or not.
    pub supervisors: usize,
    /// The children that are workers, running or not.
    pub workers: usize,
}

/// Why a child is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartCause {
    /// Its supervisor comes up, and has it in its list.
    Listed,
    /// `start_child` added it.
    Added,
    /// `restart_child` or `restart_run` asked for it.
    Asked,
    /// Its run ended, or that of a sibling.
    Ended,
}

/// What a start function is told.
#[derive(Debug, Clone)]
pub struct StartOrder<S> {
    /// The run that is to begin.
    pub pid: RunId,
    /// The child's id.
    pub id: ChildId,
    /// What starts it.
    pub start: S,
    /// How many starts in a row were needed since the child last ran well; 0 for the first.
    pub attempt: u32,
    /// Why it is started.
    pub cause: StartCause,
    /// Why the run before this one ended.
    pub last_exit: Option<ExitReason>,
    /// How long the start may take.
    pub timeout: Option<Duration>,
}

/// What the machine wants done.
#[derive(Debug)]
pub enum Action<H: Types> {
    /// Start a child, then tell with [`Event::Started`].
    Start(StartOrder<H::Start>),
    /// Tell a child to stop; its end is told with [`Event::Exited`].
    Stop(RunId, H::Child, ExitReason),
    /// Kill a child; its end is told with [`Event::Exited`].
    Kill(RunId, H::Child),
    /// Come back with [`Event::TryAgain`] after everything that is waiting now.
    TryAgain(RunId),
    /// Answer a call.
    Reply(H::Caller, Reply<H>),
    /// Tell what starts a child that its restart budget is spent, what follows, and why the last run ended.
    GivenUp(H::Start, GiveUp, Option<ExitReason>),
    /// Publish a report.
    Report(Report<H::Child>),
    /// The children are up, or one could not be started and the others are stopped again.
    Initialized(Result<(), InitError>),
    /// All children are gone: end with this reason.
    Finished(ExitReason),
}
