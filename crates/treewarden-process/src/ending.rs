//! The members of a tree that is on its way out, in whoever's hands they are.
//!
//! A tree is between two owners while it is spawned, and while it is stopped. Whatever becomes of the future that holds it
//! then, its processes are ended: that is this value's drop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::leftovers;
use crate::members::{Members, Scope, kill_all};
use crate::os;
use crate::proof::{NotGone, TreeGone};
use crate::scan::Seen;

/// How long the leader of a dropped tree may take to clean up.
const GRACE: Duration = Duration::from_secs(2);

/// The members of a tree whose owner is on its way out: if it is dropped, a thread ends them.
pub(crate) struct Ending {
    members: Option<Members>,
    /// What was seen before the leader was told to end.
    seen: Seen,
}

impl Ending {
    pub(crate) fn new(members: Members) -> Self {
        Self { members: Some(members), seen: Seen::default() }
    }

    pub(crate) fn get(&self) -> &Members {
        self.members.as_ref().expect("the members are taken by `disarm` alone, which consumes the value")
    }

    /// Takes note of what descends from the leader, and then terminates that, if it is to; blocks.
    pub(crate) fn looked_at(mut self, terminates: bool) -> Self {
        match self.get().look_everywhere() {
            Ok(found) => drop(self.seen.note(&found)),
            // The proof looks again, until it can.
            Err(error) => tracing::debug!(%error, "processes cannot be looked at"),
        }
        if terminates {
            self.get().leader.signal(Signal::TERM);
        }
        self
    }

    /// The proof, if it costs next to nothing.
    pub(crate) fn gone_already(&mut self, scope: Scope) -> Option<TreeGone> {
        if scope == Scope::Everything {
            return None;
        }
        let members = self.members.as_ref()?;
        members.prove(scope, &mut self.seen).ok()?.ok()
    }

    /// Kills what is left and proves it gone; takes a while, and blocks.
    pub(crate) fn finish(mut self, scope: Scope) -> Result<TreeGone, NotGone> {
        let members = self.members.as_ref().expect("the members are taken by `disarm` alone");
        let result = kill_all(members, scope, &mut self.seen);
        match result {
            Ok(gone) => Ok(self.proven(gone, scope)),
            Err(error) => {
                // Dropped whole, it would go through the same ten seconds once more in a thread. What lives
                // on is noted, and the session's next proof begins with it.
                drop(self.disarm());
                Err(error)
            }
        }
    }

    /// Lets go of a tree that is gone as far as that scope shows.
    pub(crate) fn proven(self, gone: TreeGone, scope: Scope) -> TreeGone {
        let members = self.disarm();
        // While its cgroup is there, which goes with the members.
        let killed = members.cgroup.as_ref().map_or(0, |cgroup| os::kernel_kills(cgroup.path()));
        let gone = gone.having_lost(killed);
        match scope {
            Scope::Contained => gone.searched(leftovers::begin(members)),
            Scope::Everything => gone,
        }
    }

    pub(crate) fn disarm(mut self) -> Members {
        self.members.take().expect("the members are taken by `disarm` alone, which consumes the value")
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(members) = self.members.take() else { return };
        let mut seen = std::mem::take(&mut self.seen);
        members.leader.signal(Signal::TERM);
        let members = Arc::new(members);
        // A thread that cannot be started drops its closure, and the members in it: this is what is killed
        // then.
        let unended = Arc::clone(&members);
        let end = move || {
            // Before the leader is gone: what slipped away is known by its parents only as long as these
            // live. If it cannot be looked at now, `kill_all` looks again.
            if let Ok(found) = members.look_everywhere() {
                seen.note(&found);
            }
            let until = Instant::now() + GRACE;
            while members.leader.status().is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            if let Err(error) = kill_all(&members, Scope::Everything, &mut seen) {
                tracing::error!(%error, "a dropped tree is not gone");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("tw-reap".to_owned()).spawn(end) {
            tracing::error!(%error, "failed to start a thread that ends a dropped tree; it is killed at once");
            unended.kill();
        }
    }
}
