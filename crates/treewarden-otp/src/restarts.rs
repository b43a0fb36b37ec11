//! Restarts that are asked for at once are one.
//!
//! It is for what is stopped and started as a whole, whatever that is. It counts nothing against a budget and waits for no
//! back-off: a supervisor does that, for restarts that nobody asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// The restarts of one thing, one after the other; see the [module](self).
///
/// # Examples
///
/// ```
/// # use std::cell::Cell;
/// # use treewarden_otp::restarts::Restarts;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (restarts, starts) = (Restarts::<String>::default(), Cell::new(0));
/// let stop = || async { Ok(()) };
/// let start = || async { Ok(starts.set(starts.get() + 1)) };
/// let both = tokio::join!(restarts.one(stop(), start()), restarts.one(stop(), start()));
/// assert_eq!(both, (Ok(()), Ok(())));
/// # assert!(starts.get() <= 2);
/// # }
/// ```
#[derive(Debug)]
pub struct Restarts<E> {
    /// How many restarts were asked for.
    asked: AtomicU64,
    last: Mutex<Last<E>>,
}

/// The last restart that came to an end.
#[derive(Debug)]
struct Last<E> {
    /// How many callers had asked before its start began: it is what they asked for.
    served: u64,
    ended: Result<(), E>,
}

impl<E> Default for Restarts<E> {
    fn default() -> Self {
        Self { asked: AtomicU64::new(0), last: Mutex::new(Last { served: 0, ended: Ok(()) }) }
    }
}

impl<E: Clone> Restarts<E> {
    /// Stops and starts, or waits for a restart whose start had not begun when this was asked for.
    ///
    /// One that is under way with its start is waited for, and then another is made: what it starts may be older than what
    /// the caller wants started.
    ///
    /// # Errors
    ///
    /// What `stop` ends with, which is this caller's alone, or `start`, which is told to all whom it was made for.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may have been stopped and not started; whoever waits for it then does both.
    pub async fn one(
        &self,
        stop: impl Future<Output = Result<(), E>>,
        start: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        // `Relaxed` is enough: nothing else is published by the count. A load below that misses somebody
        // makes that caller restart once more, and skips nobody.
        let mine = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut last = self.last.lock().await;
        if last.served >= mine {
            return last.ended.clone();
        }
        stop.await?;
        // Counted between the stop and the start: everybody who asked until now gets the start that follows,
        // which is as new as they can want it.
        let served = self.asked.load(Ordering::Relaxed);
        let ended = start.await;
        *last = Last { served, ended: ended.clone() };
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::join_all;
    use tokio::sync::Notify;
    use tokio::task::yield_now;

    use super::*;

    /// Something that is restarted, with a gate before each half.
    #[derive(Default)]
    struct Restarted {
        restarts: Restarts<String>,
        starts: AtomicUsize,
        may_stop: Notify,
        may_start: Notify,
    }

    impl Restarted {
        async fn restart(&self, ends: Result<(), String>) -> Result<(), String> {
            let stop = async {
                self.may_stop.notified().await;
                Ok(())
            };
            let start = async {
                self.starts.fetch_add(1, Ordering::Relaxed);
                self.may_start.notified().await;
                ends
            };
            self.restarts.one(stop, start).await
        }

        fn starts(&self) -> usize {
            self.starts.load(Ordering::Relaxed)
        }
    }

    fn restarting(
        what: &Arc<Restarted>,
        ends: Result<(), String>,
    ) -> tokio::task::JoinHandle<Result<(), String>> {
        let what = Arc::clone(what);
        tokio::spawn(async move { what.restart(ends).await })
    }

    #[tokio::test]
    async fn whoever_asks_before_the_start_begins_gets_that_start_and_its_failure() {
        for ends in [Ok(()), Err("it does not start".to_owned())] {
            let what = Arc::new(Restarted::default());
            let asked: Vec<_> = (0..3).map(|_| restarting(&what, ends.clone())).collect();
            yield_now().await;
            what.may_stop.notify_one();
            what.may_start.notify_one();
            for ended in join_all(asked).await {
                assert_eq!(ended.expect("it ends"), ends);
            }
            assert_eq!(what.starts(), 1);
        }
    }

    #[tokio::test]
    async fn whoever_asks_after_the_start_began_has_it_done_anew() {
        let what = Arc::new(Restarted::default());
        let first = restarting(&what, Ok(()));
        what.may_stop.notify_one();
        while what.starts() == 0 {
            yield_now().await;
        }
        let second = restarting(&what, Ok(()));
        yield_now().await;
        what.may_start.notify_one();
        first.await.expect("it ends").expect("started");
        what.may_stop.notify_one();
        what.may_start.notify_one();
        second.await.expect("it ends").expect("started");
        assert_eq!(what.starts(), 2);
    }

    #[tokio::test]
    async fn whoever_waits_for_one_that_is_called_off_makes_it() {
        let what = Arc::new(Restarted::default());
        let first = restarting(&what, Ok(()));
        yield_now().await;
        let second = restarting(&what, Ok(()));
        yield_now().await;
        first.abort();
        assert!(first.await.expect_err("it was called off").is_cancelled());
        what.may_stop.notify_one();
        what.may_start.notify_one();
        second.await.expect("it ends").expect("started");
        assert_eq!(what.starts(), 1);
    }
}
