//! Stopping children: ask, wait, kill, wait on, and say so when even that takes long.

use std::time::{Duration, Instant};

use super::child::{Life, Stopping};
use super::event::{Action, Reply, Types};
use super::machine::{Letter, Machine, Mode, Task};
use super::report::{Context, OffenderPid, Reason, Report};
use super::spec::{ChildSpec, Kind, Restart, Shutdown};
use crate::ExitReason;

/// How long a killed child may take to be gone before it is reported as quarantined.
const KILL_GRACE: Duration = Duration::from_secs(5);

impl<H: Types> Machine<H> {
    /// Begins the stop of a child. Says whether its end is still to come.
    pub(super) fn begin_stop(&mut self, now: Instant, slot: u64) -> bool {
        let killed = self.killed;
        let Some(child) = self.children.get_mut(&slot) else { return false };
        let Life::Running(handle) = &child.life else { return false };
        // Told already, by `terminate_child` or a group stop, when the supervisor was killed. It keeps the
        // deadline that it has; one that has none would otherwise be waited for without limit, by nobody.
        if let Some(stopping) = child.stopping {
            let endless = stopping == Stopping::Asked && child.timer.is_none();
            if killed && endless && child.spec.kind == Kind::Worker {
                self.timers.replace(slot, &mut child.timer, now.checked_add(KILL_GRACE));
            }
            return true;
        }
        // It ended before it could be told, and its letter waits: taking the reason makes that void. Told to
        // stop, a run that is gone would never end once more, and the stop would wait for ever.
        if let Some(reason) = child.exited.take() {
            let was_dead = true;
            self.settle_stop(slot, reason, was_dead);
            return false;
        }
        let (handle, pid) = (handle.clone(), child.run_id());
        let (stopping, action, deadline) = match child.spec.effective_shutdown() {
            // No time at all is a kill: asked and killed in the same instant, the child would not get to run.
            Shutdown::BrutalKill | Shutdown::Timeout(Duration::ZERO) if !killed => {
                (Stopping::Killed, Action::Kill(pid, handle), now.checked_add(KILL_GRACE))
            }
            limit => {
                let signal = if killed { ExitReason::Killed } else { ExitReason::Shutdown };
                let deadline = match limit {
                    Shutdown::Timeout(time) => now.checked_add(time),
                    // Only under a supervisor that was killed: OTP's children then get a signal that they may
                    // trap, whatever their `shutdown` says, so that they are told first.
                    Shutdown::BrutalKill => now.checked_add(KILL_GRACE),
                    // Nobody is left who would wait for a worker without limit. A supervisor below still has
                    // its children to wait for.
                    _ if killed && child.spec.kind == Kind::Worker => now.checked_add(KILL_GRACE),
                    _ => None,
                };
                (Stopping::Asked, Action::Stop(pid, handle, signal), deadline)
            }
        };
        child.stopping = Some(stopping);
        self.timers.replace(slot, &mut child.timer, deadline);
        // Counted, since dynamic children end in any order: the last end, whichever it is, goes on with the
        // task.
        self.stops_left += 1;
        self.actions.push_back(action);
        true
    }

    /// A child that was to stop has ended: reports it if it did not end as told.
    ///
    /// `was_dead` says that it had ended before it could be told.
    pub(super) fn settle_stop(&mut self, slot: u64, reason: ExitReason, was_dead: bool) {
        let Some(child) = self.children.get_mut(&slot) else { return };
        self.timers.replace(slot, &mut child.timer, None);
        if child.stopping.take().is_some() {
            self.stops_left -= 1;
        }
        let elixir = matches!(self.mode, Mode::Dynamic { .. });
        let expected = ends_as_told(&child.spec, &reason, elixir, was_dead);
        // An end that is told now has no letter; one that had is settled here.
        child.exited = None;
        if expected {
            child.last_exit = Some(reason);
            child.life = Life::Stopped;
            return;
        }
        child.last_exit = Some(reason.clone());
        // The report shows the run, so the child has it until then.
        if matches!((&self.mode, &self.task), (Mode::Template(_), Task::Shutdown { .. })) {
            // OTP groups these by reason: 100,000 children that do not obey are one report with a number.
            self.count_stop_error(reason);
        } else {
            self.report(slot, Context::ShutdownError, Reason::Exit(reason));
        }
        if let Some(child) = self.children.get_mut(&slot) {
            child.life = Life::Stopped;
        }
    }

