//! The proof that a tree is gone.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::os;
use crate::pid::Process;
use crate::program::Cookie;
use crate::scan::{self, Remains, Seen};
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
}

impl TreeGone {
    pub(crate) fn proven(status: Option<ExitStatus>) -> Self {
        Self { status }
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
}

#[derive(Debug, Clone)]
enum Why {
    Survivors(String),
    Unreadable(String),
    Stopped,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Survivors(names) if names.is_empty() => f.write_str("something in it survives SIGKILL"),
            Self::Survivors(names) => write!(f, "{names} survives SIGKILL"),
            Self::Unreadable(error) => write!(f, "its processes cannot be looked at: {error}"),
            Self::Stopped => f.write_str("whoever was to end it was stopped"),
        }
    }
}

impl NotGone {
    pub(crate) fn survived(survivors: Vec<Process>) -> Self {
        let names: Vec<String> = survivors.iter().map(Process::to_string).collect();
        Self { why: Why::Survivors(names.join(", ")), survivors }
    }

    pub(crate) fn unreadable(error: &io::Error) -> Self {
        Self { why: Why::Unreadable(error.to_string()), survivors: Vec::new() }
    }

    pub(crate) fn stopped() -> Self {
        Self { why: Why::Stopped, survivors: Vec::new() }
    }

    /// The processes that live on, as far as they are known.
    pub fn processes(&self) -> &[Process] {
        &self.survivors
    }
}

/// Ends whatever is left of a session's earlier trees, and proves it gone.
///
/// Call it only while holding the session's lease: it ends the processes of any host.
///
/// # Errors
///
/// [`NotGone`] if a process is left although it was killed, or if the processes cannot be looked at.
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
        let cgroups = held.during(|| os::leftover_cgroups(Some(&cookie))).ok_or_else(NotGone::stopped)?;
        let look = || {
            let contained = cgroups.iter().map(os::Cgroup::remains);
            Remains::all(contained.chain([scan::of_session(&cookie)]))
        };
        end(look, &held)
    });
    ended.await.unwrap_or_else(|_| Err(NotGone::stopped())).map(|()| TreeGone::proven(None))
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
pub(crate) fn end(look: impl Fn() -> io::Result<Remains>, warrant: &Warrant) -> Result<(), NotGone> {
    let began = Instant::now();
    let mut seen = Seen::default();
    let mut asked = HashSet::new();
    let mut pause = Duration::from_millis(1);
    loop {
        let found = look().map(|remains| seen.note(remains));
        let elapsed = began.elapsed();
        match found {
            Ok(Remains::Nothing) => return Ok(()),
            Ok(Remains::Something(found)) if elapsed >= GRACE + BOUND => {
                return Err(NotGone::survived(found));
            }
            Err(error) if elapsed >= GRACE + BOUND => return Err(NotGone::unreadable(&error)),
            Ok(Remains::Something(found)) => {
                let signal = if elapsed >= GRACE { kill } else { ask };
                warrant.during(|| signal(found, &mut asked)).ok_or_else(NotGone::stopped)?;
            }
            Err(error) => tracing::debug!(%error, "processes cannot be looked at; trying again"),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn kill(found: Vec<Process>, _asked: &mut HashSet<Process>) {
    found.into_iter().for_each(|process| process.signal(Signal::KILL));
}

/// Asks each process once to end.
fn ask(found: Vec<Process>, asked: &mut HashSet<Process>) {
    for process in found {
        if asked.insert(process) {
            process.signal(Signal::TERM);
            // A frozen process cannot take the signal before it is thawed.
            process.signal(Signal::CONT);
        }
    }
}
