//! Ends what is left of trees that this host has no hold on, and proves it gone.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::asked::Asked;
use crate::kin::Proofs;
use crate::os;
use crate::program::Cookie;
use crate::proof::{NotGone, TreeGone};
use crate::scan::{self, Found, Seen};
use crate::spawn;
use crate::survivors;

/// How long leftovers may take to clean up after SIGTERM, and to be gone after SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
const BOUND: Duration = Duration::from_secs(10);

/// Ends whatever is left of a session's earlier trees, and proves it gone.
///
/// What this host found and could not end before counts as well, as long as it lives.
///
/// Call it only while holding the session's lease: it ends the processes of this host and of any that is dead.
///
/// # Errors
///
/// [`NotGone`] if a process is left although it was killed, if one belongs to a host that lives or of which nobody can
/// tell, or if the processes cannot be looked at.
///
/// # Cancel safety
///
/// Once the future is dropped no process is signalled any more: the next tree of the session may begin at once, and is not
/// to be taken for an earlier one. What was found by then is left to the next proof.
pub async fn prove_gone(cookie: Cookie) -> Result<TreeGone, NotGone> {
    // The blocking task outlives this future. Without the right that ends with it, the task would end
    // whatever it finds later: by then that may be the session's next tree, which carries the same cookie.
    let warrant = Warrant::new();
    let held = warrant.clone();
    let _until_dropped = Revoke(warrant);
    // A child carries no mark before it executes its program: a look that comes before would miss one that is
    // being started, and prove its tree gone.
    spawn::settled().await;
    let ended = tokio::task::spawn_blocking(move || {
        let look = || {
            // A cgroup of ours that is empty is removed when the list is dropped. Listed after the right has
            // ended, that could be the next tree's, which is made before its leader.
            let listed = held.during(|| os::cgroups(Some(&cookie)));
            // Listed by each look: what cannot be listed now is not absent, and a host that is dying leaves its
            // cgroup to us a moment later.
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for (host, _, cgroup) in listed.ok_or_else(no_longer_wanted)?? {
                match host.is_own() || host.is_dead() {
                    true => ours.push(cgroup.take_over()),
                    false => theirs.push((host, cgroup)),
                }
            }
            let mut found = scan::of_session(&cookie, &ours)?;
            found.add_survivors(survivors::of(&cookie));
            for (host, cgroup) in theirs {
                // Of another namespace of process ids it lists nothing, although it is populated.
                if let Some(members) = cgroup.remains()? {
                    let first = members.is_empty().then_some((None, host));
                    found.held.extend(members.into_iter().map(|process| (Some(process), host)).chain(first));
                }
            }
            Ok(found)
        };
        end(look, &held).inspect_err(|error| survivors::note(&cookie, error))
    });
    // The runtime shuts down and never ran the search: no proof, although no process was found.
    let found = ended.await.unwrap_or_else(|_| Err(NotGone::stopped()))?;
    Ok(TreeGone::proven(None, found, Vec::new()))
}

/// `end` gives up before anybody reads it.
fn no_longer_wanted() -> io::Error {
    io::Error::other("nobody waits for the proof any more")
}

/// The right to end what is found, while somebody waits for the proof: what is found later may be another tree's.
#[derive(Debug, Clone)]
pub(crate) struct Warrant(Arc<Mutex<bool>>);

impl Warrant {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }

    /// Does this unless the right has ended; it does not end meanwhile.
    fn during<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.then(act)
    }
}

/// Ends a right when it is dropped.
struct Revoke(Warrant);

impl Drop for Revoke {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// Ends what `look` finds until it finds nothing: SIGTERM first, so that a CLI cleans up its tools.
pub(crate) fn end(look: impl Fn() -> io::Result<Found>, warrant: &Warrant) -> Result<Proofs, NotGone> {
    let began = Instant::now();
    let mut seen = Seen::default();
    let mut asked = Asked::default();
    let mut pause = Duration::from_millis(1);
    loop {
        let found = look();
        let elapsed = began.elapsed();
        match found {
            Ok(found) if !found.held.is_empty() => {
                // A host that is dying gives up its leases a moment before its name.
                if elapsed >= GRACE {
                    return Err(NotGone::held(&found.held));
                }
            }
            Ok(found) => match seen.note(&found) {
                None => return Ok(seen.proofs()),
                Some(left) if elapsed >= GRACE + BOUND => {
                    return Err(NotGone::survived(left).having(seen.proofs()));
                }
                Some(left) => {
                    let act = || if elapsed >= GRACE { asked.kill(&left) } else { asked.ask(&left) };
                    // All signals of one look go out under the lock: whoever drops the future waits for them,
                    // and then none comes any more.
                    warrant.during(act).ok_or_else(NotGone::stopped)?;
                    if asked.all_refused(&left) {
                        return Err(NotGone::refused(left).having(seen.proofs()));
                    }
                }
            },
            Err(error) if elapsed >= GRACE + BOUND => {
                return Err(NotGone::unreadable(&error).having(seen.proofs()));
            }
            // A host that is out of descriptors sees nothing for a while. Taken for an absence, that would
            // prove a live tree gone.
            Err(error) => {
                warrant.during(|| ()).ok_or_else(NotGone::stopped)?;
                tracing::debug!(%error, "processes cannot be looked at; trying again");
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
