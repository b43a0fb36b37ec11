//! Starting children: at first, one more, and again.

use std::time::Instant;

use super::child::Life;
use super::event::{Action, ChildStarted, Reply, RunId, StartCause, StartOrder, StartOutcome, Types};
use super::machine::{Machine, Task};
use super::report::{Context, OffenderPid, Reason, Report};
use super::{FailedToStartChild, InitError, RestartChildError, StartChildError};
use crate::ExitReason;

impl<H: Types> Machine<H> {
    pub(super) fn init(&mut self) {
        let rest = self.slots().into();
        self.task = Task::Init { rest };
        self.init_next();
    }

    fn init_next(&mut self) {
        let Task::Init { rest } = &mut self.task else { return };
        match rest.pop_front() {
            Some(slot) => self.begin_start(slot),
            None => {
                self.task = Task::Idle;
                self.actions.push_back(Action::Initialized(Ok(())));
            }
        }
    }

    /// Orders a start of the child in `slot`.
    pub(super) fn begin_start(&mut self, slot: u64) {
        let cause = match &self.task {
            Task::Init { .. } => StartCause::Listed,
            Task::StartChild { .. } => StartCause::Added,
            Task::RestartChild { .. } => StartCause::Asked,
            _ => StartCause::Ended,
        };
        let Some(child) = self.children.get_mut(&slot) else { return };
        self.timers.replace(slot, &mut child.timer, None);
        // Only a temporary child that runs has no start, and such a one is never started: whoever ordered it
        // would wait for ever.
        let Some(start) = child.spec.start.clone() else { return };
        // A failed start has a number as well: what is told of it late is told of another run than the next
        // one's.
        child.incarnation += 1;
        child.exited = None;
        let order = StartOrder {
            pid: child.run_id(),
            id: child.spec.id.clone(),
            start,
            attempt: child.failures,
            cause,
            last_exit: child.last_exit.clone(),
            timeout: child.spec.start_timeout,
        };
        // One start at a time is awaited: a stop that ended before this start did would leave a child that
        // nobody has.
        self.awaiting = Some(order.pid);
        self.actions.push_back(Action::Start(order));
    }

    pub(super) fn on_started(
        &mut self,
        now: Instant,
        pid: RunId,
        outcome: Result<StartOutcome<H>, ExitReason>,
    ) {
        // Told twice, or of a start that is not awaited any more: a run that nobody ordered must not become
        // the child's.
        if self.awaiting != Some(pid) {
            return;
        }
        self.awaiting = None;
        match &self.task {
            Task::Init { .. } => return self.init_started(now, pid, outcome),
            Task::GroupStart { .. } => return self.group_started(now, pid, outcome),
            Task::Shutdown { .. } => return self.started_too_late(now, pid, outcome),
            _ => {}
        }
        match std::mem::replace(&mut self.task, Task::Idle) {
            Task::StartChild { caller } => self.added(now, pid, outcome, caller),
            Task::RestartChild { caller } => self.revived(now, pid, outcome, caller),
            Task::Restart { old } => self.restarted(now, pid, outcome, old),
            task => self.task = task,
        }
    }

    /// Notes that the child runs; the start of a temporary child is dropped, since it is never used again.
    pub(super) fn set_running(&mut self, now: Instant, slot: u64, handle: H::Child) {
        let Some(child) = self.children.get_mut(&slot) else { return };
        child.life = Life::Running(handle);
        child.up_since = Some(now);
        if child.is_temporary() {
            // What the start holds (a prompt, a connection) would otherwise live as long as the child.
            child.spec.start = None;
        }
        if self.reports_progress {
            // Behind `life`: the report shows the new run.
            let offender = child.offender(child.offender_pid());
            self.actions.push_back(Action::Report(Report::Progress(offender)));
        }
    }

