//! The proof that a tree is gone.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::host::Host;
use crate::kin::Proofs;
use crate::leftovers::Leftovers;
use crate::os;
use crate::pid::Process;
use crate::program::Cookie;
use crate::scan::{self, Found, Seen};
use crate::spawn;

/// How long leftovers may take to clean up after SIGTERM, and to be gone after SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
const BOUND: Duration = Duration::from_secs(10);

/// The proof that no process of a session's tree lives; only this crate can make one.
///
/// Whoever starts the session's next tree takes one as an argument, so that a start before the proof cannot be written.
#[derive(Debug)]
pub struct TreeGone {
    status: Option<ExitStatus>,
    found: Proofs,
    left: Vec<Process>,
    leftovers: Option<Leftovers>,
}

impl TreeGone {
    pub(crate) fn proven(status: Option<ExitStatus>, found: Proofs, left: Vec<Process>) -> Self {
        Self { status, found, left, leftovers: None }
    }

    /// What slipped out of the cgroup is still looked for.
    pub(crate) fn searched(mut self, leftovers: Leftovers) -> Self {
        self.leftovers = Some(leftovers);
        self
    }

    /// How many processes were found alive and ended, by which proof.
    pub fn found(&self) -> Proofs {
        self.found
    }

    /// Processes that may have been this tree's, or that of another one of this host that lives: these are left alone.
    ///
    /// They slipped out of every containment, and came to this host when their parent ended ([`adopt_orphans`]). The last
    /// tree that may have left them ends them.
    ///
    /// [`adopt_orphans`]: crate::adopt_orphans
    pub fn left(&self) -> &[Process] {
        &self.left
    }

    /// Waits until what slipped out of the cgroup of a crashed tree is ended as well, and tells how many it were.
    ///
    /// [`Ladder::kill`](crate::Ladder::kill) has a cgroup for its proof, and looks at no other process: that is done
    /// meanwhile. Whoever starts the next tree awaits this before that tree may begin to work. Of any other proof it is
    /// true at once.
    ///
    /// # Errors
    ///
    /// [`NotGone`] if a process is left although it was killed, or if the processes cannot be looked at.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time; the processes are ended all the same.
    pub async fn leftovers(&self) -> Result<Proofs, NotGone> {
        match &self.leftovers {
            Some(leftovers) => leftovers.ended().await,
            None => Ok(Proofs::default()),
        }
    }

    /// How the leader ended, if it was a child of this process.
    pub fn status(&self) -> Option<ExitStatus> {
        self.status
    }
}

/// A tree that could not be proven gone: processes of it live on although they were killed, or nobody can tell.
#[derive(Debug, Clone, thiserror::Error)]
#[error("end the tree: {why}")]
pub struct NotGone {
    why: Why,
    survivors: Vec<Process>,
    found: Proofs,
}

#[derive(Debug, Clone)]
enum Why {
    Survivors(String),
    Refused(String),
    Held(String),
    Unreadable(String),
    Stopped,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Survivors(names) if names.is_empty() => f.write_str("something in it survives SIGKILL"),
            Self::Survivors(names) => write!(f, "{names} survives SIGKILL"),
            Self::Refused(names) => write!(f, "{names} may not be ended by this user"),
            Self::Held(names) => {
                write!(f, "{names}; stop that one first")
            }
            Self::Unreadable(error) => write!(f, "its processes cannot be looked at: {error}"),
            Self::Stopped => f.write_str("whoever was to end it was stopped"),
        }
    }
}

impl NotGone {
    fn new(why: Why, survivors: Vec<Process>) -> Self {
        Self { why, survivors, found: Proofs::default() }
    }

    pub(crate) fn survived(survivors: Vec<Process>) -> Self {
        Self::new(Why::Survivors(names(&survivors)), survivors)
    }

    /// They belong to another user.
    pub(crate) fn refused(survivors: Vec<Process>) -> Self {
        Self::new(Why::Refused(names(&survivors)), survivors)
    }

