//! Has a host's store remove what is old, from time to time.
//!
//! It is for when: how much is kept is the host's option, and which turns are old the store's to say. It must never keep a host
//! alive, nor wait for a store while it does.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use treewarden_store::Keep;

use crate::host::{Host, Inner};

/// When it is done.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// After the host was opened: the start of a tree has enough to do, and one that fails at once should change nothing.
    first: Duration,
    /// From then on. A session that is asked ten times a second has 36,000 turns more by then, about 50 MB.
    every: Duration,
}

impl Pace {
    const USUAL: Self = Self { first: Duration::from_secs(60), every: Duration::from_secs(60 * 60) };
}

/// The task that does it; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Pruning(Option<AbortHandle>);

impl Pruning {
    /// Begins, if there is a runtime.
    pub(crate) fn begin(host: &Host, keep: Keep) -> Self {
        Self::at(host, keep, Pace::USUAL)
    }

    fn at(host: &Host, keep: Keep, pace: Pace) -> Self {
        let host = Arc::downgrade(&host.inner);
        let runtime = Handle::try_current().ok();
        Self(runtime.map(|runtime| runtime.spawn(prune(host, keep, pace)).abort_handle()))
    }
}

impl Drop for Pruning {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

async fn prune(host: Weak<Inner>, keep: Keep, pace: Pace) {
    let mut wait = pace.first;
    loop {
        tokio::time::sleep(wait).await;
        wait = pace.every;
        let Some(store) = host.upgrade().map(|host| Arc::clone(&host.store)) else { return };
        match store.prune(keep).await {
            Ok(pruned) if pruned.turns > 0 => {
                tracing::info!(turns = pruned.turns, "settled turns that are old were removed");
            }
            Ok(_) => {}
            // It is tried again; nothing depends on it but how much is kept.
            Err(error) => tracing::warn!(%error, "settled turns that are old are not removed"),
        }
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
        let pace = Pace { first: Duration::from_millis(1), every: Duration::from_millis(5) };
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

    #[test]
    fn a_host_that_is_opened_without_a_runtime_opens() {
        let dir = tempfile::tempdir().expect("a folder");
        let host = Host::options().state_dir(dir.path()).open().expect("opened");
        assert!(Pruning::begin(&host, Keep::default()).0.is_none());
    }
}
