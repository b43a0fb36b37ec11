//! The proof that a tree is gone.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cgroup;
use crate::pid::Process;
use crate::program::Cookie;
use crate::scan;

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

/// Processes of a tree that live on although they were killed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("end the tree: {survivors}")]
pub struct NotGone {
    survivors: String,
    processes: Vec<Process>,
}

impl NotGone {
    pub(crate) fn of(processes: Vec<Process>) -> Self {
        let named: Vec<String> = processes
            .iter()
            .map(|process| format!("{} (pid {}) survives SIGKILL", scan::name(*process), process.pid))
            .collect();
        let survivors =
            if named.is_empty() { "its leader is not reaped".to_owned() } else { named.join(", ") };
        Self { survivors, processes }
    }

    pub(crate) fn unknown() -> Self {
        Self { survivors: "the thread that ends it was stopped".to_owned(), processes: Vec::new() }
    }

    /// The processes.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }
}

/// Ends whatever is left of a session's earlier trees, and proves it gone.
///
/// Call it only while holding the session's lease: it ends the processes of any host.
///
/// # Errors
///
/// [`NotGone`] if a process is left although it was killed.
///
/// # Cancel safety
///
/// When the future is dropped the processes are ended all the same.
pub async fn prove_gone(cookie: Cookie) -> Result<TreeGone, NotGone> {
    let ended = tokio::task::spawn_blocking(move || {
        let leftovers = cgroup::leftovers(Some(&cookie));
        let left = || {
            let mut left = scan::with_cookie(&cookie);
            left.extend(leftovers.iter().flat_map(cgroup::Cgroup::processes));
            left
        };
        end(left)
    });
    match ended.await {
        Ok(Ok(())) => Ok(TreeGone::proven(None)),
        Ok(Err(left)) => Err(NotGone::of(left)),
        Err(_) => Err(NotGone::unknown()),
    }
}

/// Ends what `left` finds until it finds nothing: SIGTERM first, so that a CLI cleans up its tools.
pub(crate) fn end(left: impl Fn() -> Vec<Process>) -> Result<(), Vec<Process>> {
    let began = Instant::now();
    let mut asked: Vec<Process> = Vec::new();
    let mut pause = Duration::from_millis(1);
    loop {
        let found = left();
        if found.is_empty() {
            return Ok(());
        }
        let elapsed = began.elapsed();
        if elapsed >= GRACE + BOUND {
            return Err(found);
        }
        for process in found {
            if elapsed >= GRACE {
                process.signal(Signal::KILL);
            } else if !asked.contains(&process) {
                process.signal(Signal::TERM);
                // A frozen process cannot take the signal before it is thawed.
                process.signal(Signal::CONT);
                asked.push(process);
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
