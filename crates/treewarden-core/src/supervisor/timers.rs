//! The machine's deadlines: at most one for each child, so that a deadline that is met leaves nothing behind.

use std::collections::BTreeSet;
use std::time::Instant;

/// A set of deadlines, one for each slot.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeSet<(Instant, u64)>,
}

impl Timers {
    /// Sets the deadline of a slot in place of the one it has, which is `current`.
    pub(super) fn replace(&mut self, slot: u64, current: &mut Option<Instant>, new: Option<Instant>) {
        if let Some(at) = current.take() {
            self.set.remove(&(at, slot));
        }
        if let Some(at) = new {
            self.set.insert((at, slot));
            *current = new;
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes one deadline that has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        if self.next()? > now {
            return None;
        }
        self.set.pop_first().map(|(_, slot)| slot)
    }

    pub(super) fn clear(&mut self) {
        self.set.clear();
    }
}