    fn count_stop_error(&mut self, reason: ExitReason) {
        let text = reason.to_string();
        match self.stop_errors.iter_mut().find(|(known, _)| known.to_string() == text) {
            Some((_, count)) => *count += 1,
            None => self.stop_errors.push((reason, 1)),
        }
    }

    /// Goes on with the stop that is under way: the next child, or what comes after the last.
    pub(super) fn stop_next(&mut self, now: Instant) {
        loop {
            let rest = match &mut self.task {
                Task::GroupStop { rest, .. } | Task::RollBack { rest, .. } | Task::Shutdown { rest, .. } => {
                    rest
                }
                Task::Terminate { .. } | Task::Renew { .. } => break,
                _ => return,
            };
            // The last started is stopped first, since it may use those before it. It stays in the list until
            // it has ended: its end comes back to this loop.
            let Some(slot) = rest.last().copied() else { break };
            if self.begin_stop(now, slot) {
                return;
            }
            self.after_stop(slot);
            if let Task::GroupStop { rest, .. } | Task::RollBack { rest, .. } | Task::Shutdown { rest, .. } =
                &mut self.task
            {
                rest.pop();
            }
        }
        // A start under way counts as well (a supervisor that is killed amid one): ended before it, the
        // machine would never hear of the child that comes of it.
        if self.stops_left > 0 || self.awaiting.is_some() {
            return;
        }
        // Not before all have ended. What comes next may start the same children again, and two runs of one
        // would be up at once.
        match std::mem::replace(&mut self.task, Task::Idle) {
            Task::GroupStop { group, .. } => self.group_stopped(group),
            Task::RollBack { error, .. } => self.init_failed(error),
            Task::Shutdown { reason, .. } => self.end(reason),
            Task::Terminate { caller, slot } => {
                self.drop_run(slot);
                self.actions.push_back(Action::Reply(caller, Reply::TerminateChild(Ok(()))));
            }
            Task::Renew { caller, slot } => {
                // One that was parked or waited for its restart had nothing to stop. Nor is one forgotten here that a new
                // template has made temporary: whoever asked would wait for a start of nobody.
                if let Some(child) = self.children.get_mut(&slot) {
                    child.life = Life::Stopped;
                }
                self.task = Task::RestartChild { caller };
                self.begin_start(slot);
            }
            task => self.task = task,
        }
    }

    /// A member of a stopped group: a temporary child is forgotten, a waiting restart is called off.
    fn after_stop(&mut self, slot: u64) {
        let Some(child) = self.children.get_mut(&slot) else { return };
        self.timers.replace(slot, &mut child.timer, None);
        if child.is_temporary() {
            self.remove(slot);
        } else {
            child.life = Life::Stopped;
        }
    }

    /// Stops every child, then ends with `reason`: one after another, or all at once when they come and go.
    pub(super) fn begin_shutdown(&mut self, now: Instant, reason: ExitReason) {
        let slots = self.slots();
        // One after another only where the order means something. Children that come and go are all told at
        // once: 100,000 of them with five seconds each would otherwise take days.
        if !self.stops_at_once && !self.killed {
            self.task = Task::Shutdown { reason, rest: slots };
        } else {
            self.task = Task::Shutdown { reason, rest: Vec::new() };
            for slot in slots {
                self.begin_stop(now, slot);
            }
        }
        self.stop_next(now);
    }

