//! What is kept for the session's next CLI: what its last one left, and the CLIs that are started ahead.
//!
//! All of it holds something of the system (a file, a promise that a pool keeps), and must never be dropped in here: it is
//! handed to the caller, who drops it when the desk's lock is free again.

use treewarden_process::TreeGone;
use treewarden_proto::SessionId;
use treewarden_store::Lease;

use crate::warm::{Launch, Want};

/// What a crash leaves to the next incarnation: the proof that the old tree is gone, which holds for as long as nobody
/// else may have had the conversation, and so together with the lease.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub(crate) id: SessionId,
    pub(crate) gone: TreeGone,
    pub(crate) lease: Lease,
}

/// What is kept for the session's next CLI; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct NextCli {
    inherited: Option<Inherited>,
    want: Option<Box<Want>>,
}

impl NextCli {
    /// Leaves this to the next CLI, and hands out what was left before.
    #[must_use = "it is dropped when the desk's lock is free again"]
    pub(crate) fn leave(&mut self, inherited: Inherited) -> Option<Inherited> {
        self.inherited.replace(inherited)
    }

    /// What the last CLI left: it is taken once.
    #[must_use = "it is dropped when the desk's lock is free again"]
    pub(crate) fn inherit(&mut self) -> Option<Inherited> {
        self.inherited.take()
    }

    /// Tells whether `n` CLIs of this launch are kept already.
    pub(crate) fn wants(&self, launch: &Launch, n: usize) -> bool {
        self.want.as_ref().is_some_and(|want| want.is_for(launch, n))
    }

    /// Has these CLIs kept, and hands out what was wanted before.
    #[must_use = "it is dropped when the desk's lock is free again"]
    pub(crate) fn want(&mut self, want: Option<Box<Want>>) -> Option<Box<Want>> {
        std::mem::replace(&mut self.want, want)
    }

    /// The id for a new conversation: that of a CLI that waits for one, or any.
    pub(crate) fn new_id(&mut self) -> SessionId {
        // The promised id is of a CLI that waits for this conversation; any other id starts one of its own.
        self.want.as_deref_mut().and_then(Want::promise).unwrap_or_else(SessionId::random)
    }

    /// Keeps nothing any more.
    #[must_use = "it is dropped when the desk's lock is free again"]
    pub(crate) fn clear(&mut self) -> Self {
        std::mem::take(self)
    }
}
