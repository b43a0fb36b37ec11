//! Ends what dead hosts left behind.

use std::cell::Cell;

use crate::os;
use crate::pid::Process;
use crate::proof::NotGone;
use crate::prove::{Warrant, end};
use crate::scan;

/// What a sweep found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Swept {
    /// How many processes were found at first, and ended.
    pub processes: usize,
    /// How many cgroups were found.
    pub cgroups: usize,
    /// What could not be ended, and lives on.
    pub left: Vec<Process>,
}

/// Ends all processes of trees whose host is dead, and removes the cgroups that such hosts left.
///
/// Processes of a host that lives, or that cannot be seen from here, are not touched, nor is what another user owns. What
/// cannot be ended is told and logged: it keeps nobody from starting, as each session proves its own processes gone.
///
/// # Errors
///
/// [`NotGone`] if the runtime shuts down before it is done.
///
/// # Cancel safety
///
/// When the future is dropped the processes are ended all the same.
pub async fn sweep() -> Result<Swept, NotGone> {
    tokio::task::spawn_blocking(swept).await.map_err(|_| NotGone::stopped())
}

fn swept() -> Swept {
    let own = rustix::process::geteuid().as_raw();
    let mut cgroups = Vec::new();
    for (host, user, cgroup) in os::cgroups(None) {
        // Left by word: dropped, the empty cgroup of a live host would be removed from under the CLI that is
        // about to be born in it.
        if user == own && host.is_dead() { cgroups.push(cgroup) } else { cgroup.leave() }
    }
    let first = Cell::new(None);
    let look = || {
        let found = scan::of_the_dead(&cgroups)?;
        first.set(first.get().or(Some(found.members.len())));
        Ok(found)
    };
    // Nobody revokes this right, and nobody has to: what a dead host left cannot be a session's next tree.
    let left = match end(look, &Warrant::new()) {
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "what a dead host left behind lives on");
            error.processes().to_vec()
        }
    };
    Swept {
        processes: first.get().unwrap_or_default().saturating_sub(left.len()),
        cgroups: cgroups.len(),
        left,
    }
}
