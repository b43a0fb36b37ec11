//! Has a host's store remove what is old, from time to time.
//!
//! It is for when: how much is kept is the host's option, and which turns are old the store's to say. It must never keep a host
//! alive, nor wait for a store while it does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use treewarden_store::Keep;

use crate::host::{Host, Inner};

/// When it is done.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// After the host was opened: the start of a tree has enough to do, and one that fails at once should change nothing.
    first: Duration,
    /// From then on, where few turns are settled.
    every: Duration,
    /// Sooner once so many were settled since: a session that is asked ten times a second would have 36,000 turns more by the next
    /// hour, about 50 MB.
    after: usize,
    /// But not sooner than this: each time every session is looked at.
    apart: Duration,
}

impl Pace {
    const USUAL: Self = Self {
        first: Duration::from_secs(60),
        every: Duration::from_secs(60 * 60),
        after: 1000,
        apart: Duration::from_secs(60),
    };
}

/// How many turns were settled since the last time.
#[derive(Debug)]
struct Settled {
    count: AtomicUsize,
    after: usize,
    /// Wakes the task.
    enough: Notify,
}

/// The task that does it; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Pruning {
    task: Option<AbortHandle>,
    settled: Arc<Settled>,
}

impl Pruning {
    /// Begins, if there is a runtime.
    pub(crate) fn begin(host: &Host, keep: Keep) -> Self {
        Self::at(host, keep, Pace::USUAL)
    }

    fn at(host: &Host, keep: Keep, pace: Pace) -> Self {
        let host = Arc::downgrade(&host.inner);
        let runtime = Handle::try_current().ok();
        let settled = Settled { count: AtomicUsize::new(0), after: pace.after, enough: Notify::new() };
        let settled = Arc::new(settled);
        let counts = Arc::clone(&settled);
        let task = runtime.map(|runtime| runtime.spawn(prune(host, keep, pace, counts)).abort_handle());
        Self { task, settled }
    }

    /// Counts turns that were settled; for whoever stores them it is no more work than that.
    pub(crate) fn settled(&self, turns: usize) {
        let before = self.settled.count.fetch_add(turns, Ordering::Relaxed);
        if before < self.settled.after && before + turns >= self.settled.after {
            self.settled.enough.notify_one();
        }
    }
}

impl Drop for Pruning {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn prune(host: Weak<Inner>, keep: Keep, pace: Pace, settled: Arc<Settled>) {
    tokio::time::sleep(pace.first).await;
    loop {
        settled.count.store(0, Ordering::Relaxed);
        let Some(store) = host.upgrade().map(|host| Arc::clone(&host.store)) else { return };
        match store.prune(keep).await {
            Ok(pruned) if pruned.turns > 0 => {
                tracing::info!(turns = pruned.turns, "settled turns that are old were removed");
            }
            Ok(_) => {}
            // It is tried again; nothing depends on it but how much is kept.
            Err(error) => tracing::warn!(%error, "settled turns that are old are not removed"),
        }
        tokio::time::sleep(pace.apart).await;
        // `timeout`: whichever comes first.
        let _enough_or_late = tokio::time::timeout(pace.every - pace.apart, settled.enough.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use treewarden_proto::{SessionId, TurnId};
    use treewarden_store::{Change, NewTurn, Settle};

    use super::*;

    /// Opens a turn and settles it.
    async fn ask(host: &Host) {
        let store = host.store();
        let (name, turn): (treewarden_proto::SessionName, _) = ("a".parse().expect("valid"), TurnId::new());
        let (prompt, opened_at) = ("\"a prompt\"".into(), 7);
        let session_id = SessionId::random();
        let new = NewTurn { turn, name: name.clone(), session_id, prompt, at_most_once: false, opened_at };
        store.open(new).await.expect("opened");
        let settle =
            vec![Settle { turn, outcome: r#"{"outcome":"failed"}"#.into(), answered_in: None, at: 7 }];
        let taken = store.take(name).await.expect("taken");
        store.commit(taken.tenure, Change { settle, ..Change::default() }).await.expect("stored");
    }

    async fn turns(host: &Host) -> usize {
        host.store().turns("a".parse().expect("valid"), 100).await.expect("read").len()
    }

    #[tokio::test]
    async fn what_is_old_is_removed_again_and_again_as_long_as_the_host_is_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let host = Host::options().state_dir(dir.path()).open().expect("opened");
        let keep = Keep { turns: Some(2), ..Keep::default() };
        let (first, every) = (Duration::from_millis(1), Duration::from_millis(5));
        let pace = Pace { first, every, after: usize::MAX, apart: Duration::ZERO };
        let _pruning = Pruning::at(&host, keep, pace);
        for _ in 0..2 {
            for _ in 0..5 {
                ask(&host).await;
            }
            let until = Instant::now() + Duration::from_secs(120);
            while turns(&host).await > 2 {
                assert!(Instant::now() < until, "they stay");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        // What runs with the host does not keep it.
        let inner = Arc::downgrade(&host.inner);
        drop(host);
        assert!(inner.upgrade().is_none());
    }

    #[tokio::test]
    async fn what_is_old_is_removed_before_its_hour_once_many_turns_were_settled() {
        let dir = tempfile::tempdir().expect("a folder");
        let host = Host::options().state_dir(dir.path()).open().expect("opened");
        let keep = Keep { turns: Some(2), ..Keep::default() };
        let (first, every) = (Duration::ZERO, Duration::from_secs(60 * 60));
        let pruning = Pruning::at(&host, keep, Pace { first, every, after: 8, apart: Duration::ZERO });
        for round in 0..3 {
            for _ in 0..8 {
                ask(&host).await;
                pruning.settled(1);
            }
            let until = Instant::now() + Duration::from_secs(120);
            while turns(&host).await > 2 {
                assert!(Instant::now() < until, "they stay, in round {round}");
                // Some of them may have been counted before the time that is under way.
                pruning.settled(8);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    #[test]
    fn a_host_that_is_opened_without_a_runtime_opens() {
        let dir = tempfile::tempdir().expect("a folder");
        let host = Host::options().state_dir(dir.path()).open().expect("opened");
        assert!(Pruning::begin(&host, Keep::default()).task.is_none());
    }
}
