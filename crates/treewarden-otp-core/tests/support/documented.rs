//! What the documentation says of all supervisors: the part that both models share.

use std::collections::VecDeque;

use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{Flags, Shutdown};

use crate::driven::{Did, Outcome, outcome};
use crate::manners::{Manners, millis};

/// The stop of a child that runs.
pub(crate) struct Stop {
    pub(crate) told: Did,
    /// What is done to it at its deadline.
    pub(crate) late: Option<Did>,
    /// In milliseconds.
    pub(crate) took: u64,
}

impl Stop {
    /// "brutal_kill: terminated with exit(Child, kill). An integer: the supervisor tells the child to terminate, and
    /// waits; if no exit signal is received within that time, the child is terminated with exit(Child, kill)."
    pub(crate) fn of(id: &str, Manners { takes, shutdown }: Manners) -> Self {
        let id = id.to_owned();
        match (shutdown, takes) {
            (Shutdown::BrutalKill, _) => Self { told: Did::Killed(id), late: None, took: 0 },
            (Shutdown::Timeout(limit), takes) if takes.is_none_or(|takes| takes > millis(limit)) => {
                Self { told: Did::Stopped(id.clone()), late: Some(Did::Killed(id)), took: millis(limit) }
            }
            (_, takes) => Self { told: Did::Stopped(id), late: None, took: takes.unwrap_or(0) },
        }
    }
}

/// "Abnormally: with another reason than normal, shutdown, or {shutdown, Term}."
pub(crate) fn is_clean(reason: &ExitReason) -> bool {
    matches!(reason, ExitReason::Normal | ExitReason::Shutdown | ExitReason::ShutdownWith(_))
}

/// What a supervisor has done, and what it goes by, whichever its kind.
pub(crate) struct Course {
    pub(crate) flags: Flags,
    /// The seconds of the restarts that count.
    restarts: Vec<u64>,
    /// In milliseconds.
    pub(crate) now: u64,
    pub(crate) manners: u8,
    pub(crate) outcomes: VecDeque<u8>,
    pub(crate) log: Vec<Did>,
    pub(crate) alive: bool,
}

impl Course {
    pub(crate) fn new(flags: Flags, manners: u8, outcomes: VecDeque<u8>) -> Self {
        Self { flags, restarts: Vec::new(), now: 0, manners, outcomes, log: Vec::new(), alive: true }
    }

    pub(crate) fn start(&mut self, id: &str) -> Outcome {
        let outcome = outcome(&mut self.outcomes);
        self.log.push(outcome.did(id.to_owned()));
        outcome
    }

    /// Stops a child that runs, and waits for it.
    pub(crate) fn stop(&mut self, id: &str, manners: Manners) {
        let Stop { told, late, took } = Stop::of(id, manners);
        self.log.push(told);
        self.log.extend(late);
        self.now += took;
    }

    /// "If more than MaxR restarts occur within MaxT seconds": counts one, and says whether there are no more.
    pub(crate) fn count_restart(&mut self) -> bool {
        let (second, period) = (self.now / 1000, u64::from(self.flags.max_seconds));
        self.restarts.retain(|past| past + period >= second);
        self.restarts.push(second);
        self.restarts.len() <= self.flags.max_restarts as usize
    }

    pub(crate) fn end(&mut self) {
        self.alive = false;
        self.log.push(Did::Ended);
    }
}
