//! The handle of a supervisor: OTP's API.
//!
//! It is for asking a supervisor, and decides nothing. A call must never wait for anything but the supervisor's own steps.

use std::fmt;
use std::sync::Arc;

use ractor::ActorCell;
use tokio::sync::{mpsc, oneshot};
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{
    ChildId, ChildSpec as CoreSpec, Counts, DeleteChildError, FindChildError, Flags, InitError, NoProc,
    RestartChildError, RunId, Target, UpdateError,
};

use super::builder::SupervisorBuilder;
use super::by_gate;
use super::child::RunningChild;
use super::children::{ChildInfo, ChildStarted, ShownSpec, StartChildError};
use super::driver::Call;
use super::feed::Feed;
use super::gate::{Control, Done};
use super::live::{Factory, Reply, Request};
use super::spec::ChildSpec;
use crate::registry::{AlreadyRegistered, Name};

/// Says why a supervisor did not start.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its flags, a spec, or a child.
    #[error("{0}")]
    Init(#[from] InitError),
    /// Its name has an owner.
    #[error("{0}")]
    Name(#[from] AlreadyRegistered),
    /// The supervisor was killed, or its parent is ending.
    #[error("start the supervisor: its parent is ending, or it was killed")]
    Killed,
}

/// A running supervisor; a cheap clone that keeps nothing alive: dropping it stops nothing.
///
/// Each method is a call that the supervisor answers between two of its own steps. A supervisor that has ended answers
/// `NoProc`. Calls wait in a bounded queue; when it is full, the caller waits.
///
/// # Examples
///
/// ```
/// use treewarden_otp::supervisor::{ExitReason, Strategy, Supervisor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let root = Supervisor::builder().strategy(Strategy::RestForOne).max_restarts(3).max_seconds(5).start().await?;
/// assert_eq!(root.count_children().await?.specs, 0);
/// root.stop(ExitReason::Shutdown).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Supervisor {
    pub(super) calls: mpsc::Sender<Call>,
    pub(super) control: Arc<Control>,
    pub(super) gate: ActorCell,
    pub(super) done: Done,
    pub(super) path: Arc<str>,
    pub(super) feed: Feed,
}

impl Supervisor {
    /// Begins to describe a supervisor.
    pub fn builder() -> SupervisorBuilder {
        SupervisorBuilder::new()
    }

    /// Finds the supervisor that was started under a name ([`SupervisorBuilder::via`]), if one has it now.
    #[must_use]
    pub fn via(name: &Name) -> Option<Self> {
        by_gate::of(name.whereis()?.get_id())
    }

