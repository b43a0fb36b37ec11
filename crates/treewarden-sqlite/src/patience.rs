//! The patience of an opening: what another process keeps locked is asked for again until one deadline.
//!
//! SQLite's own timeout does not cover it. It is not asked where waiting could be a deadlock (two processes that switch
//! a new database to its log at once), nor where the log of a killed process is being recovered for longer, nor where
//! the last user of the database removes its log. Each of these ends by itself, as a lock ends with its holder.

use std::time::{Duration, Instant};

use treewarden_store::StoreErrorKind;

use crate::error::Fault;

/// How long an opening waits for other processes, counted from when it was asked for.
const OPENING: Duration = Duration::from_secs(30);
/// How long it is waited where a caller waits with it.
const OPEN_STORE: Duration = Duration::from_secs(2);
/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_millis(50);

/// One deadline for all that is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    until: Instant,
}

impl Patience {
    /// Begins to wait now.
    pub(crate) fn of_an_opening() -> Self {
        Self::until(Instant::now() + OPENING)
    }

    /// Begins to wait now, for what is asked of a store that is open.
    pub(crate) fn of_an_open_store() -> Self {
        Self::until(Instant::now() + OPEN_STORE)
    }

    pub(crate) fn until(until: Instant) -> Self {
        Self { until }
    }

    /// Runs `attempt` until it ends in something else than [`StoreErrorKind::Busy`], or the deadline is over.
    ///
    /// An attempt leaves nothing behind that a further one could not begin with.
    pub(crate) fn run<T>(self, mut attempt: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
        let mut pause = Duration::from_millis(1);
        loop {
            match attempt() {
                Err(fault) if fault.kind() == StoreErrorKind::Busy && Instant::now() < self.until => {
                    tracing::debug!(%fault, "another process is at the state database; it is asked again");
                    std::thread::sleep(pause);
                    pause = LONGEST.min(pause * 2);
                }
                ended => return ended,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use treewarden_store::StoreError;

    use super::*;

    fn failure(kind: StoreErrorKind) -> Fault {
        StoreError::new(kind, "it fails").into()
    }

    #[test]
    fn a_busy_database_is_asked_again_until_it_answers() {
        let mut left = 5;
        let ended = Patience::of_an_opening().run(|| {
            left -= 1;
            if left > 0 { Err(failure(StoreErrorKind::Busy)) } else { Ok("opened") }
        });
        assert_eq!(ended.expect("it is opened at last"), "opened");
    }

    #[test]
    fn another_failure_is_told_at_once() {
        let mut asked = 0;
        let ended = Patience::of_an_opening().run(|| {
            asked += 1;
            Err::<(), _>(failure(StoreErrorKind::DiskFull))
        });
        assert_eq!(ended.expect_err("it fails").kind(), StoreErrorKind::DiskFull);
        assert_eq!(asked, 1);
    }

    #[test]
    fn a_database_that_stays_busy_is_told_after_the_deadline() {
        let over = Patience::until(Instant::now());
        let ended = over.run(|| Err::<(), _>(failure(StoreErrorKind::Busy)));
        assert_eq!(ended.expect_err("it stays busy").kind(), StoreErrorKind::Busy);
    }
}
