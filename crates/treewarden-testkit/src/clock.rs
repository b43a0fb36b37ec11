//! Time in tests: a clock that a test advances, and a poll with a deadline.
//!
//! A test polls for what it waits for, and never sleeps until it should be there: on a busy machine it is not. A deadline is there to
//! end a test that would hang, so it may be generous; two minutes cost nothing where all is well.
//!
//! It is not for measuring: none of these says how long something took. Nor does any of them spawn a task or a thread; a poll runs where
//! it is called.

use std::time::{Duration, Instant};

/// A clock that stands still until it is advanced, to drive machines that take `now`.
///
/// It is not the clock of tokio, which `tokio::time::pause` stops: this one is for code that sleeps nowhere and is told the time. A clone
/// stands where the original stood, and is advanced by itself from then on. It cannot be set back, as an [`Instant`] never is.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use treewarden_testkit::VirtualClock;
///
/// let mut clock = VirtualClock::new();
/// let before = clock.now();
/// assert_eq!(clock.advance(Duration::from_secs(5)) - before, Duration::from_secs(5));
/// ```
#[derive(Debug, Clone)]
pub struct VirtualClock(Instant);

impl VirtualClock {
    /// Makes a clock that stands at an arbitrary instant.
    ///
    /// It is the real time of the call, so two clocks begin apart: compare the instants of one clock only.
    #[expect(clippy::new_without_default, reason = "a clock's start is not a neutral value")]
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// The instant at which the clock stands.
    pub fn now(&self) -> Instant {
        self.0
    }

    /// Moves the clock forward, and returns where it stands then.
    ///
    /// # Panics
    ///
    /// If the instant is more than the platform can count, which takes an advance of centuries.
    pub fn advance(&mut self, by: Duration) -> Instant {
        self.0 += by;
        self.0
    }
}

/// Polls `check` until it gives a value or the time is over; `None` means that it was over.
///
/// It looks every 5 ms, once at least, and once more when the time is over. It blocks its thread: on a runtime use [`eventually`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use treewarden_testkit::poll_until;
///
/// let dir = std::env::temp_dir();
/// let found = poll_until(Duration::from_secs(120), || dir.is_dir().then_some("it is there"));
/// assert_eq!(found, Some("it is there"));
/// assert_eq!(poll_until(Duration::ZERO, || None::<()>), None);
/// ```
pub fn poll_until<T>(limit: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        // Looked at before the clock, so that what came about during the last sleep counts.
        if let Some(value) = check() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Polls an async `check` until it gives a value or the time is over; `None` means that it was over.
///
/// The time is tokio's, so under a paused clock it costs none.
///
/// It looks every 5 ms, once at least. Unlike [`poll_until`] it cuts a check short that is under way when the time is over, so that one
/// which hangs cannot hang the test.
///
/// # Cancel safety
///
/// Cancel safe: a check under way is dropped.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use treewarden_testkit::eventually;
///
/// let mut left = 3;
/// let found = eventually(Duration::from_secs(5), || {
///     left -= 1;
///     let done = left == 0;
///     async move { done.then_some("done") }
/// });
/// assert_eq!(found.await, Some("done"));
/// # }
/// ```
pub async fn eventually<T, F>(limit: Duration, mut check: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        // A check that hangs must not outlive the time.
        match tokio::time::timeout_at(deadline, check()).await {
            Ok(Some(value)) => return Some(value),
            Ok(None) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            _ => return None,
        }
    }
}