    fn end(&mut self, reason: ExitReason) {
        let errors = std::mem::take(&mut self.stop_errors);
        if let Mode::Template(spec) = &self.mode {
            for (reason, count) in errors {
                let offender =
                    super::child::Child::<H>::new((**spec).clone(), 0, 0).offender(OffenderPid::Many(count));
                let report = Report::Error(Context::ShutdownError, Reason::Exit(reason), offender);
                if !self.killed {
                    self.actions.push_back(Action::Report(report));
                }
            }
        }
        self.finish(reason);
    }

    /// The supervisor was killed: whatever it did is off, and all children go at once.
    pub(super) fn on_killed(&mut self, now: Instant) {
        if self.is_finished() || self.killed {
            return;
        }
        self.killed = true;
        match std::mem::replace(&mut self.task, Task::Idle) {
            Task::StartChild { caller }
            | Task::RestartChild { caller }
            | Task::Terminate { caller, .. }
            | Task::Renew { caller, .. } => {
                // The task is dropped here, and its caller with it: nobody else would answer.
                self.actions.push_back(Action::Reply(caller, Reply::NoProc));
            }
            Task::Init { .. } | Task::RollBack { .. } => {
                let error = super::InitError::Stopped(ExitReason::Killed);
                self.actions.push_back(Action::Initialized(Err(error)));
            }
            Task::Done => return,
            _ => {}
        }
        // The reason is `killed` whatever was under way, and a stop with another reason that waits is
        // overtaken.
        self.begin_shutdown(now, ExitReason::Killed);
    }

    pub(super) fn on_tick(&mut self, now: Instant) {
        while let Some(slot) = self.timers.take_due(now) {
            let Some(child) = self.children.get_mut(&slot) else { continue };
            child.timer = None;
            let pid = child.run_id();
            match (child.stopping, &child.life) {
                (Some(Stopping::Asked), Life::Running(handle)) => {
                    let handle = handle.clone();
                    // Its end is still waited for: a handler that does not yield cannot be interrupted, and a
                    // run that is given up while it lives would meet its successor.
                    child.stopping = Some(Stopping::Killed);
                    self.actions.push_back(Action::Kill(pid, handle));
                    if let Some(at) = now.checked_add(KILL_GRACE) {
                        self.set_timer(slot, at);
                    }
                }
                (Some(Stopping::Killed), Life::Running(handle)) => {
                    let offender = child.offender(OffenderPid::Running(pid, handle.clone()));
                    // Said once, and waited for without limit: there is nothing harder than a kill, and no
                    // deadline is set after this.
                    child.stopping = Some(Stopping::Quarantined);
                    self.actions.push_back(Action::Report(Report::Quarantined(offender)));
                }
                // Several may be due at once: the first makes the machine busy, and the others become letters
                // below.
                (None, Life::Restarting(_)) if matches!(self.task, Task::Idle) => {
                    self.restart_now(now, slot);
                }
                // Busy with another child: the retry follows as soon as that is done.
                (None, Life::Restarting(_)) => self.mailbox.push_back(Letter::Retry(pid)),
                // The deadline of a child that was restarted, or ended, another way.
                _ => {}
            }
        }
    }
}

/// Whether a stopped child ended in a way that needs no report: OTP's `shutdown/1`, Elixir's `wait_child/4`.
fn ends_as_told<S>(spec: &ChildSpec<S>, reason: &ExitReason, elixir: bool, was_dead: bool) -> bool {
    let may_end = spec.restart != Restart::Permanent;
    let brutal = spec.effective_shutdown() == Shutdown::BrutalKill;
    match reason {
        ExitReason::Normal => may_end && !(elixir && brutal && !was_dead),
        // Elixir reports a child that was dead before it was told whatever it died of, but for `normal` where
        // that is allowed.
        _ if elixir && was_dead => false,
        // Where no kill was ordered, a deadline has passed or somebody else killed it: OTP reports that.
        ExitReason::Killed => brutal,
        ExitReason::Shutdown => !brutal || may_end && !elixir,
        ExitReason::ShutdownWith(_) if elixir => !brutal,
        ExitReason::ShutdownWith(_) => may_end,
        _ => false,
    }
}