    /// Adds a child and starts it.
    ///
    /// It is ready when the child has started, or when its start has failed; the supervisor answers no other call meanwhile.
    ///
    /// # Errors
    ///
    /// An id that is taken, a spec that is not valid here, or a start that failed; nothing is kept then.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the call may still be carried out.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<ChildStarted, StartChildError> {
        match self.call(Request::StartChild(spec.into_core())).await {
            Some(Reply::StartChild(result)) => result.map(ChildStarted::of),
            _ => Err(StartChildError::NoProc),
        }
    }

    /// Stops a child and keeps its spec; a temporary child is forgotten.
    ///
    /// # Errors
    ///
    /// No child has this id.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the call may still be carried out.
    pub async fn terminate_child(&self, id: impl Into<ChildId>) -> Result<(), FindChildError> {
        self.terminate(Target::Id(id.into())).await
    }

    /// Stops the child of a dynamic supervisor that has this run, and forgets it.
    ///
    /// # Errors
    ///
    /// No child has this run, neither now nor as the one it is being restarted from; one that was parked is found by any of its
    /// runs.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the call may still be carried out.
    pub async fn terminate_run(&self, pid: RunId) -> Result<(), FindChildError> {
        self.terminate(Target::RunId(pid)).await
    }

    async fn terminate(&self, target: Target) -> Result<(), FindChildError> {
        match self.call(Request::TerminateChild(target)).await {
            Some(Reply::TerminateChild(result)) => result,
            _ => Err(FindChildError::NoProc),
        }
    }

    /// Starts a child that was stopped.
    ///
    /// # Errors
    ///
    /// No such child, one that runs or is being restarted, or a start that failed; the spec is kept then.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the call may still be carried out.
    pub async fn restart_child(&self, id: impl Into<ChildId>) -> Result<ChildStarted, RestartChildError> {
        match self.call(Request::RestartChild(id.into())).await {
            Some(Reply::RestartChild(result)) => result.map(ChildStarted::of),
            _ => Err(RestartChildError::NoProc),
        }
    }

    /// Stops the child of a dynamic supervisor that has this run, and starts it again; it keeps its place.
    ///
    /// Also one that waits for its restart, and, by any of its runs, one that was parked. As with
    /// [`restart_child`](Self::restart_child), its failures are forgotten.
    ///
    /// # Errors
    ///
    /// No child has this run, it is temporary, or the start failed; then the child is kept, stopped.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the call may still be carried out.
    pub async fn restart_run(&self, pid: RunId) -> Result<ChildStarted, RestartChildError> {
        match self.call(Request::RestartRun(pid)).await {
            Some(Reply::RestartChild(result)) => result.map(ChildStarted::of),
            _ => Err(RestartChildError::NoProc),
        }
    }

    /// Forgets a child that was stopped.
    ///
    /// # Errors
    ///
    /// No such child, or one that runs or is being restarted.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the call may still be carried out.
    pub async fn delete_child(&self, id: impl Into<ChildId>) -> Result<(), DeleteChildError> {
        match self.call(Request::DeleteChild(id.into())).await {
            Some(Reply::DeleteChild(result)) => result,
            _ => Err(DeleteChildError::NoProc),
        }
    }

    /// Lists the children, newest first.
    ///
    /// # Errors
    ///
    /// The supervisor has ended.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, NoProc> {
        match self.call(Request::WhichChildren).await {
            Some(Reply::WhichChildren(children)) => Ok(children),
            _ => Err(NoProc),
        }
    }

    /// Finds a running child by its id.
    ///
    /// # Errors
    ///
    /// No child with this id runs now.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn child(&self, id: impl Into<ChildId>) -> Result<RunningChild, FindChildError> {
        let id = id.into();
        let children = self.which_children().await.map_err(|NoProc| FindChildError::NoProc)?;
        let running =
            children.into_iter().filter(|child| child.id == id).find_map(|child| match child.state {
                super::ChildState::Running(_, child) => Some(child),
                _ => None,
            });
        running.ok_or(FindChildError::NotFound)
    }

    /// Counts the children.
    ///
    /// # Errors
    ///
    /// The supervisor has ended.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn count_children(&self) -> Result<Counts, NoProc> {
        match self.call(Request::CountChildren).await {
            Some(Reply::CountChildren(counts)) => Ok(counts),
            _ => Err(NoProc),
        }
    }

    /// Shows the spec of a child; its start is missing where it was dropped, since a temporary child runs only once.
    ///
    /// # Errors
    ///
    /// No child has this id.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn get_childspec(&self, id: impl Into<ChildId>) -> Result<ShownSpec, FindChildError> {
        self.spec(Target::Id(id.into())).await
    }

    /// Shows the spec of the child of a dynamic supervisor that has this run.
    ///
    /// # Errors
    ///
    /// No child has this run.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn get_run_spec(&self, pid: RunId) -> Result<ShownSpec, FindChildError> {
        self.spec(Target::RunId(pid)).await
    }

    async fn spec(&self, target: Target) -> Result<ShownSpec, FindChildError> {
        match self.call(Request::GetChildSpec(target)).await {
            Some(Reply::GetChildSpec(result)) => result.map(|spec| spec.map_start(drop)),
            _ => Err(FindChildError::NoProc),
        }
    }

    /// Replaces flags and merges specs by id, as OTP's `code_change` does.
    ///
    /// Running children stay and take their new spec at the next start; new ones are added but not started; those not
    /// in the list stay. A new template holds for the children that there are, but for temporary ones that run: they stay
    /// temporary, since what starts them is gone.
    ///
    /// # Errors
    ///
    /// Flags or specs that are not valid; nothing is changed then.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the call may still be carried out.
    pub async fn code_change(&self, flags: Flags, specs: Vec<ChildSpec>) -> Result<(), UpdateError> {
        let specs = specs.into_iter().map(ChildSpec::into_core).collect();
        match self.call(Request::CodeChange(flags, specs)).await {
            Some(Reply::CodeChange(result)) => result,
            _ => Err(UpdateError::NoProc),
        }
    }

    /// Stops the supervisor: its children newest first, each with its deadline, then itself; ready when all are gone.
    ///
    /// Returns the reason it ended with: the one given, unless it was ending already.
    ///
    /// # Cancel safety
    ///
    /// The stop goes on when the future is dropped.
    pub async fn stop(&self, reason: ExitReason) -> ExitReason {
        self.control.stop(reason);
        self.wait().await
    }

    /// Waits until the supervisor has ended, and says why it did.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn wait(&self) -> ExitReason {
        let mut done = self.done.clone();
        // The sender is dropped as the driver's last act.
        while done.changed().await.is_ok() {}
        let reason = done.borrow().clone();
        // A driver that was dropped before it could say a reason panicked, or lost its runtime: its children
        // were killed.
        reason.unwrap_or(ExitReason::Killed)
    }

    /// Says whether the supervisor has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.calls.is_closed() && self.gate.get_status() < ractor::ActorStatus::Stopped
    }

    /// Stops the supervisor from doing anything but ending, as `sys:suspend` does: for tests and inspection.
    pub fn suspend(&self) {
        self.control.set_suspended(true);
    }

    /// Ends a suspension; what came meanwhile is served in its order.
    pub fn resume(&self) {
        self.control.set_suspended(false);
    }

    /// Begins to listen to the reports of this supervisor and of those below it.
    ///
    /// # Examples
    ///
    /// ```
    /// use ractor::{Actor, ActorProcessingErr, ActorRef};
    /// use treewarden_otp::supervisor::{ChildSpec, ExitReason, Report, Supervisor};
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
    /// let root = Supervisor::builder().name("root").start().await?;
    /// let mut feed = root.subscribe();
    /// root.start_child(ChildSpec::actor("idle", || (Idle, ()))).await?;
    /// let event = feed.next().await?;
    /// assert_eq!(&*event.supervisor, "root");
    /// assert!(matches!(event.report, Report::Progress(..)), "{:?}", event.report);
    /// root.stop(ExitReason::Shutdown).await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> Feed {
        self.feed.subscribe()
    }

    /// The actor that stands for this supervisor: to link to, to stop, to kill.
    #[must_use]
    pub fn cell(&self) -> ActorCell {
        self.gate.clone()
    }

    /// The supervisor's place in the tree; empty for a root without a name.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Sends a request and waits for its answer; none means that the supervisor has ended.
    pub(super) async fn call(&self, request: Request) -> Option<Reply> {
        let (caller, answer) = oneshot::channel();
        // One of 64 places in the queue is waited for, without blocking a thread.
        self.calls.send((request, caller)).await.ok()?;
        answer.await.ok()
    }
}

impl ChildSpec {
    pub(crate) fn into_core(self) -> CoreSpec<Factory> {
        self.0.map_start(Factory)
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("path", &self.path)
            .field("actor", &self.gate.get_id())
            .field("alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}
