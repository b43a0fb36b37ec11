//! Ends what dead hosts left behind.

use std::str;

use crate::cgroup;
use crate::gone::{NotGone, end};
use crate::pid::{Pid, Process};
use crate::program::HOST;
use crate::scan;

/// What a sweep found.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    /// How many processes were ended.
    pub processes: usize,
}

/// Ends all processes of trees whose host is dead, and removes the cgroups that such hosts left.
///
/// Processes of a host that lives are not touched.
///
/// # Errors
///
/// [`NotGone`] if a process is left although it was killed.
///
/// # Cancel safety
///
/// When the future is dropped the processes are ended all the same.
pub async fn sweep() -> Result<Swept, NotGone> {
    let swept = tokio::task::spawn_blocking(|| {
        let processes = orphans().len();
        end(orphans).map_err(NotGone::of)?;
        drop(cgroup::leftovers(None));
        Ok(Swept { processes })
    });
    swept.await.unwrap_or_else(|_| Err(NotGone::unknown()))
}

fn orphans() -> Vec<Process> {
    let prefix = format!("{HOST}=");
    scan::marked(|variables| {
        let host = variables.iter().find_map(|variable| variable.strip_prefix(prefix.as_bytes()));
        host.is_some_and(|host| !is_alive(host))
    })
}

/// Tells whether the host lives; one that cannot be read is taken for alive.
fn is_alive(host: &[u8]) -> bool {
    let parsed = str::from_utf8(host).ok().and_then(|host| {
        let (pid, start_time) = host.split_once(':')?;
        Some(Process { pid: Pid::new(pid.parse().ok()?)?, start_time: start_time.parse().ok()? })
    });
    parsed.is_none_or(Process::is_alive)
}
