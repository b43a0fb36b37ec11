//! The proof that a tree is gone.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::os;
use crate::pid::Process;
use crate::program::Cookie;
use crate::scan::{self, Remains, Seen};

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
            Self::Stopped => f.write_str("the runtime that ends it was shut down"),
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
/// When the future is dropped the processes are ended all the same.
pub async fn prove_gone(cookie: Cookie) -> Result<TreeGone, NotGone> {
    let ended = tokio::task::spawn_blocking(move || {
        let cgroups = os::leftover_cgroups(Some(&cookie));
        end(|| {
            let contained = cgroups.iter().map(os::Cgroup::remains);
            Remains::all(contained.chain([scan::of_tree(&cookie, None)]))
        })
    });
    ended.await.unwrap_or_else(|_| Err(NotGone::stopped())).map(|()| TreeGone::proven(None))
}

/// Ends what `look` finds until it finds nothing: SIGTERM first, so that a CLI cleans up its tools.
pub(crate) fn end(look: impl Fn() -> io::Result<Remains>) -> Result<(), NotGone> {
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
            Ok(Remains::Something(found)) if elapsed >= GRACE => {
                found.into_iter().for_each(|process| process.signal(Signal::KILL));
            }
            Ok(Remains::Something(found)) => {
                for process in found {
                    if asked.insert(process) {
                        process.signal(Signal::TERM);
                        // A frozen process cannot take the signal before it is thawed.
                        process.signal(Signal::CONT);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "processes cannot be looked at; trying again"),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
