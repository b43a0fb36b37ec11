//! What a running tree is made of at this moment, and who may change it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use treewarden_proto::SessionName;

use super::grow::Handles;
use crate::config::TreeSpec;
use crate::registry::Registry;

/// What the handles of one tree share.
#[derive(Debug)]
pub(super) struct Current {
    made_of: Mutex<MadeOf>,
    /// Held by whoever changes the tree.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Held alone, inside of `changing`, by whoever changes the tree; held in common by all who make or remove a session of
    /// a template. So a change meets no session halfway, none of them is refused for a change or refuses one at once, and
    /// none waits for another, whose supervisor may be busy.
    members: Arc<RwLock<()>>,
    /// For its locks alone, inside of `members`: what is made and removed under one name comes one after the other.
    by_name: Registry<SessionName>,
    /// Woken when the tree was changed.
    changed: Notify,
    stopping: AtomicBool,
}

/// A spec as it was applied, and how to reach what was made of it.
#[derive(Debug, Clone, Default)]
pub(super) struct MadeOf {
    pub(super) spec: Arc<TreeSpec>,
    /// How often the tree was changed.
    pub(super) revision: u64,
    pub(super) handles: Handles,
}

impl Current {
    pub(super) fn new(spec: TreeSpec, handles: Handles) -> Self {
        Self {
            made_of: Mutex::new(MadeOf { spec: Arc::new(spec), revision: 0, handles }),
            changing: Arc::default(),
            members: Arc::default(),
            by_name: Registry::unique().partitions(1).build(),
            changed: Notify::new(),
            stopping: AtomicBool::new(false),
        }
    }

    pub(super) fn made_of(&self) -> MutexGuard<'_, MadeOf> {
        self.made_of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims the right to change the tree; `None` if somebody else has it.
    pub(super) fn claim(&self) -> Option<OwnedMutexGuard<()>> {
        // Whoever comes second is refused and not queued: its diff is of a tree that the first one changes.
        Arc::clone(&self.changing).try_lock_owned().ok()
    }

    /// Claims the right to change all children, in the order of asking; `None` if sessions are made or removed for so long.
    pub(super) async fn all_members(&self, patience: Duration) -> Option<OwnedRwLockWriteGuard<()>> {
        tokio::time::timeout(patience, Arc::clone(&self.members).write_owned()).await.ok()
    }

    /// Claims the right to make or remove a session of a template, beside others who do; `None` if a change of the tree is
    /// under way for so long.
    pub(super) async fn one_member(&self, patience: Duration) -> Option<OwnedRwLockReadGuard<()>> {
        tokio::time::timeout(patience, Arc::clone(&self.members).read_owned()).await.ok()
    }

    /// Makes or removes the session of this name, when nobody else does.
    pub(super) async fn under_name<T>(&self, name: SessionName, work: impl Future<Output = T>) -> T {
        self.by_name.lock(name, work).await
    }

    /// Ready when the tree was changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Replaces what the tree is made of.
    pub(super) fn change(&self, made_of: MadeOf) {
        *self.made_of() = made_of;
        // One task waits, which looks for idle sessions; a change while it looks is kept for its next wait.
        self.changed.notify_one();
    }

    /// The tree has begun to stop: no change is begun any more.
    pub(super) fn stop(&self) {
        // The flag stands for itself: no other memory is published by it.
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Lets go of what would start children: the tree has ended, and keeps nothing of it.
    pub(super) fn clear(&self) {
        self.stop();
        *self.made_of() = MadeOf::default();
    }
}
