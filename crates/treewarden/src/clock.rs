//! The clock of what passes while the machine sleeps, and how long the machine slept.
//!
//! It is for usage limits, which are lifted whether the machine is awake or not. It is not for deadlines of work, which stands still
//! while the machine sleeps: those go by [`Instant`].

use std::fmt;
use std::time::{Duration, Instant};

/// A clock that goes on while the machine sleeps, and that nobody can set.
///
/// A usage limit is lifted by it. Every other deadline goes by [`Instant`], which on Linux stops while the machine sleeps. A
/// program has the system's unless it gives its host another, as tests do:
/// [`HostOptions::clock`](crate::host::HostOptions::clock).
///
/// # Examples
///
/// A clock that a test moves:
///
/// ```
/// use std::sync::Mutex;
/// use std::time::Duration;
///
/// use treewarden::clock::Clock;
///
/// #[derive(Debug, Default)]
/// struct Hand(Mutex<Duration>);
///
/// impl Clock for Hand {
///     fn now(&self) -> Duration {
///         *self.0.lock().expect("no test panics with it")
///     }
/// }
///
/// let clock = Hand::default();
/// *clock.0.lock().expect("nobody has it") += Duration::from_secs(3_600);
/// assert_eq!(clock.now(), Duration::from_secs(3_600));
/// ```
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time since some moment that stays the same as long as the program lives.
    fn now(&self) -> Duration;
}

/// The system's: `CLOCK_BOOTTIME` on Linux.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        treewarden_process::time_since_boot()
    }
}

/// How far the two clocks have come apart: the machine slept for so long.
#[derive(Debug, Default)]
pub(crate) struct Sleeps {
    since: Option<(Instant, Duration)>,
}

/// What is less is two clocks that are not read at one moment.
const LEAST: Duration = Duration::from_secs(1);

impl Sleeps {
    /// Forgets what was: nothing waits for anything that passes in sleep.
    pub(crate) fn forget(&mut self) {
        self.since = None;
    }

    /// From now on something waits that passes in sleep, unless something does already.
    pub(crate) fn begin(&mut self, awake: Instant, all: Duration) {
        self.since.get_or_insert((awake, all));
    }

    /// How long the machine slept since the last call, or since the [beginning](Self::begin).
    pub(crate) fn slept(&mut self, awake: Instant, all: Duration) -> Duration {
        let (awake_then, all_then) = *self.since.get_or_insert((awake, all));
        let (awake_for, all_of_it) =
            (awake.saturating_duration_since(awake_then), all.saturating_sub(all_then));
        let slept = all_of_it.saturating_sub(awake_for);
        if slept < LEAST {
            return Duration::ZERO;
        }
        self.since = Some((awake, all));
        slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_what_the_one_clock_counts_and_the_other_does_not_and_is_told_once() {
        let seconds = Duration::from_secs;
        let (began, mut sleeps) = (Instant::now(), Sleeps::default());
        sleeps.begin(began, seconds(1000));
        sleeps.begin(began, seconds(2000));
        assert_eq!(sleeps.slept(began + seconds(10), seconds(1010)), Duration::ZERO);
        assert_eq!(sleeps.slept(began + seconds(20), seconds(4620)), seconds(3600));
        assert_eq!(sleeps.slept(began + seconds(30), seconds(4630)), Duration::ZERO);
        sleeps.forget();
        assert_eq!(sleeps.slept(began + seconds(40), seconds(9000)), Duration::ZERO, "nothing waited for it");
    }

    #[test]
    fn moments_that_were_not_the_same_are_no_sleep_until_they_are_a_second() {
        let millis = Duration::from_millis;
        let (began, mut sleeps) = (Instant::now(), Sleeps::default());
        sleeps.begin(began, millis(0));
        assert_eq!(sleeps.slept(began + millis(100), millis(600)), Duration::ZERO);
        assert_eq!(sleeps.slept(began + millis(200), millis(1300)), millis(1100), "naps add up");
    }
}
