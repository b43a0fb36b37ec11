//! What the end of a child leads to: nothing, a restart, or the end of the supervisor.

use std::time::Instant;

use super::child::Life;
use super::event::{Action, RunId, Types};
use super::machine::{Group, Letter, Machine, Mode, Task};
use super::report::{Context, OffenderPid, Reason, Report};
use super::spec::{AutoShutdown, GiveUp, Restart, Strategy};
use crate::ExitReason;

impl<H: Types> Machine<H> {
    pub(super) fn on_exited(&mut self, now: Instant, pid: RunId, reason: ExitReason) {
        let idle = matches!(self.task, Task::Idle);
        let Some(child) = self.children.get_mut(&pid.slot) else { return };
        // The end of a run that was replaced, or one that is told twice: taken for the end of the present
        // run, it would start a second run beside that.
        if child.run_id() != pid || !matches!(child.life, Life::Running(_)) || child.exited.is_some() {
            return;
        }
        if child.stopping.is_some() {
            let was_dead = false;
            // Not through the mailbox: the operation that is under way waits for exactly this end, and the
            // mailbox is served only after it.
            self.settle_stop(pid.slot, reason, was_dead);
            self.stop_next(now);
            return;
        }
        child.exited = Some(reason);
        if idle && self.stop_request.is_none() {
            self.open_exit(now, pid);
        } else {
            // Only the fact waits here; the reason stays with the child. A group stop that comes first takes
            // the reason from there, and the letter is void: two deaths under one group restart spend one
            // restart, as in OTP.
            self.mailbox.push_back(Letter::Exited(pid));
        }
    }

    /// OTP's `do_restart`: looks at the restart type and the reason.
    pub(super) fn open_exit(&mut self, now: Instant, pid: RunId) {
        let Some(child) = self.children.get_mut(&pid.slot) else { return };
        if child.run_id() != pid || !matches!(child.life, Life::Running(_)) {
            return;
        }
        // Gone: a stop has dealt with this end before its letter was opened.
        let Some(reason) = child.exited.take() else { return };
        let restart = child.spec.restart;
        child.last_exit = Some(reason.clone());
        let stable = child.spec.backoff.as_ref().map(|backoff| backoff.stable_run());
        let up = child.up_since.map(|since| now.saturating_duration_since(since));
        // Before the delay is asked for: a run of an hour that ends is a first failure, and its restart is
        // immediate.
        if stable.is_some_and(|stable| up.is_some_and(|up| up >= stable)) {
            child.failures = 0;
        }
        // OTP reports each end of a permanent child, `normal` too: it was to stay.
        if restart == Restart::Permanent || !reason.is_clean() {
            self.report(pid.slot, Context::ChildTerminated, Reason::Exit(reason.clone()));
        }
        match (restart, reason.is_clean()) {
            (Restart::Permanent, _) | (Restart::Transient, false) => self.restart(now, pid.slot),
            (Restart::Transient, true) | (Restart::Temporary, _) => self.ended_by_itself(now, pid.slot),
        }
    }

