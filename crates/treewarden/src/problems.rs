//! What a host's store finds that is not whole: told once, in the log and as an event, and shown as long as it is so.
//!
//! It is for when it is told. What is found, and when it is over, is the store's to say. It must never keep a host alive, nor fail
//! an opening: the rest of the store is whole, and a host that does not open would keep every session down.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use treewarden_proto::SessionName;
use treewarden_store::{Backend, Problem, ProblemKind};

use crate::events::{Happening, Site};
use crate::host::{Host, Inner};

/// How long whoever asks waits for the store before it gets what is known.
const WAIT: Duration = Duration::from_secs(1);

/// The task that tells; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Telling(Option<AbortHandle>);

impl Telling {
    /// Begins, and tells for as long as the host is there.
    ///
    /// A host may be opened outside of a runtime, and what a store is asked needs one. Then whoever opens it waits for what is to
    /// be told of now, as for the opening; what is found later is shown to whoever asks, and is no event.
    pub(crate) fn begin(host: &Host) -> Self {
        // Before the first question: what is found while that is answered rings.
        let bell = host.store().bell();
        let mut teller = Teller {
            host: Arc::downgrade(&host.inner),
            last: 0,
            unstored: HashSet::new(),
            shown: Vec::new(),
        };
        match Handle::try_current() {
            Ok(runtime) => Self(Some(runtime.spawn(teller.tell_on(bell)).abort_handle())),
            Err(_) => {
                match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                    Ok(runtime) => runtime.block_on(teller.tell()),
                    Err(error) => tracing::error!(%error, "failed to ask the store for what it set aside"),
                }
                Self(None)
            }
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

struct Teller {
    host: Weak<Inner>,
    /// The highest number that was told.
    last: u64,
    /// What was told that has no number; a store keeps few of them.
    unstored: HashSet<Which>,
    /// What there was at the last look, with the session that it concerns.
    shown: Vec<(Which, Option<SessionName>)>,
}

/// A problem among the others.
type Which = (ProblemKind, String, u64);

fn which(problem: &Problem) -> Which {
    (problem.kind, problem.key.clone(), problem.number)
}

/// Of several sessions the right one is not known, and no event says that it is of one of them.
fn whose(problem: &Problem) -> Option<SessionName> {
    match problem.concern.names() {
        [name] => Some(name.clone()),
        _ => None,
    }
}

impl Teller {
    async fn tell_on(mut self, mut bell: watch::Receiver<u64>) {
        loop {
            self.tell().await;
            // The store is gone, or finds nothing while it is open.
            if bell.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells what is new.
    async fn tell(&mut self) {
        // The store, and not the host: nothing that waits for a disk keeps the host.
        let Some(store) = self.host.upgrade().map(|host| Arc::clone(&host.store)) else { return };
        let problems = match store.problems().await {
            Ok(problems) => problems,
            Err(error) => return tracing::error!(%error, "failed to ask the store for what it set aside"),
        };
        let Some(inner) = self.host.upgrade() else { return };
        let host = Host { inner };
        let before = self.last;
        for problem in problems.iter().filter(|problem| problem.is_new) {
            let is_known = match problem.number {
                0 => !self.unstored.insert(which(problem)),
                number => number <= before,
            };
            if !is_known {
                host.tell(problem);
                self.last = self.last.max(problem.number);
            }
        }
        self.tell_of_ends(&host, &problems);
        host.keep(problems);
        drop(host);
        if self.last > before {
            note_told(&*store, self.last).await;
        }
    }
}

impl Teller {
    /// Tells what is over since the last look; what comes again is told again.
    fn tell_of_ends(&mut self, host: &Host, problems: &[Problem]) {
        // A store that cannot be read tells of what it could not store alone.
        let is_whole = problems.iter().all(|problem| problem.number != 0);
        let now: Vec<_> = problems.iter().map(|problem| (which(problem), whose(problem))).collect();
        for (is, name) in std::mem::replace(&mut self.shown, now) {
            if self.shown.iter().any(|(there, _)| *there == is) {
                continue;
            }
            if !is_whole && is.2 != 0 {
                self.shown.push((is, name));
                continue;
            }
            self.unstored.remove(&is);
            let (kind, key, _) = is;
            tracing::info!(?kind, %key, "a problem of the store is over");
            let what = Happening::StoreProblemOver { kind: kind.as_str(), key };
            host.inner.events.events().publish(Site::default(), name, what);
        }
    }
}

async fn note_told(store: &dyn Backend, last: u64) {
    if let Err(error) = store.note_told(last).await {
        // The next host tells it once more.
        tracing::warn!(%error, "it cannot be noted that the problems of the store were told");
    }
}

impl Host {
    fn tell(&self, problem: &Problem) {
        let Problem { kind, key, reason, .. } = problem;
        let ends = problem.ends();
        match kind {
            ProblemKind::Unwritable => {
                tracing::error!(?kind, %key, %reason, ends, "the store cannot be written")
            }
            _ => tracing::error!(?kind, %key, %reason, ends, "what is stored is not whole"),
        }
        let name = whose(problem);
        let (kind, key, why) = (kind.as_str(), key.clone(), reason.clone());
        let what = Happening::StoreProblem { kind, key, why };
        self.inner.events.events().publish(Site::default(), name, what);
    }

    fn keep(&self, problems: Vec<Problem>) {
        // For memory only.
        *self.inner.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }

    /// What of the store is not whole, oldest first: what could not be read and was set aside, and what may be missing, until it
    /// is over ([`Backend::problems`]).
    ///
    /// A store that does not answer within a second, or cannot be read, has told of these last.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn problems(&self) -> Vec<Problem> {
        if let Ok(Ok(problems)) = tokio::time::timeout(WAIT, self.store().problems()).await {
            self.keep(problems);
        }
        self.inner.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
