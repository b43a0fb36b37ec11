//! The processes of a tree: where they are looked for, and how they are killed until nothing is left.
//!
//! It knows neither pipes nor deadlines of a polite end: those are the [tree](crate::ProcessTree)'s and the ladder's. It must never
//! say that a tree is gone while something could not be looked at.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::asked::Asked;
use crate::leader::Leader;
use crate::os::Cgroup;
use crate::pid::Process;
use crate::program::{Cookie, TreeId};
use crate::proof::{self, NotGone, TreeGone};
use crate::scan::{self, Found, Seen};
use crate::survivors;

/// How long killed processes may take to be gone; one in an uninterruptible wait may take longer.
const BOUND: Duration = Duration::from_secs(10);

/// Which containment is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ContainmentPolicy {
    /// The best that the system offers.
    #[default]
    Best,
    /// No cgroup, also where one could be made.
    GroupAndCookie,
}

/// Where a tree is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In its cgroup, if it has one: what a crash left is ended there at once, and the rest is looked for beside.
    Contained,
    /// Everywhere.
    Everything,
}

/// The processes of a tree, as whoever ends them sees them.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) leader: Arc<Leader>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) id: TreeId,
    pub(crate) cookie: Cookie,
}

impl Members {
    /// The live processes of the tree, as far as that scope shows them.
    pub(crate) fn look(&self, scope: Scope) -> io::Result<Found> {
        if let Some(cgroup) = &self.cgroup {
            let contained = Found::contained(cgroup.remains()?);
            // What is outside is looked for when nothing is left inside: looking at all processes takes longer.
            if scope != Scope::Everything || !contained.is_nothing() {
                return Ok(contained);
            }
        }
        self.look_everywhere()
    }

    /// The live processes of the tree, by every proof.
    pub(crate) fn look_everywhere(&self) -> io::Result<Found> {
        scan::of_tree(&self.id, self.leader.held(), self.cgroup.as_ref())
    }

    /// Kills whatever can be killed without looking.
    pub(crate) fn kill(&self) {
        self.leader.signal_group(Signal::KILL);
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
    }

    /// The proof, or what is left. The leader keeps its id until it was looked for everywhere.
    pub(crate) fn prove(&self, scope: Scope, seen: &mut Seen) -> io::Result<Result<TreeGone, Vec<Process>>> {
        // Asked first: while the leader lives it may start what is not seen below.
        let status = self.leader.status();
        let found = self.look(scope)?;
        Ok(match (seen.note(&found), status) {
            (Some(left), _) => Err(left),
            (None, None) => Err(vec![self.leader.process()]),
            (None, Some(status)) => {
                // Not before everything was looked at: once it is reaped, the number of its group and session
                // may be another's.
                if scope == Scope::Everything {
                    self.leader.reap();
                }
                // A member that was dying during the look was an orphan by then.
                let unclear = found.unclear.into_iter().filter(|process| process.is_alive()).collect();
                Ok(TreeGone::proven(Some(status), seen.proofs(), unclear))
            }
        })
    }
}

/// Kills until nothing is left; what cannot be ended is taken note of.
pub(crate) fn kill_all(members: &Members, scope: Scope, seen: &mut Seen) -> Result<TreeGone, NotGone> {
    killed(members, scope, seen).inspect_err(|error| survivors::note(&members.cookie, error))
}

/// As often as there is something: a process that was forking while it was killed leaves another.
fn killed(members: &Members, scope: Scope, seen: &mut Seen) -> Result<TreeGone, NotGone> {
    let until = Instant::now() + BOUND;
    let mut pause = Duration::from_micros(200);
    let mut asked = Asked::default();
    loop {
        let left = members.prove(scope, seen);
        if let Ok(Ok(gone)) = left {
            if !gone.left().is_empty() {
                let left = proof::names(gone.left());
                tracing::warn!(%left, "these may be of the session whose processes were ended, and are left alone");
            }
            return Ok(gone);
        }
        members.kill();
        let why = match left {
            Ok(left) => {
                let left = left.err().unwrap_or_default();
                asked.kill(&left);
                // They run as another user, by a set-user-ID program: no number of further signals would be
                // allowed, and ten seconds of waiting change nothing.
                if asked.all_refused(&left) {
                    return Err(NotGone::refused(left).having(seen.proofs()));
                }
                NotGone::survived(left)
            }
            Err(error) => NotGone::unreadable(&error),
        };
        if Instant::now() >= until {
            return Err(why.having(seen.proofs()));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
