//! How long a child waits between restarts, when its spec asks for that.
//!
//! OTP restarts at once; so do we unless told otherwise. With a back-off the first restart of a child that ran well is
//! still immediate; each further one waits longer, until the child has been stable for a while. The value holds no
//! state and no clock: the supervisor machine counts the failures and brings the randomness.

use std::fmt;
use std::time::Duration;

/// An exponential delay with jitter, which starts anew after a stable run.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    factor: f64,
    jitter: f64,
    reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(200),
            max: Duration::from_secs(60),
            // 200 ms, doubled each time, comes to the 60 s of `max` with the tenth delay.
            factor: 2.0,
            jitter: 0.2,
            reset_after: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// Makes a back-off that begins at `initial`, doubles, and never waits longer than `max`.
    #[must_use]
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, ..Self::default() }
    }

    /// Sets by how much each delay is longer than the one before; values below 1 count as 1.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = if factor.is_finite() { factor.max(1.0) } else { 1.0 };
        self
    }

    /// Sets the share of each delay that is random: 0.2 means between 80 % and 120 %.
    #[must_use]
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.0 };
        self
    }

    /// Sets how long a child must run before its failures are forgotten.
    #[must_use]
    pub fn reset_after(mut self, stable: Duration) -> Self {
        self.reset_after = stable;
        self
    }

    /// The run after which earlier failures no longer count.
    #[must_use]
    pub fn stable_run(&self) -> Duration {
        self.reset_after
    }

    /// The delay before a restart, after `failures` earlier ones in a row; `random` is in `0.0..1.0`.
    ///
    /// The first restart is immediate.
    #[must_use]
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        // A back-off that begins with nothing stays there: zero times the infinite power of a long row of
        // failures is no number, of which `min` would make the maximum.
        if failures == 0 || self.initial.is_zero() {
            return Duration::ZERO;
        }
        // A long row of failures makes the power infinite, not wrong: the maximum then takes its place.
        let exponent = i32::try_from(failures - 1).unwrap_or(i32::MAX);
        let seconds = (self.initial.as_secs_f64() * self.factor.powi(exponent)).min(self.max.as_secs_f64());
        // Without the random part the children of a group that crashed together would be restarted together
        // each time, and meet again at whatever refused them.
        let spread = 1.0 + self.jitter * (random.clamp(0.0, 1.0) * 2.0 - 1.0);
        // The maximum is applied once more, since the jitter may go beyond it. As a float a maximum near the
        // longest `Duration` is rounded up to what no `Duration` holds: then it is the maximum itself.
        Duration::try_from_secs_f64((seconds * spread).min(self.max.as_secs_f64())).unwrap_or(self.max)
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { initial, max, factor, jitter, reset_after } = self;
        write!(f, "{initial:?}, times {factor} up to {max:?}, jitter {jitter}, anew after {reset_after:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_and_the_others_grow_to_the_maximum() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350)).jitter(0.0);
        let delays: Vec<_> = (0..5).map(|n| backoff.delay(n, 0.5).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 350, 350]);
    }

    #[test]
    fn jitter_stays_within_its_share_and_below_the_maximum() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1)).jitter(0.5);
        assert_eq!(backoff.delay(1, 0.0).as_millis(), 50);
        assert_eq!(backoff.delay(1, 1.0).as_millis(), 150);
        assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_secs(1));
    }

    #[test]
    fn a_back_off_of_nothing_is_nothing_however_long_the_row_of_failures() {
        let backoff = Backoff::new(Duration::ZERO, Duration::from_secs(60));
        for failures in [1, 1_024, 1_100, u32::MAX] {
            assert_eq!(backoff.delay(failures, 1.0), Duration::ZERO, "after {failures}");
        }
    }
}
