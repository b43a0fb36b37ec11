//! What the documentation says of all supervisors: the part that both models share.

use treewarden_core::ExitReason;
use treewarden_core::supervisor::{Flags, Shutdown};

use crate::driven::Did;
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

/// The seconds of the restarts that count.
#[derive(Debug, Default)]
pub(crate) struct Restarts(Vec<u64>);

impl Restarts {
    /// "If more than MaxR restarts occur within MaxT seconds": counts one, and says whether there are no more.
    pub(crate) fn count(&mut self, now: u64, flags: &Flags) -> bool {
        let (second, period) = (now / 1000, u64::from(flags.max_seconds));
        self.0.retain(|past| past + period >= second);
        self.0.push(second);
        self.0.len() <= flags.max_restarts as usize
    }
}