    fn held(held: &[(Option<Process>, Host)]) -> Self {
        let name = |(process, host): &(Option<Process>, Host)| match process {
            Some(process) => format!("{process} belongs to {}", host.named()),
            None => format!("a process that cannot be seen from here belongs to {}", host.named()),
        };
        let named: Vec<String> = held.iter().map(name).collect();
        Self::new(Why::Held(named.join(", ")), held.iter().filter_map(|(process, _)| *process).collect())
    }

    pub(crate) fn unreadable(error: &io::Error) -> Self {
        Self::new(Why::Unreadable(error.to_string()), Vec::new())
    }

    pub(crate) fn stopped() -> Self {
        Self::new(Why::Stopped, Vec::new())
    }

    pub(crate) fn having(mut self, found: Proofs) -> Self {
        self.found = found;
        self
    }

    /// How many processes were found alive, by which proof; some of them may have ended.
    pub fn found(&self) -> Proofs {
        self.found
    }

    /// The processes that live on, as far as they are known.
    pub fn processes(&self) -> &[Process] {
        &self.survivors
    }
}

pub(crate) fn names(processes: &[Process]) -> String {
    processes.iter().map(Process::to_string).collect::<Vec<_>>().join(", ")
}

/// Ends whatever is left of a session's earlier trees, and proves it gone.
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
    let warrant = Warrant::new();
    let held = warrant.clone();
    let _until_dropped = Revoke(warrant);
    spawn::settled().await;
    let ended = tokio::task::spawn_blocking(move || {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let sort = || {
            for (host, _, cgroup) in os::cgroups(Some(&cookie)) {
                match host.is_own() || host.is_dead() {
                    true => ours.push(cgroup),
                    false => theirs.push((host, cgroup)),
                }
            }
        };
        held.during(sort).ok_or_else(NotGone::stopped)?;
        let look = || {
            let mut found = scan::of_session(&cookie, &ours)?;
            for (host, cgroup) in &theirs {
                // Of another namespace of process ids it lists nothing, although it is populated.
                if let Some(members) = cgroup.remains()? {
                    let first = members.is_empty().then_some((None, *host));
                    found.held.extend(members.into_iter().map(|process| (Some(process), *host)).chain(first));
                }
            }
            Ok(found)
        };
        let ended = end(look, &held);
        theirs.into_iter().for_each(|(_, cgroup)| cgroup.leave());
        ended
    });
    let found = ended.await.unwrap_or_else(|_| Err(NotGone::stopped()))?;
    Ok(TreeGone::proven(None, found, Vec::new()))
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
                    warrant.during(act).ok_or_else(NotGone::stopped)?;
                    if asked.all_refused(&left) {
                        return Err(NotGone::refused(left).having(seen.proofs()));
                    }
                }
            },
            Err(error) if elapsed >= GRACE + BOUND => {
                return Err(NotGone::unreadable(&error).having(seen.proofs()));
            }
            Err(error) => tracing::debug!(%error, "processes cannot be looked at; trying again"),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Who was told to end, and which of them may not be told.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    once: HashSet<Process>,
    refused: HashSet<Process>,
}

impl Asked {
    pub(crate) fn kill(&mut self, found: &[Process]) {
        for process in found {
            self.note(*process, Signal::KILL);
        }
    }

    /// Asks each process once to end.
    fn ask(&mut self, found: &[Process]) {
        for process in found {
            if self.once.insert(*process) {
                self.note(*process, Signal::TERM);
                // A frozen process cannot take the signal before it is thawed.
                process.signal(Signal::CONT);
            }
        }
    }

    fn note(&mut self, process: Process, signal: Signal) {
        if !process.signal(signal) {
            self.refused.insert(process);
        }
    }

    /// Tells whether all that is left belongs to others, for whom there is no use in waiting.
    pub(crate) fn all_refused(&self, left: &[Process]) -> bool {
        !left.is_empty() && left.iter().all(|process| self.refused.contains(process))
    }
}
