//! Whether the database can be written now: a full disk is told as long as it is full, and not only to who asked.
//!
//! It is for what a person has to see to. It is not for whether one write is tried again. It keeps no time but what it is told, and
//! must never be stored: what cannot be written is the database itself.

use std::time::{Duration, Instant};

use treewarden_store::{Problem, ProblemKind, StoreError, now};

/// A smaller write than was refused shows nothing of that one, unless it is about as large.
const ALIKE: usize = 64 << 10;

/// An outcome that is refused is tried again sooner than that: one that was refused before is not tried any more.
const SINCE: Duration = Duration::from_secs(15);

/// What keeps the database from being written, if anything does.
#[derive(Debug, Default)]
pub(crate) struct Unwritable(Option<Refused>);

#[derive(Debug)]
struct Refused {
    problem: Problem,
    /// The largest write that was refused.
    bytes: usize,
    last: Instant,
}

impl Unwritable {
    /// A write of about so many bytes was refused; `true` if that is news.
    pub(crate) fn refused(&mut self, key: &str, error: &StoreError, bytes: usize, at: Instant) -> bool {
        if let Some(refused) = &mut self.0 {
            (refused.bytes, refused.last) = (refused.bytes.max(bytes), at);
            return false;
        }
        let reason = format!("what happens is not stored at present: failed to {error}");
        let problem = Problem::new(ProblemKind::Unwritable, key, reason, now());
        self.0 = Some(Refused { problem, bytes, last: at });
        true
    }

    /// A write of about so many bytes is stored; `true` if that ends it.
    ///
    /// A small one may have room where a large one has none that is tried again and again: told as over each time, and as new
    /// again, it would fill the events.
    pub(crate) fn stored(&mut self, bytes: usize, at: Instant) -> bool {
        let is_over = |refused: &Refused| {
            bytes.saturating_add(ALIKE) >= refused.bytes
                || at.saturating_duration_since(refused.last) >= SINCE
        };
        self.0.take_if(|refused| is_over(refused)).is_some()
    }

    /// It is taken for over, whatever was stored since.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    pub(crate) fn problem(&self) -> Option<&Problem> {
        self.0.as_ref().map(|refused| &refused.problem)
    }
}

#[cfg(test)]
mod tests {
    use treewarden_store::StoreErrorKind;

    use super::*;

    #[test]
    fn it_is_told_once_and_until_a_write_of_that_size_is_stored() {
        let (mut state, begin) = (Unwritable::default(), Instant::now());
        let error = StoreError::new(StoreErrorKind::DiskFull, "use x: the disk is full");
        assert!(!state.stored(1 << 20, begin), "there is nothing to end");
        assert!(state.refused("x", &error, 8 << 20, begin));
        assert!(!state.refused("x", &error, 100, begin), "it is known");
        let problem = state.problem().expect("told");
        assert_eq!((problem.kind, &*problem.key, problem.number), (ProblemKind::Unwritable, "x", 0));
        assert!(problem.reason.ends_with("failed to use x: the disk is full"), "{problem:?}");
        assert!(!state.stored(100, begin), "there is room for a small one");
        assert!(state.stored(8 << 20, begin));
        assert_eq!(state.problem(), None);
        assert!(state.refused("x", &error, 100, begin), "that is news");
        assert!(state.stored(0, begin), "one that is about as large");
    }

    #[test]
    fn any_write_ends_it_once_nothing_is_refused_any_more() {
        let (mut state, begin) = (Unwritable::default(), Instant::now());
        let error = StoreError::new(StoreErrorKind::DiskFull, "use x: the disk is full");
        state.refused("x", &error, 8 << 20, begin);
        state.refused("x", &error, 8 << 20, begin + SINCE);
        assert!(!state.stored(100, begin + SINCE));
        assert!(state.stored(100, begin + 2 * SINCE));
    }
}
