//! What is handed to the session's next CLI: what its last one left, and the CLIs that are started ahead.
//!
//! What is replaced here closes a file or gives a promise back, and so is let go when the desk's lock is free again.

use super::Desk;
use super::rooms::Inherited;
use crate::warm::{Launch, Want};

impl Desk {
    /// Leaves this to the session's next CLI.
    pub(crate) fn leave_to_next(&self, inherited: Inherited) {
        // Dropped when the desk's lock is free: this closes the files of a lease.
        let earlier = self.lock().next.leave(inherited);
        drop(earlier);
    }

    /// Takes what the last CLI left, if nobody has taken it.
    pub(crate) fn inherit(&self) -> Option<Inherited> {
        self.lock().next.inherit()
    }

    /// Tells whether `n` CLIs of this launch are kept for the next conversation already.
    pub(crate) fn wants(&self, launch: &Launch, n: usize) -> bool {
        self.lock().next.wants(launch, n)
    }

    /// Has these CLIs kept for the next conversation, instead of those that were.
    pub(crate) fn want(&self, want: Option<Want>) {
        let earlier = self.lock().next.want(want.map(Box::new));
        // Dropped when the desk's lock is free: a `Want` gives its promise back under the lock of its pool.
        drop(earlier);
    }
}