    fn init_started(&mut self, now: Instant, pid: RunId, outcome: Result<StartOutcome<H>, ExitReason>) {
        match outcome {
            Ok(StartOutcome::Running(handle, _)) => self.set_running(now, pid.slot, handle),
            Ok(StartOutcome::Ignore) => self.drop_run(pid.slot),
            Err(reason) => {
                self.report_as(
                    pid.slot,
                    Context::StartError,
                    Reason::Exit(reason.clone()),
                    OffenderPid::Undefined,
                );
                if let Some(child) = self.children.get(&pid.slot) {
                    let id = child.spec.id.clone();
                    self.roll_back(now, InitError::Child(FailedToStartChild { id, reason }));
                }
                return;
            }
        }
        // Between two starts, and not only after the last: a list of many slow children must not have to come
        // up before it can be stopped.
        match self.stop_request.take() {
            Some(reason) => self.roll_back(now, InitError::Stopped(reason)),
            None => self.init_next(),
        }
    }

    fn roll_back(&mut self, now: Instant, error: InitError) {
        // The child that failed is among them and does not run: its stop is none. Those that never started
        // are none either.
        let rest = self.slots();
        self.task = Task::RollBack { error, rest };
        self.stop_next(now);
    }

    /// A child asked for with `start_child`.
    fn added(
        &mut self,
        now: Instant,
        pid: RunId,
        outcome: Result<StartOutcome<H>, ExitReason>,
        caller: H::Caller,
    ) {
        let result = match outcome {
            Ok(StartOutcome::Running(handle, info)) => {
                self.set_running(now, pid.slot, handle.clone());
                Ok(ChildStarted::Running(pid, handle, info))
            }
            Ok(StartOutcome::Ignore) => {
                self.drop_run(pid.slot);
                Ok(ChildStarted::Ignored)
            }
            Err(reason) => {
                let id = self.children.get(&pid.slot).map(|child| child.spec.id.clone());
                // OTP keeps nothing of a child that `start_child` could not start, so that the same id can be
                // tried again.
                self.remove(pid.slot);
                Err(StartChildError::Failed { id: id.unwrap_or_else(|| "".into()), reason })
            }
        };
        self.actions.push_back(Action::Reply(caller, Reply::StartChild(result)));
    }

    /// A child asked for with `restart_child` or `restart_run`.
    fn revived(
        &mut self,
        now: Instant,
        pid: RunId,
        outcome: Result<StartOutcome<H>, ExitReason>,
        caller: H::Caller,
    ) {
        let result = match outcome {
            Ok(StartOutcome::Running(handle, info)) => {
                self.set_running(now, pid.slot, handle.clone());
                Ok(ChildStarted::Running(pid, handle, info))
            }
            Ok(StartOutcome::Ignore) => Ok(ChildStarted::Ignored),
            // The spec stays and the child stays stopped: OTP does not try again what a caller asked for.
            Err(reason) => Err(RestartChildError::Failed(reason)),
        };
        self.actions.push_back(Action::Reply(caller, Reply::RestartChild(result)));
    }

    /// A child that is restarted alone.
    fn restarted(
        &mut self,
        now: Instant,
        pid: RunId,
        outcome: Result<StartOutcome<H>, ExitReason>,
        old: OffenderPid<H::Child>,
    ) {
        match outcome {
            Ok(StartOutcome::Running(handle, _)) => self.set_running(now, pid.slot, handle),
            Ok(StartOutcome::Ignore) => self.drop_run(pid.slot),
            Err(reason) => {
                if let Some(child) = self.children.get_mut(&pid.slot) {
                    child.last_exit = Some(reason.clone());
                }
                self.report_as(pid.slot, Context::StartError, Reason::Exit(reason), old);
                // By way of the driver, as OTP's supervisor casts to itself: what came before is served
                // first, such as a `terminate_child` that calls the retry off. Each attempt spends a restart,
                // so that this ends.
                self.actions.push_back(Action::TryAgain(pid));
            }
        }
    }

    /// Deals with the end of a start that was under way when the supervisor was killed.
    fn started_too_late(&mut self, now: Instant, pid: RunId, outcome: Result<StartOutcome<H>, ExitReason>) {
        if let Ok(StartOutcome::Running(handle, _)) = outcome
            && let Some(child) = self.children.get_mut(&pid.slot)
        {
            child.life = Life::Running(handle);
            // It came up after all. Left alone it would outlive its supervisor.
            if self.begin_stop(now, pid.slot) {
                return;
            }
        }
        self.stop_next(now);
    }
}
