//! Starting children: at first, one more, and again.

use std::time::Instant;

use super::child::Life;
use super::event::{Action, ChildStarted, Host, Pid, Reply, StartOrder, StartOutcome};
use super::machine::{Machine, Task};
use super::report::{Context, OffenderPid, Reason, Report};
use super::{FailedToStartChild, InitError, RestartChildError, StartChildError};
use crate::ExitReason;

impl<H: Host> Machine<H> {
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
        let Some(child) = self.children.get_mut(&slot) else { return };
        self.timers.replace(slot, &mut child.timer, None);
        let Some(start) = child.spec.start.clone() else { return };
        child.incarnation += 1;
        child.exited = None;
        let order = StartOrder {
            pid: child.pid(),
            id: child.spec.id.clone(),
            start,
            attempt: child.failures,
            last_exit: child.last_exit.clone(),
            timeout: child.spec.start_timeout,
        };
        self.awaiting = Some(order.pid);
        self.actions.push_back(Action::Start(order));
    }

    pub(super) fn on_started(
        &mut self,
        now: Instant,
        pid: Pid,
        outcome: Result<StartOutcome<H>, ExitReason>,
    ) {
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
            child.spec.start = None;
        }
        if self.reports_progress {
            let offender = child.offender(child.offender_pid());
            self.actions.push_back(Action::Report(Report::Progress(offender)));
        }
    }

    fn init_started(&mut self, now: Instant, pid: Pid, outcome: Result<StartOutcome<H>, ExitReason>) {
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
        match self.stop_request.take() {
            Some(reason) => self.roll_back(now, InitError::Stopped(reason)),
            None => self.init_next(),
        }
    }

    fn roll_back(&mut self, now: Instant, error: InitError) {
        let rest = self.slots();
        self.task = Task::RollBack { error, rest };
        self.stop_next(now);
    }

    /// A child asked for with `start_child`.
    fn added(
        &mut self,
        now: Instant,
        pid: Pid,
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
                self.remove(pid.slot);
                Err(StartChildError::Failed { id: id.unwrap_or_else(|| "".into()), reason })
            }
        };
        self.actions.push_back(Action::Reply(caller, Reply::StartChild(result)));
    }

    /// A child asked for with `restart_child`.
    fn revived(
        &mut self,
        now: Instant,
        pid: Pid,
        outcome: Result<StartOutcome<H>, ExitReason>,
        caller: H::Caller,
    ) {
        let result = match outcome {
            Ok(StartOutcome::Running(handle, info)) => {
                self.set_running(now, pid.slot, handle.clone());
                Ok(ChildStarted::Running(pid, handle, info))
            }
            Ok(StartOutcome::Ignore) => Ok(ChildStarted::Ignored),
            Err(reason) => Err(RestartChildError::Failed(reason)),
        };
        self.actions.push_back(Action::Reply(caller, Reply::RestartChild(result)));
    }

    /// A child that is restarted alone.
    fn restarted(
        &mut self,
        now: Instant,
        pid: Pid,
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
                self.actions.push_back(Action::TryAgain(pid));
            }
        }
    }

    /// A start that was under way when the supervisor was killed.
    fn started_too_late(&mut self, now: Instant, pid: Pid, outcome: Result<StartOutcome<H>, ExitReason>) {
        if let Ok(StartOutcome::Running(handle, _)) = outcome
            && let Some(child) = self.children.get_mut(&pid.slot)
        {
            child.life = Life::Running(handle);
            if self.begin_stop(now, pid.slot) {
                return;
            }
        }
        self.stop_next(now);
    }
}
