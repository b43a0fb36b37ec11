//! The restart budget: so many restarts within so many seconds.
//!
//! The rule is OTP's, to the second: the clock is read in whole seconds, restarts at `now - max_seconds` or later are
//! counted, and the one that makes more than `max_restarts` exhausts the budget. So the window is between
//! `max_seconds` and `max_seconds + 1` long. A ring of times makes it O(1), however many restarts are in the window.

use std::collections::VecDeque;
use std::time::Instant;

/// Counts restarts in a sliding window.
#[derive(Debug, Clone)]
pub struct Budget {
    max_restarts: u32,
    max_seconds: u32,
    epoch: Instant,
    /// Seconds since `epoch`, oldest first; at most `max_restarts + 1` of them.
    times: VecDeque<u64>,
}

impl Budget {
    /// Makes a budget of `max_restarts` in `max_seconds`, whose seconds begin at `epoch`.
    #[must_use]
    pub fn new(max_restarts: u32, max_seconds: u32, epoch: Instant) -> Self {
        Self { max_restarts, max_seconds, epoch, times: VecDeque::new() }
    }

    /// Counts a restart at `now`, and says whether the budget allows it.
    pub fn spend(&mut self, now: Instant) -> bool {
        // Whole seconds, as OTP's supervisor reads its clock: finer ones would refuse, or allow, a restart at
        // the edge of the window where OTP does the other.
        let second = now.saturating_duration_since(self.epoch).as_secs();
        // A restart exactly `max_seconds` ago still counts, as in OTP.
        let oldest = second.saturating_sub(u64::from(self.max_seconds));
        while self.times.front().is_some_and(|time| *time < oldest) {
            self.times.pop_front();
        }
        // One entry more than the limit already says "exhausted". Without this a child that is tried again
        // and again would make the ring as long as its history.
        if self.times.len() as u64 > u64::from(self.max_restarts) {
            self.times.pop_front();
        }
        // A restart that is refused counts as well, as in OTP.
        self.times.push_back(second);
        self.times.len() as u64 <= u64::from(self.max_restarts)
    }

    /// Changes the limits and keeps what was counted.
    pub fn set_limits(&mut self, max_restarts: u32, max_seconds: u32) {
        self.max_restarts = max_restarts;
        self.max_seconds = max_seconds;
    }

    /// Forgets every restart.
    pub fn reset(&mut self) {
        self.times.clear();
    }

    /// How many restarts are remembered; the window is only cleaned when one is spent.
    #[must_use]
    pub fn spent(&self) -> usize {
        self.times.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_restart_after_the_last_allowed_one_exhausts_the_budget() {
        let now = Instant::now();
        let mut budget = Budget::new(2, 5, now);
        assert!(budget.spend(now));
        assert!(budget.spend(now));
        assert!(!budget.spend(now));
    }

    #[test]
    fn restarts_leave_the_window_after_max_seconds_and_one() {
        let now = Instant::now();
        let mut budget = Budget::new(1, 2, now);
        assert!(budget.spend(now));
        let mut later = budget.clone();
        assert!(!budget.spend(now + Duration::from_millis(2_999)));
        assert!(later.spend(now + Duration::from_secs(3)));
    }

    #[test]
    fn a_budget_of_zero_allows_nothing() {
        let now = Instant::now();
        assert!(!Budget::new(0, 5, now).spend(now));
    }

    #[test]
    fn the_ring_never_grows_past_the_limit() {
        let now = Instant::now();
        let mut budget = Budget::new(3, 5, now);
        for _ in 0..100 {
            budget.spend(now);
        }
        assert_eq!(budget.spent(), 4);
    }
}
