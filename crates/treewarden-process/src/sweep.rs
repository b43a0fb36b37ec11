//! Ends what dead hosts left behind.

use std::cell::Cell;

use crate::os::{self, Cgroup};
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
    let first = Cell::new(None);
    let look = || {
        // Listed by each look: what cannot be listed now is not absent. What is not taken over stays.
        let of_the_dead =
            os::cgroups(None)?.into_iter().filter(|(host, user, _)| *user == own && host.is_dead());
        let cgroups: Vec<Cgroup> = of_the_dead.map(|(_, _, cgroup)| cgroup.take_over()).collect();
        let found = scan::of_the_dead(&cgroups)?;
        first.set(first.get().or(Some((found.members.len(), cgroups.len()))));
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
    let (processes, cgroups) = first.get().unwrap_or_default();
    Swept { processes: processes.saturating_sub(left.len()), cgroups, left }
}
