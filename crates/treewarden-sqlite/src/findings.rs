//! What was found while the store is open: the bell for whoever tells of it, and what the database itself could not be told.
//!
//! It is for damage that is found by the way. Nothing here may read or write the disk: what is damaged, or full, is that.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use treewarden_store::Problem;

/// So many are kept at most; each is in the log as well.
const MOST: usize = 64;

/// What was found since the opening.
#[derive(Debug)]
pub(crate) struct Findings {
    /// What is in no quarantine. Held for memory only.
    unstored: Mutex<Vec<Problem>>,
    bell: watch::Sender<u64>,
}

impl Findings {
    pub(crate) fn new() -> Self {
        Self { unstored: Mutex::default(), bell: watch::Sender::new(0) }
    }

    /// Takes note of a problem that cannot be stored, once, and rings.
    pub(crate) fn keep(&self, problem: Problem) {
        let mut unstored = self.unstored();
        let is_known = unstored.iter().any(|known| (known.kind, &known.key) == (problem.kind, &problem.key));
        if !is_known && unstored.len() < MOST {
            unstored.push(problem);
            drop(unstored);
            self.ring();
        }
    }

    /// What is in no quarantine, oldest first.
    pub(crate) fn unstored(&self) -> MutexGuard<'_, Vec<Problem>> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is something to be told, or not any more.
    pub(crate) fn ring(&self) {
        self.bell.send_modify(|rung| *rung += 1);
    }

    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}
