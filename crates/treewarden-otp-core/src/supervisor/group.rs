//! Restarts of several children together: `one_for_all` and `rest_for_one`.

use std::collections::VecDeque;
use std::time::Instant;

use super::child::Life;
use super::event::{Action, RunId, StartOutcome, Types};
use super::machine::{Group, Machine, Task};
use super::report::{Context, OffenderPid, Reason};
use crate::ExitReason;

impl<H: Types> Machine<H> {
    /// Stops every child of the group, newest first, and starts them again in order.
    pub(super) fn begin_group(&mut self, now: Instant, group: Group<H::Child>) {
        let rest = self.order.range(group.from..).map(|(_, slot)| *slot).collect();
        self.task = Task::GroupStop { group, rest };
        self.stop_next(now);
    }

    /// All members are stopped: starts those that are left, in order.
    pub(super) fn group_stopped(&mut self, group: Group<H::Child>) {
        // The order is read anew: the stop has forgotten the temporary members, which are never restarted.
        // The child that failed may be one of them, whose spec was changed while it waited: the others are
        // started all the same, as in OTP, and so the group is found by its rank and not by that child.
        let rest: VecDeque<u64> = self.order.range(group.from..).map(|(_, slot)| *slot).collect();
        self.task = Task::GroupStart { group, rest };
        self.group_start_next();
    }

    fn group_start_next(&mut self) {
        let Task::GroupStart { rest, .. } = &mut self.task else { return };
        match rest.pop_front() {
            Some(slot) => self.begin_start(slot),
            None => self.task = Task::Idle,
        }
    }

    pub(super) fn group_started(
        &mut self,
        now: Instant,
        pid: RunId,
        outcome: Result<StartOutcome<H>, ExitReason>,
    ) {
        match outcome {
            Ok(StartOutcome::Running(handle, _)) => self.set_running(now, pid.slot, handle),
            Ok(StartOutcome::Ignore) => self.drop_run(pid.slot),
            Err(reason) => {
                let group = match std::mem::replace(&mut self.task, Task::Idle) {
                    Task::GroupStart { group, .. } => Some(group),
                    _ => None,
                };
                // Only the child that failed first has a run to show; the others were stopped, and theirs
                // ended as told.
                let last = group.filter(|group| group.failed == pid.slot).and_then(|group| group.was);
                let reported = Reason::Exit(reason.clone());
                self.report_as(pid.slot, Context::StartError, reported, OffenderPid::Undefined);
                if let Some(child) = self.children.get_mut(&pid.slot) {
                    child.last_exit = Some(reason);
                    child.life = Life::Restarting(last);
                }
                // The task is idle from here on, so that a stop or a call is served between two attempts; a
                // group that cannot come up would keep both out for ever. What has started stays up until the
                // retry stops the group again, as in OTP.
                self.actions.push_back(Action::TryAgain(pid));
                return;
            }
        }
        self.group_start_next();
    }
}
