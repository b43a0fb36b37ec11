//! CLIs that are started ahead of the conversations that they will have.
//!
//! A session that asks for it (`warm = n`) has n CLIs kept initialized that are launched exactly as its own would be. A
//! session without a conversation takes the id of one of them when it first needs an id, before anything is stored or
//! written; its first start then finds the CLI by that id, and spawns nothing. A CLI that is gone by then costs
//! nothing: the session has an id that was never used, and starts its own.
//!
//! It is not for conversations that exist: to carry one on takes a process that was started for it.
//!
//! What it promises: a CLI is taken once; a CLI that waits here gives its place to any session that needs one; all are
//! gone when the host, or its tree, is.

mod keeper;
mod launch;
mod pool;
mod spare;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;
use treewarden_process::ContainmentPolicy;
use treewarden_proto::SessionId;
use treewarden_store::StateDir;

pub(crate) use self::launch::Launch;
use self::pool::Pool;
pub(crate) use self::spare::{INITIALIZE, Spare};
use crate::places::Places;

/// How many CLIs come up at once in one host, whatever is wanted.
const STARTING: usize = 2;

/// How long a CLI waits for a session before it is replaced: what it read when it started may have changed.
pub(crate) const AGE: Duration = Duration::from_secs(600);

/// How many CLIs are kept for the next conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct WarmStatus {
    /// How many are wanted.
    pub wanted: usize,
    /// How many are initialized.
    pub ready: usize,
    /// How many are on their way.
    pub starting: usize,
}

/// The pools of one host, one for each launch.
pub(crate) struct Warm {
    pools: Mutex<Vec<Arc<Pool>>>,
    starting: Arc<Semaphore>,
    age: Duration,
    state: StateDir,
    containment: ContainmentPolicy,
    places: Places,
}

/// A session that wants CLIs kept, and the one that was promised to it.
pub(crate) struct Want {
    pool: Arc<Pool>,
    n: usize,
    promised: Option<SessionId>,
}

impl fmt::Debug for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Want").field("n", &self.n).field("promised", &self.promised).finish_non_exhaustive()
    }
}

impl Want {
    /// The id of a CLI that is from now on kept for this session, if there is one.
    pub(crate) fn promise(&mut self) -> Option<SessionId> {
        let id = self.pool.reserve()?;
        // The CLI of an earlier promise is ended: its id will not be asked for any more.
        if let Some(earlier) = self.promised.replace(id) {
            self.pool.discard(earlier);
        }
        Some(id)
    }

    pub(crate) fn is_for(&self, launch: &Launch, n: usize) -> bool {
        self.n == n && self.pool.launch == *launch
    }
}

impl Drop for Want {
    fn drop(&mut self) {
        // A CLI that was promised is taken under its id alone, and nobody asks for that any more.
        if let Some(id) = self.promised {
            self.pool.discard(id);
        }
        self.pool.lower(self.n);
    }
}

impl Warm {
    /// No pool yet. A CLI gets one of these places, and a lease that names this directory.
    pub(crate) fn new(
        age: Duration,
        state: StateDir,
        containment: ContainmentPolicy,
        places: Places,
    ) -> Arc<Self> {
        let (pools, starting) = (Mutex::default(), Arc::new(Semaphore::new(STARTING)));
        Arc::new(Self { pools, starting, age, state, containment, places })
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Arc<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `n` CLIs of this launch for as long as the value lives, and until they are too old.
    ///
    /// Must be called within a tokio runtime.
    pub(crate) fn want(self: &Arc<Self>, launch: Launch, n: usize) -> Want {
        // The list is held until the pool is raised: a keeper that looks in between would take a pool off the
        // list that somebody just got.
        let mut pools = self.pools();
        let found = pools.iter().find(|pool| pool.launch == launch).map(Arc::clone);
        let pool = found.unwrap_or_else(|| {
            let pool = Pool::new(launch);
            pools.push(Arc::clone(&pool));
            tokio::spawn(keeper::keep(Arc::clone(&pool), Arc::downgrade(self)));
            pool
        });
        pool.raise(n);
        Want { pool, n, promised: None }
    }

    /// Takes the CLI of this id, if there is one that was launched like this; when it is `None`, none is left of this id.
    ///
    /// # Cancel safety
    ///
    /// A CLI that was on its way to a future that is dropped is ended.
    pub(crate) async fn take(&self, id: SessionId, launch: &Launch) -> Option<Box<Spare>> {
        // The list is free again before the wait, which may be as long as a CLI takes to come up.
        let pool = self.pools().iter().find(|pool| pool.has(id)).map(Arc::clone)?;
        // The options have changed since the promise. The CLI is ended, and the wait below lasts until
        // nothing of it is left, since the session starts its own under the same id.
        if pool.launch != *launch {
            pool.discard(id);
        }
        pool.take(id).await
    }

    /// Tells whether `take` could find anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.pools().is_empty()
    }

    pub(crate) fn status(&self) -> WarmStatus {
        self.pools().iter().map(|pool| pool.stock()).fold(WarmStatus::default(), |sum, stock| WarmStatus {
            wanted: sum.wanted + stock.wanted,
            ready: sum.ready + stock.have - stock.coming,
            starting: sum.starting + stock.coming,
        })
    }

    /// Ends every CLI, and starts no more; ready when all are gone.
    ///
    /// # Cancel safety
    ///
    /// The CLIs are ended all the same.
    pub(crate) async fn close(&self) {
        // The list is copied: the keepers, which end what is waited for, take its lock themselves.
        let pools = self.pools().clone();
        pools.iter().for_each(|pool| pool.close());
        for pool in pools {
            pool.emptied().await;
        }
    }

    /// Takes a pool off the list that nobody wants and that has no CLI.
    fn retire(&self, pool: &Arc<Pool>) -> bool {
        // The list is locked before the pool, as in `want`: a `want` that finds the pool raises it first, and
        // then it is not done.
        let mut pools = self.pools();
        let done = pool.is_done();
        if done {
            pools.retain(|other| !Arc::ptr_eq(other, pool));
        }
        done
    }
}

impl Drop for Warm {
    // The keepers hold no host, only a weak reference: without this they would wait for a bell that nobody
    // rings.
    fn drop(&mut self) {
        self.pools().iter().for_each(|pool| pool.close());
    }
}
