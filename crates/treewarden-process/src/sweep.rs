//! Ends what dead hosts left behind.

use std::cell::Cell;
use std::str;

use crate::gone::{NotGone, Warrant, end};
use crate::host::Host;
use crate::os;
use crate::program::HOST;
use crate::scan::{self, Remains};

/// What a sweep found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Swept {
    /// How many processes were found at first, and ended.
    pub processes: usize,
    /// How many cgroups were found, and removed.
    pub cgroups: usize,
}

/// Ends all processes of trees whose host is dead, and removes the cgroups that such hosts left.
///
/// Processes of a host that lives, or that cannot be seen from here, are not touched.
///
/// # Errors
///
/// [`NotGone`] if a process is left although it was killed, or if the processes cannot be looked at.
///
/// # Cancel safety
///
/// When the future is dropped the processes are ended all the same.
pub async fn sweep() -> Result<Swept, NotGone> {
    let swept = tokio::task::spawn_blocking(|| {
        let cgroups = os::leftover_cgroups(None);
        let first = Cell::new(None);
        let look = || {
            let contained = cgroups.iter().map(os::Cgroup::remains);
            let marked = scan::live(|_| false, is_orphan).map(Remains::from);
            let all = Remains::all(contained.chain([marked]))?;
            if first.get().is_none() {
                first.set(Some(if let Remains::Something(found) = &all { found.len() } else { 0 }));
            }
            Ok(all)
        };
        end(look, &Warrant::new())?;
        Ok(Swept { processes: first.get().unwrap_or_default(), cgroups: cgroups.len() })
    });
    swept.await.unwrap_or_else(|_| Err(NotGone::stopped()))
}

fn is_orphan(environ: &[u8]) -> bool {
    let host = scan::value(environ, HOST).and_then(|host| str::from_utf8(host).ok()?.parse::<Host>().ok());
    host.is_some_and(Host::is_dead)
}
