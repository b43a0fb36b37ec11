//! What was found while the store is open: the bell for whoever tells of it, and what the database itself could not be told.
//!
//! It is for damage that is found by the way. Nothing here may read or write the disk: what is damaged, or full, is that.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use treewarden_store::{Problem, StoreError};

use crate::unwritable::Unwritable;

/// So many are kept at most; each is in the log as well.
const MOST: usize = 64;

/// What was found since the opening.
#[derive(Debug)]
pub(crate) struct Findings {
    /// What is in no quarantine. Held for memory only.
    unstored: Mutex<Vec<Problem>>,
    /// Whether there is any use in writing now. Held for memory only, and never with the other.
    unwritable: Mutex<Unwritable>,
    bell: watch::Sender<u64>,
}

impl Findings {
    pub(crate) fn new() -> Self {
        Self { unstored: Mutex::default(), unwritable: Mutex::default(), bell: watch::Sender::new(0) }
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

    /// The disk refused a write of about so many bytes; rings if that is news.
    pub(crate) fn refused(&self, key: &str, error: &StoreError, bytes: usize) {
        let is_news = self.unwritable().refused(key, error, bytes, Instant::now());
        if is_news {
            self.ring();
        }
    }

    /// The disk took a write of about so many bytes; rings if it refused them before.
    pub(crate) fn written(&self, bytes: usize) {
        let is_over = self.unwritable().stored(bytes, Instant::now());
        if is_over {
            self.ring();
        }
    }

    /// What is in no quarantine, oldest first, and last what keeps the database from being written.
    pub(crate) fn all(&self) -> Vec<Problem> {
        let mut all = self.unstored().clone();
        all.extend(self.unwritable().problem().cloned());
        all
    }

    /// All of it is over.
    pub(crate) fn forget(&self) {
        self.unstored().clear();
        self.unwritable().forget();
        self.ring();
    }

    fn unstored(&self) -> MutexGuard<'_, Vec<Problem>> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritable(&self) -> MutexGuard<'_, Unwritable> {
        self.unwritable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is something to be told, or not any more.
    pub(crate) fn ring(&self) {
        self.bell.send_modify(|rung| *rung += 1);
    }

    pub(crate) fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}
