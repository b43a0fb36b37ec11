//! How a child is supervised, whatever it is: the same four values for sessions, supervisors and registered types.
//!
//! It is not for how a supervisor itself behaves: those are its [`Flags`](treewarden_otp_core::supervisor::Flags).

use treewarden_otp_core::Backoff;
use treewarden_otp_core::supervisor::{Restart, Shutdown};

use crate::supervisor::ChildSpec;

/// How a child is supervised.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Supervision {
    /// When it is started again.
    pub restart: Restart,
    /// How it is stopped; unset is the default of its kind.
    pub shutdown: Option<Shutdown>,
    /// Whether its end counts for the supervisor's `auto_shutdown`.
    pub significant: bool,
    /// How long its restarts wait; unset is not at all.
    pub backoff: Option<Backoff>,
}

impl Supervision {
    /// The spec of a child that is supervised so.
    pub(crate) fn of(&self, spec: ChildSpec) -> ChildSpec {
        let spec = spec.restart(self.restart).significant(self.significant);
        let spec = match self.shutdown {
            Some(shutdown) => spec.shutdown(shutdown),
            None => spec,
        };
        match &self.backoff {
            Some(backoff) => spec.backoff(backoff.clone()),
            None => spec,
        }
    }
}
