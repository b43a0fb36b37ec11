//! When a pool of CLIs that are started ahead of their sessions is refilled.
//!
//! It counts nothing itself: whoever fills the pool says how many it has and wants. It only spaces the starts, so that a
//! refill does not take the processor from the turn that emptied the place, and a CLI that dies again and again does
//! not become a storm of starts.

use std::time::{Duration, Instant};

use treewarden_otp_core::Backoff;

/// How long a gap stays open, so that the turn that took a CLI out of the pool has the processor to itself.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a pool that found no free place waits before it looks again.
const CROWDED: Duration = Duration::from_secs(1);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a pool has and wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// How many are wanted.
    pub wanted: usize,
    /// How many there are for whoever comes, those on their way included.
    pub have: usize,
    /// How many of these are on their way.
    pub coming: usize,
}

/// What a pool does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something changes.
    Wait,
    /// Nothing before this time.
    WaitUntil(Instant),
    /// It starts one.
    Start,
}

/// The pace at which a pool is refilled; one at a time comes up.
#[derive(Debug, Clone)]
pub struct Refill {
    backoff: Backoff,
    failures: u32,
    short_since: Option<Instant>,
    not_before: Option<Instant>,
}

impl Refill {
    /// A pool whose failed starts wait as `backoff` says.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0, short_since: None, not_before: None }
    }

    /// What is to be done at `now`.
    pub fn step(&mut self, now: Instant, stock: Stock) -> Step {
        if stock.have >= stock.wanted {
            // The pool is full: the next gap has a pause of its own, since it is another turn that makes it.
            self.short_since = None;
            return Step::Wait;
        }
        // Kept over the starts that fill one gap of several: a pause before each of them would make a pool of
        // ten wait for ten seconds.
        let since = *self.short_since.get_or_insert(now);
        let due = self.not_before.map_or(since + PAUSE, |at| at.max(since + PAUSE));
        match () {
            () if due > now => Step::WaitUntil(due),
            // One at a time: a start takes more than half a second, and several at once would take the
            // processor from the turns.
            () if stock.coming > 0 => Step::Wait,
            () => Step::Start,
        }
    }

    /// Notes that a CLI of the pool, which had lived for `lived`, ended by itself.
    pub fn failed(&mut self, now: Instant, lived: Duration) {
        // One that lived long died of something else than its start.
        if lived >= self.backoff.stable_run() {
            self.failures = 0;
        }
        // 0.5 is the middle of the jitter, which so comes to nothing: a pool starts one CLI at a time, and
        // has nobody to get out of step with.
        let delay = self.backoff.delay(self.failures, 0.5);
        // A time that a clock cannot hold is as good as the next day: the unchecked sum would panic.
        self.not_before = Some(now.checked_add(delay).unwrap_or_else(|| now + DAY));
        self.failures = self.failures.saturating_add(1);
    }

    /// Notes that there was no free place for another CLI.
    pub fn crowded(&mut self, now: Instant) {
        // No failure: nothing was started, and what has to change is the places.
        self.not_before = Some(now + CROWDED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refill() -> Refill {
        Refill::new(Backoff::new(SECOND, 8 * SECOND).jitter(0.0))
    }

    fn stock(wanted: usize, have: usize, coming: usize) -> Stock {
        Stock { wanted, have, coming }
    }

    #[test]
    fn a_gap_is_filled_after_a_pause_one_at_a_time() {
        let (mut refill, now) = (refill(), Instant::now());
        assert_eq!(refill.step(now, stock(2, 0, 0)), Step::WaitUntil(now + PAUSE));
        let now = now + PAUSE;
        assert_eq!(refill.step(now, stock(2, 0, 0)), Step::Start);
        assert_eq!(refill.step(now, stock(2, 1, 1)), Step::Wait, "one is on its way");
        assert_eq!(refill.step(now, stock(2, 1, 0)), Step::Start, "the gap is as old as it was");
        assert_eq!(refill.step(now, stock(2, 2, 0)), Step::Wait);
        assert_eq!(refill.step(now, stock(2, 1, 0)), Step::WaitUntil(now + PAUSE), "a new gap");
    }

    #[test]
    fn nothing_is_started_that_is_not_wanted() {
        let mut refill = refill();
        assert_eq!(refill.step(Instant::now(), stock(0, 0, 0)), Step::Wait);
        assert_eq!(refill.step(Instant::now(), stock(1, 3, 0)), Step::Wait);
    }

    #[test]
    fn what_dies_again_and_again_waits_longer_and_longer() {
        let (mut refill, mut now) = (refill(), Instant::now());
        let mut waits = Vec::new();
        refill.step(now, stock(1, 0, 0));
        now += PAUSE;
        for _ in 0..6 {
            refill.failed(now, Duration::ZERO);
            match refill.step(now, stock(1, 0, 0)) {
                Step::WaitUntil(at) => {
                    waits.push((at - now).as_secs());
                    now = at;
                }
                step => waits.push(u64::from(step != Step::Start) * 99),
            }
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 8]);
        refill.failed(now, 60 * SECOND);
        assert_eq!(refill.step(now, stock(1, 0, 0)), Step::Start, "one that lived long counts as the first");
    }

    #[test]
    fn a_back_off_that_no_clock_can_hold_is_a_day() {
        let (mut refill, now) = (Refill::new(Backoff::new(Duration::MAX, Duration::MAX)), Instant::now());
        refill.failed(now, Duration::ZERO);
        refill.failed(now, Duration::ZERO);
        assert_eq!(refill.step(now, stock(1, 0, 0)), Step::WaitUntil(now + DAY));
    }

    #[test]
    fn a_pool_without_a_place_looks_again_later() {
        let (mut refill, now) = (refill(), Instant::now());
        refill.step(now, stock(1, 0, 0));
        let now = now + PAUSE;
        refill.crowded(now);
        assert_eq!(refill.step(now, stock(1, 0, 0)), Step::WaitUntil(now + CROWDED));
    }
}
