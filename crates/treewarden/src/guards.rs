//! What keeps others away, looked at again before it is relied on: a lock file, or the state directory, may be removed
//! under a running program, by a tmp cleaner or by hand.
//!
//! What can be made anew is made anew; otherwise turns are refused, so that none is acknowledged into a file that nobody
//! will ever read. The lease of each session is its desk's matter (`session/desk/guard.rs`).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use treewarden_store::{Backend, StateDir, TreeLock};

/// How many findings are kept for whoever looks next.
const NEWS: usize = 64;

/// Something that keeps others away, or holds the state, and was found removed or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Missing {
    /// What, and what follows.
    pub what: String,
    /// It was made anew, so that nothing is lost; otherwise turns are refused.
    pub mended: bool,
}

impl Missing {
    pub(crate) fn mended(path: PathBuf) -> Self {
        let what = format!("{} was removed, and is made anew and locked again", path.display());
        Self { what, mended: true }
    }

    pub(crate) fn lost(what: impl ToString) -> Self {
        Self { what: what.to_string(), mended: false }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Guards {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tree: Option<Arc<TreeLock>>,
    /// Why turns are refused.
    lost: Option<String>,
    news: VecDeque<Missing>,
}

impl Inner {
    fn note(&mut self, missing: Missing) {
        tracing::error!(mended = missing.mended, "{}", missing.what);
        // The oldest finding goes: where nobody takes them, each look may add one.
        if self.news.len() == NEWS {
            self.news.pop_front();
        }
        self.news.push_back(missing);
    }
}

impl Guards {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tree runs on the state directory, or none does any more.
    pub(crate) fn set_tree(&self, tree: Option<Arc<TreeLock>>) {
        self.lock().tree = tree;
    }

    /// Looks at the tree's lock and the store, and says why turns are to be refused.
    pub(crate) fn look(&self, store: &dyn Backend, state: &StateDir) -> Result<(), String> {
        // The lock is copied out, so that a disk that hangs holds up no caller who only asks what was found
        // last.
        let tree = self.lock().tree.clone();
        let of_tree = tree
            .map_or(Ok(None), |tree| tree.look_again())
            .map_err(|held| format!("the lock of the state directory was removed, and is held by {held}"));
        let of_store = store.look_again().map_err(|error| error.to_string());
        // By it the next start knows a directory that was used, also where the store in it is lost.
        let of_id = state.put_id_back();
        let mut inner = self.lock();
        let mut lost = None;
        // Store and tree are both looked at, also when the first is lost: what can be mended is mended at
        // once.
        for found in [of_store, of_tree, Ok(of_id)] {
            match found {
                Ok(None) => {}
                Ok(Some(path)) => inner.note(Missing::mended(path)),
                Err(why) => lost = lost.or(Some(why)),
            }
        }
        // The guards are looked at before each turn: a loss is told when it changes, and not each time.
        if let Some(why) = lost.as_ref().filter(|_| inner.lost != lost) {
            inner.note(Missing::lost(why));
        }
        // A directory that is there again takes turns again, without a start of the host.
        inner.lost.clone_from(&lost);
        lost.map_or(Ok(()), Err)
    }

    pub(crate) fn lost(&self) -> Option<String> {
        self.lock().lost.clone()
    }

    pub(crate) fn take_news(&self) -> Vec<Missing> {
        self.lock().news.drain(..).collect()
    }
}