    fn ended_by_itself(&mut self, now: Instant, slot: u64) {
        let significant = self.children.get(&slot).is_some_and(|child| child.spec.significant);
        self.drop_run(slot);
        let shutdown = significant
            && match self.flags.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.children.values().any(|child| {
                    child.spec.significant && !matches!(child.life, Life::Stopped | Life::Parked)
                }),
            };
        if shutdown {
            self.begin_shutdown(now, ExitReason::Shutdown);
        }
    }

    /// The event that a failed restart sent to itself.
    pub(super) fn try_again(&mut self, now: Instant, pid: RunId) {
        let waits = self
            .children
            .get(&pid.slot)
            .is_some_and(|child| child.run_id() == pid && matches!(child.life, Life::Restarting(_)));
        if waits {
            self.restart(now, pid.slot);
        }
    }

    /// A back-off that ran out while the machine was busy.
    pub(super) fn retry(&mut self, now: Instant, pid: RunId) {
        let waits = self
            .children
            .get(&pid.slot)
            .is_some_and(|child| child.run_id() == pid && matches!(child.life, Life::Restarting(_)));
        if waits {
            self.restart_now(now, pid.slot);
        }
    }

    /// Spends one restart, then restarts: at once, after a back-off, or not at all.
    pub(super) fn restart(&mut self, now: Instant, slot: u64) {
        let random = self.next_random();
        let Some(child) = self.children.get_mut(&slot) else { return };
        let allowed = match &mut child.budget {
            Some(own) => own.spend(now),
            None => self.budget.spend(now),
        };
        if !allowed {
            self.give_up(now, slot);
            return;
        }
        let delay = child.spec.backoff.as_ref().map(|backoff| backoff.delay(child.failures, random));
        child.failures = child.failures.saturating_add(1);
        match delay {
            Some(delay) if !delay.is_zero() => {
                let last = self.take_run(slot);
                if let Some(child) = self.children.get_mut(&slot) {
                    child.life = Life::Restarting(last);
                    // A delay that no clock can hold never ends. The unchecked sum would panic, and take the
                    // supervisor along.
                    self.timers.replace(slot, &mut child.timer, now.checked_add(delay));
                }
            }
            _ => self.restart_now(now, slot),
        }
    }

    /// Restarts by strategy, without asking the budget again.
    pub(super) fn restart_now(&mut self, now: Instant, slot: u64) {
        let Some(child) = self.children.get(&slot) else { return };
        let rank = child.rank;
        let old = child.offender_pid();
        let was = self.take_run(slot);
        match (self.flags.strategy, &self.mode) {
            (Strategy::OneForAll, Mode::Static) => {
                self.begin_group(now, Group { failed: slot, was, from: 0 })
            }
            (Strategy::RestForOne, Mode::Static) => {
                self.begin_group(now, Group { failed: slot, was, from: rank })
            }
            _ => {
                let old = match (&self.mode, &was) {
                    (Mode::Dynamic { .. }, Some(_)) => OffenderPid::Restarting(was.clone()),
                    _ => old,
                };
                if let Some(child) = self.children.get_mut(&slot) {
                    child.life = Life::Restarting(was);
                }
                self.task = Task::Restart { old };
                self.begin_start(slot);
            }
        }
    }

    /// Takes the run that ended out of the child, for the reports to come.
    fn take_run(&mut self, slot: u64) -> Option<(RunId, H::Child)> {
        let child = self.children.get_mut(&slot)?;
        let pid = child.run_id();
        match std::mem::replace(&mut child.life, Life::Stopped) {
            Life::Running(handle) => Some((pid, handle)),
            Life::Restarting(last) => last,
            Life::Stopped | Life::Parked => None,
        }
    }

    fn give_up(&mut self, now: Instant, slot: u64) {
        if let Some(child) = self.children.get(&slot)
            && let Some(start) = &child.spec.start
        {
            let (start, last_exit) = (start.clone(), child.last_exit.clone());
            self.actions.push_back(Action::GivenUp(start, self.flags.give_up, last_exit));
        }
        // Whoever starts the child is told first: the shutdown below drops every spec, and with it the last
        // way to those who wait for the child.
        match self.flags.give_up {
            GiveUp::Escalate => {
                let Some(child) = self.children.get(&slot) else { return };
                let offender = match (&self.mode, child.offender_pid()) {
                    // Elixir names the run that ended.
                    (Mode::Dynamic { .. }, OffenderPid::Restarting(Some((pid, run)))) => {
                        OffenderPid::Running(pid, run)
                    }
                    (_, other) => other,
                };
                self.report_as(slot, Context::Shutdown, Reason::ReachedMaxRestartIntensity, offender);
                self.drop_run(slot);
                self.begin_shutdown(now, ExitReason::Shutdown);
            }
            GiveUp::Park => {
                let Some(child) = self.children.get_mut(&slot) else { return };
                let pid = child.offender_pid();
                let offender = child.offender(pid);
                child.life = Life::Parked;
                child.failures = 0;
                self.clear_timer(slot);
                self.actions.push_back(Action::Report(Report::Parked(offender)));
            }
        }
    }
}
