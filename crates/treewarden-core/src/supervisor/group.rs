//! Restarts of several children together: `one_for_all` and `rest_for_one`.

use std::collections::VecDeque;
use std::time::Instant;

use super::child::Life;
use super::event::{Action, Host, Pid, StartOutcome};
use super::machine::{Group, Machine, Task};
use super::report::{Context, OffenderPid, Reason};
use crate::ExitReason;

impl<H: Host> Machine<H> {
    /// Stops every child from `rank` on, newest first, and starts them again in order.
    pub(super) fn begin_group(&mut self, now: Instant, group: Group<H::Child>, rank: u64) {
        let rest = self.order.range(rank..).map(|(_, slot)| *slot).collect();
        self.task = Task::GroupStop { group, rest };
        self.stop_next(now);
    }

    /// All members are stopped: starts those that are left, in order.
    pub(super) fn group_stopped(&mut self, now: Instant, group: Group<H::Child>) {
        let Some(failed) = self.children.get(&group.failed) else {
            self.task = Task::Idle;
            return;
        };
        let from = match self.flags.strategy {
            super::Strategy::RestForOne => failed.rank,
            _ => 0,
        };
        let rest: VecDeque<u64> = self.order.range(from..).map(|(_, slot)| *slot).collect();
        self.group_start_next(now, group, rest);
    }

    fn group_start_next(&mut self, _now: Instant, group: Group<H::Child>, mut rest: VecDeque<u64>) {
        match rest.pop_front() {
            Some(slot) => {
                self.task = Task::GroupStart { group, rest };
                self.begin_start(slot);
            }
            None => self.task = Task::Idle,
        }
    }

    pub(super) fn group_started(
        &mut self,
        now: Instant,
        pid: Pid,
        outcome: Result<StartOutcome<H>, ExitReason>,
        group: Group<H::Child>,
        rest: VecDeque<u64>,
    ) {
        match outcome {
            Ok(StartOutcome::Running(handle, _)) => self.set_running(now, pid.slot, handle),
            Ok(StartOutcome::Ignore) => self.drop_run(pid.slot),
            Err(reason) => {
                let reported = Reason::Exit(reason.clone());
                self.report_as(pid.slot, Context::StartError, reported, OffenderPid::Undefined);
                if let Some(child) = self.children.get_mut(&pid.slot) {
                    child.last_exit = Some(reason);
                    child.life = Life::Restarting(if pid.slot == group.failed { group.was } else { None });
                }
                self.actions.push_back(Action::TryAgain(pid));
                return;
            }
        }
        self.group_start_next(now, group, rest);
    }
}
