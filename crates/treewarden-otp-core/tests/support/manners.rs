//! How the children of the model behave when they are told to stop.

use std::time::Duration;

use treewarden_otp_core::supervisor::{ChildSpec, Restart, Shutdown};

/// How a child takes its stop, and how long it is waited for; all of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Manners {
    /// How long it needs; `None` for a child that does not listen.
    pub(crate) takes: Option<u64>,
    pub(crate) shutdown: Shutdown,
}

impl Manners {
    fn of(kind: u8) -> Self {
        let takes = [Some(0), Some(0), Some(300), Some(900), None][usize::from(kind % 5)];
        let shutdown = match kind / 5 % 4 {
            0 => Shutdown::BrutalKill,
            // A child that does not listen would be waited for without end.
            1 if takes.is_some() => Shutdown::Infinity,
            1 | 2 => Shutdown::Timeout(Duration::from_millis(500)),
            _ => Shutdown::Timeout(Duration::from_millis(1200)),
        };
        Self { takes, shutdown }
    }
}

/// By their names, so that a child that is started by a call has manners too.
pub(crate) fn manners(seed: u8, id: &str) -> Manners {
    let number: u8 = id.trim_start_matches('c').parse().unwrap_or(0);
    Manners::of(seed.wrapping_add(number.wrapping_mul(37)))
}

/// The spec of a child, which waits for it as its manners say.
pub(crate) fn spec(seed: u8, id: &str, restart: Restart) -> ChildSpec<()> {
    let mut spec = ChildSpec::new(id, ());
    spec.shutdown = Some(manners(seed, id).shutdown);
    spec.restart = restart;
    spec
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
