//! The machine's deadlines: at most one for each child, so that a deadline that is met leaves nothing behind.

use std::collections::BTreeSet;
use std::time::Instant;

/// A set of deadlines, one for each slot.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, u64)>);

impl Timers {
    /// Sets the deadline of a slot in place of the one it has, which is `current`.
    pub(super) fn replace(&mut self, slot: u64, current: &mut Option<Instant>, new: Option<Instant>) {
        if let Some(at) = current.take() {
            self.0.remove(&(at, slot));
        }
        if let Some(at) = new {
            self.0.insert((at, slot));
            *current = new;
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes one deadline that has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop_first().map(|(_, slot)| slot)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The deadlines of slots 0 to 3, in seconds from the start.
    fn timers(seconds: [u64; 4]) -> (Timers, [Option<Instant>; 4], Instant) {
        let (begin, mut timers, mut current) = (Instant::now(), Timers::default(), [None; 4]);
        for (slot, at) in seconds.into_iter().enumerate() {
            timers.replace(slot as u64, &mut current[slot], Some(begin + Duration::from_secs(at)));
        }
        (timers, current, begin)
    }

    fn due(timers: &mut Timers, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| timers.take_due(now)).collect()
    }

    #[test]
    fn deadlines_come_in_their_order_whichever_was_set_first() {
        let (mut timers, _, begin) = timers([3, 1, 4, 2]);
        assert_eq!(timers.next(), Some(begin + Duration::from_secs(1)));
        assert_eq!(due(&mut timers, begin + Duration::from_secs(3)), [1, 3, 0]);
        assert_eq!(timers.next(), Some(begin + Duration::from_secs(4)));
    }

    #[test]
    fn a_deadline_that_is_off_or_moved_does_not_come() {
        let (mut timers, mut current, begin) = timers([3, 1, 4, 2]);
        timers.replace(0, &mut current[0], None);
        timers.replace(1, &mut current[1], Some(begin + Duration::from_secs(9)));
        timers.replace(3, &mut current[3], None);
        assert_eq!(due(&mut timers, begin + Duration::from_secs(8)), [2]);
        assert_eq!(due(&mut timers, begin + Duration::from_secs(9)), [1]);
        assert_eq!(timers.next(), None);
    }
}
