//! One child, as the machine keeps it.

use std::time::Instant;

use super::event::{ChildInfo, ChildState, RunId, Types};
use super::report::{Offender, OffenderPid};
use super::spec::ChildSpec;
use crate::ExitReason;
use crate::budget::Budget;

/// Where a child is in its life.
pub(super) enum Life<C> {
    Stopped,
    Parked,
    Running(C),
    /// It waits for its restart; the run that ended, unless it ended in a group restart.
    Restarting(Option<(RunId, C)>),
}

/// How far the stop of a child has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopping {
    Asked,
    Killed,
    Quarantined,
}

pub(super) struct Child<H: Types> {
    /// The start is dropped once a temporary child runs.
    pub(super) spec: ChildSpec<Option<H::Start>>,
    pub(super) life: Life<H::Child>,
    pub(super) slot: u64,
    /// The place in the start order.
    pub(super) rank: u64,
    /// How many starts were tried.
    pub(super) incarnation: u64,
    pub(super) stopping: Option<Stopping>,
    /// The end of the run, told while the machine was busy with another child.
    pub(super) exited: Option<ExitReason>,
    /// The deadline in the machine's timers, if there is one.
    pub(super) timer: Option<Instant>,
    pub(super) failures: u32,
    pub(super) up_since: Option<Instant>,
    pub(super) last_exit: Option<ExitReason>,
    /// The child's own budget, where children are parked.
    pub(super) budget: Option<Box<Budget>>,
}

impl<H: Types> Child<H> {
    pub(super) fn new(spec: ChildSpec<H::Start>, slot: u64, rank: u64) -> Self {
        Self {
            // An option, since the start of a temporary child is dropped once it runs: OTP does not keep it
            // either, so that a million short tasks do not keep their arguments.
            spec: spec.map_start(Some),
            life: Life::Stopped,
            slot,
            rank,
            incarnation: 0,
            stopping: None,
            exited: None,
            timer: None,
            failures: 0,
            up_since: None,
            last_exit: None,
            budget: None,
        }
    }

    pub(super) fn run_id(&self) -> RunId {
        RunId { slot: self.slot, incarnation: self.incarnation }
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.spec.restart == super::Restart::Temporary
    }

    /// Says whether the run that `pid` names is this child's current one, or the one it is to be restarted from; of a child
    /// that stays down, whether it was any of its runs.
    pub(super) fn is_run(&self, pid: RunId) -> bool {
        match &self.life {
            Life::Running(_) => self.run_id() == pid,
            // A child that waits for its restart is still found by the run that ended, so that
            // `terminate_child` with the pid that a caller has can call the restart off. Elixir's
            // `DynamicSupervisor` does so.
            Life::Restarting(Some((last, _))) => *last == pid,
            Life::Restarting(None) => false,
            // It has no run, and nobody knows which was its last, since starts that failed count too. Found by none it
            // could neither be started nor be forgotten where children have no ids.
            Life::Stopped | Life::Parked => self.slot == pid.slot,
        }
    }

    /// Forgets its failures: it is restarted by hand, by somebody who has mended the cause.
    pub(super) fn forgive(&mut self) {
        // With the failures of before, its first crash would wait for the whole back-off, and a parked child, whose
        // budget is spent, would be parked again by it.
        self.failures = 0;
        if let Some(budget) = &mut self.budget {
            budget.reset();
        }
    }

    pub(super) fn info(&self) -> ChildInfo<H::Child> {
        let state = match &self.life {
            Life::Running(child) => ChildState::Running(self.run_id(), child.clone()),
            Life::Restarting(_) => ChildState::Restarting,
            Life::Stopped => ChildState::Stopped,
            Life::Parked => ChildState::Parked,
        };
        ChildInfo { id: self.spec.id.clone(), state, kind: self.spec.kind }
    }

    /// The run as a report shows it now.
    pub(super) fn offender_pid(&self) -> OffenderPid<H::Child> {
        match &self.life {
            Life::Running(child) => OffenderPid::Running(self.run_id(), child.clone()),
            // OTP's reports show `{restarting, OldPid}` here.
            Life::Restarting(last) => OffenderPid::Restarting(last.clone()),
            Life::Stopped | Life::Parked => OffenderPid::Undefined,
        }
    }

    pub(super) fn offender(&self, pid: OffenderPid<H::Child>) -> Offender<H::Child> {
        Offender {
            id: self.spec.id.clone(),
            pid,
            restart: self.spec.restart,
            significant: self.spec.significant,
            shutdown: self.spec.effective_shutdown(),
            kind: self.spec.kind,
        }
    }
}
