//! The patience of an opening: what another process keeps locked is asked for again until one deadline.
//!
//! SQLite's own timeout does not cover it. It is not asked where waiting could be a deadlock (two processes that switch
//! a new database to its log at once), nor where the log of a killed process is being recovered for longer, nor where
//! the last user of the database removes its log. Each of these ends by itself, as a lock ends with its holder.

use std::path::Path;
use std::time::{Duration, Instant};

use treewarden_store::{StoreError, StoreErrorKind};

use crate::error::{Fault, refused};
use crate::locker;

/// How long an opening waits for other processes, counted from when it was asked for.
pub(crate) const OPENING: Duration = Duration::from_secs(30);
/// How long it is waited where a caller waits with it.
const OPEN_STORE: Duration = Duration::from_secs(2);
/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_millis(50);
/// When a wait is said that whoever looks on would take for a program that hangs, and how often from then on.
const SAID: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// One deadline for all that is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    since: Instant,
    until: Instant,
    /// It is said in the log what is waited for, and how long when it was in vain: nobody else says it.
    is_told: bool,
}

impl Patience {
    /// Begins to wait now.
    pub(crate) fn of_an_opening(within: Duration) -> Self {
        let now = Instant::now();
        Self { since: now, until: now + within, is_told: true }
    }

    /// Begins to wait now, for what is asked of a store that is open.
    pub(crate) fn of_an_open_store() -> Self {
        Self::until(Instant::now() + OPEN_STORE)
    }

    pub(crate) fn until(until: Instant) -> Self {
        Self { since: Instant::now(), until, is_told: false }
    }

    /// Runs `attempt`, at the file of this path, until it ends in something else than [`StoreErrorKind::Busy`], or the deadline is
    /// over.
    ///
    /// An attempt leaves nothing behind that a further one could not begin with.
    pub(crate) fn run<T>(self, at: &Path, mut attempt: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
        let mut pause = Duration::from_millis(1);
        let mut say_at = self.since + SAID.0;
        loop {
            let fault = match attempt() {
                Err(fault) if fault.kind() == StoreErrorKind::Busy => fault,
                ended => return ended,
            };
            let now = Instant::now();
            if now >= self.until {
                return Err(if self.is_told { self.in_vain(at, fault) } else { fault });
            }
            if self.is_told && now >= say_at {
                say_at = now + SAID.1;
                self.say(at, &fault);
            }
            std::thread::sleep(pause);
            pause = LONGEST.min(pause * 2);
        }
    }

    /// What is waited for, and until when.
    fn say(self, at: &Path, fault: &Fault) {
        let (waited, most) = (self.since.elapsed().as_secs(), (self.until - self.since).as_secs());
        let by = by(at);
        tracing::error!(
            %fault,
            "{} is kept locked by {by}: waited for {waited} s so far, and {most} s at most; end that program, and the wait is over",
            at.display()
        );
    }

    fn in_vain(self, at: &Path, fault: Fault) -> Fault {
        let (waited, by) = (self.since.elapsed().as_secs(), by(at));
        match fault {
            // It has words of its own for what keeps it locked.
            Fault::Told(error) => {
                let text = format!("{error} (waited for {waited} s; the system names {by})");
                StoreError::new(error.kind(), text).into()
            }
            fault => {
                let why = format!(
                    "{by} has kept it locked for the {waited} s that were waited ({fault}); end that program, as one that copies or \
                     looks at the database, and start again"
                );
                refused(at, StoreErrorKind::Busy, &why)
            }
        }
    }
}

/// Who has the file locked.
fn by(at: &Path) -> String {
    match locker::of(at) {
        Some(who) => format!("another program ({who})"),
        None => "another program".to_owned(),
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
        let ended = Patience::of_an_opening(OPENING).run(Path::new("a file"), || {
            left -= 1;
            if left > 0 { Err(failure(StoreErrorKind::Busy)) } else { Ok("opened") }
        });
        assert_eq!(ended.expect("it is opened at last"), "opened");
    }

    #[test]
    fn another_failure_is_told_at_once() {
        let mut asked = 0;
        let ended = Patience::of_an_opening(OPENING).run(Path::new("a file"), || {
            asked += 1;
            Err::<(), _>(failure(StoreErrorKind::DiskFull))
        });
        assert_eq!(ended.expect_err("it fails").kind(), StoreErrorKind::DiskFull);
        assert_eq!(asked, 1);
    }

    #[test]
    fn an_opening_that_waited_in_vain_says_for_what_how_long_and_what_to_do() {
        let now = Instant::now();
        let over = Patience { since: now, until: now, is_told: true };
        let busy = || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(5), None);
        let said = over.run(Path::new("/x/treewarden.db"), || Err::<(), _>(busy().into()));
        let said = said.expect_err("it stays locked");
        assert_eq!(said.kind(), StoreErrorKind::Busy);
        for part in ["/x/treewarden.db", "another program", "0 s", "end that program"] {
            assert!(said.to_string().contains(part), "{said}");
        }
        let told = over.run(Path::new("/x/lock"), || Err::<(), _>(failure(StoreErrorKind::Busy)));
        let told = told.expect_err("it stays locked").to_string();
        assert!(told.starts_with("it fails") && told.contains("waited for 0 s"), "{told}");
    }

    #[test]
    fn a_database_that_stays_busy_is_told_after_the_deadline() {
        let over = Patience::until(Instant::now());
        let ended = over.run(Path::new("a file"), || Err::<(), _>(failure(StoreErrorKind::Busy)));
        assert_eq!(ended.expect_err("it stays busy").kind(), StoreErrorKind::Busy);
    }
}
