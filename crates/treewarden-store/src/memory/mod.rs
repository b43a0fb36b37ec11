//! A store in memory: what the contract means, said in the shortest code.
//!
//! It is for tests, for programs that need no turn to outlive them, and for the conformance kit, which compares other backends
//! with it. It is not for what must outlive the process. Nothing here may touch a file or read anything but the clock.

mod prune;
mod state;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use treewarden_proto::{SessionId, SessionName, TurnId};

use crate::{
    Backend, Change, CommitError, Committed, Completed, Keep, Lines, NameState, NewTurn, OpenError, Pending,
    Problem, Pruned, SessionRecord, StoreError, StoreErrorKind, StoredTurn, Taken, Tenure, Told, TurnRow,
};
use state::State;

/// A store that lasts as long as its last handle; a cheap clone.
///
/// # Examples
///
/// ```
/// use treewarden_store::{Backend, MemoryStore, Told};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let taken = store.take("assistant".parse()?).await?;
/// assert_eq!(taken.told, Told::Never);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    /// Makes a store that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    // It is held for one step in memory, and never over an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryStore {
    fn take(&self, name: SessionName) -> Pending<'_, Result<Taken, StoreError>> {
        Box::pin(async move { Ok(self.state().take(name)) })
    }

    fn open(&self, turn: NewTurn) -> Pending<'_, Result<(), OpenError>> {
        Box::pin(async move { self.state().open(turn) })
    }

    fn commit(&self, tenure: Tenure, change: Change) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(async move { self.state().commit(tenure, change) })
    }

    fn record(&self, name: SessionName) -> Pending<'_, Result<Told, StoreError>> {
        Box::pin(async move { Ok(self.state().told(&name)) })
    }

    fn name_state(&self, name: SessionName) -> Pending<'_, Result<NameState, StoreError>> {
        Box::pin(async move { self.state().name_state(&name) })
    }

    fn records(&self) -> Pending<'_, Result<Vec<SessionRecord>, StoreError>> {
        Box::pin(async move { Ok(self.state().records()) })
    }

    fn turn(&self, turn: TurnId) -> Pending<'_, Result<Option<StoredTurn>, StoreError>> {
        Box::pin(async move { self.state().turn(turn) })
    }

    fn open_turns(&self, name: SessionName) -> Pending<'_, Result<Vec<TurnRow>, StoreError>> {
        Box::pin(async move { self.state().open_turns(&name) })
    }

    fn turns(&self, name: SessionName, limit: usize) -> Pending<'_, Result<Vec<TurnRow>, StoreError>> {
        Box::pin(async move { self.state().newest(&name, limit) })
    }

    fn completed(&self, conversation: SessionId) -> Pending<'_, Result<Vec<Completed>, StoreError>> {
        Box::pin(async move { Ok(self.state().completed(conversation)) })
    }

    fn lines(
        &self,
        conversation: SessionId,
        subpath: String,
        from: u64,
        limit: usize,
    ) -> Pending<'_, Result<Vec<Lines>, StoreError>> {
        Box::pin(async move { Ok(self.state().lines(conversation, &subpath, from, limit)) })
    }

    fn problems(&self) -> Pending<'_, Result<Vec<Problem>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn prune(&self, keep: Keep) -> Pending<'_, Result<Pruned, StoreError>> {
        Box::pin(async move { Ok(self.state().prune(keep, crate::now())) })
    }

    fn backup(&self, _to: PathBuf) -> Pending<'_, Result<(), StoreError>> {
        let text = "copy the store: it is in memory alone, and a copy could be opened by nothing";
        Box::pin(async move { Err(StoreError::new(StoreErrorKind::Other, text)) })
    }

    fn keeps_turns(&self) -> bool {
        true
    }

    fn look_again(&self) -> Result<Option<PathBuf>, StoreError> {
        Ok(None)
    }
}
