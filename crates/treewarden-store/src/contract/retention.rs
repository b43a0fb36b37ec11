//! How long what is settled is kept.

use std::time::Duration;

/// What [`Backend::prune`](super::Backend::prune) is to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Settled turns of each session, counted from the newest; `None` keeps any number.
    pub turns: Option<usize>,
    /// Settled turns for so long; `None` keeps them for ever. A turn stays only if both allow it.
    pub age: Option<Duration>,
    /// How long the ids of removed turns are known, so that one that is asked again is refused and not run. Of ids that say
    /// when they were made this much is known for ever ([`expiry`](crate::expiry)).
    pub ids: Duration,
}

impl Default for Keep {
    /// 1,000 turns of each session, for three months; ids for a year.
    fn default() -> Self {
        // As a config file has them: a month there is a twelfth of a year, and a year has 365.25 days.
        const MONTH: Duration = Duration::from_secs(2_630_016);
        const YEAR: Duration = Duration::from_secs(31_557_600);
        Self { turns: Some(1_000), age: Some(MONTH.saturating_mul(3)), ids: YEAR }
    }
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// So many turns.
    pub turns: usize,
    /// So many ids of turns that were removed earlier.
    pub ids: usize,
}
