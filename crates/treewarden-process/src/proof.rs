//! The proof that a tree is gone, and what is said where there is none.

use std::fmt;
use std::io;
use std::process::ExitStatus;

use tokio::sync::watch;

use crate::host::Host;
use crate::kin::Proofs;
use crate::limits::is_shortage;
use crate::os;
use crate::pid::Process;

/// The proof that no process of a session's tree lives; only this crate can make one.
///
/// Whoever starts the session's next tree takes one as an argument, so that a start before the proof cannot be written.
#[derive(Debug)]
pub struct TreeGone {
    status: Option<ExitStatus>,
    found: Proofs,
    left: Vec<Process>,
    leftovers: Option<Leftovers>,
    kernel_kills: u64,
}

impl TreeGone {
    pub(crate) fn proven(status: Option<ExitStatus>, found: Proofs, left: Vec<Process>) -> Self {
        Self { status, found, left, leftovers: None, kernel_kills: 0 }
    }

    /// So many of its processes were killed by the kernel at their limit.
    pub(crate) fn having_lost(self, kernel_kills: u64) -> Self {
        Self { kernel_kills, ..self }
    }

    /// How many processes of the tree the kernel killed at its limit of memory, as far as this host saw the end of the tree.
    pub fn kernel_kills(&self) -> u64 {
        self.kernel_kills
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

    /// Processes that may have been this tree's, or that of another one of this host that lives, or nobody's: these are left
    /// alone.
    ///
    /// They are in no containment of a tree, and came to this host when their parent ended ([`adopt_orphans`]). Where nothing
    /// but trees leaves orphans to this host, the last tree that may have left them ends them.
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

/// A search that goes on in a thread of its own, whether somebody waits for it or not.
#[derive(Debug, Clone)]
pub(crate) struct Leftovers(pub(crate) watch::Receiver<Option<Result<Proofs, NotGone>>>);

impl Leftovers {
    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Result<Proofs, NotGone> {
        let mut ended = self.0.clone();
        let result = ended.wait_for(Option::is_some).await.map(|result| result.clone());
        // The sender goes without a word if the thread could not be started: what was looked at by nobody is
        // no proof.
        result.ok().flatten().unwrap_or_else(|| Err(NotGone::stopped()))
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
    Short(String),
    Stopped,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The cgroup is not empty, and no process of it is to be seen.
            Self::Survivors(names) if names.is_empty() => f.write_str(
                "something is left in its cgroup that cannot be seen from here: end it in the container where it runs, or \
                 it does not end by SIGKILL",
            ),
            Self::Survivors(names) => write!(f, "{names} survives SIGKILL"),
            Self::Refused(names) => write!(f, "{names} may not be ended by this user"),
            Self::Held(names) => {
                write!(f, "{names}; stop that one first")
            }
            Self::Unreadable(error) | Self::Short(error) => write!(f, "its processes cannot be looked at: {error}"),
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
        let whose = |process: &Process| match os::user(process.pid) {
            Ok(Some(user)) => format!("{process} of user {user}"),
            _ => process.to_string(),
        };
        let named: Vec<String> = survivors.iter().map(whose).collect();
        Self::new(Why::Refused(named.join(", ")), survivors)
    }

    pub(crate) fn held(held: &[(Option<Process>, Host)]) -> Self {
        let name = |(process, host): &(Option<Process>, Host)| match process {
            Some(process) => format!("{process} belongs to {}", host.named()),
            None => format!("a process that cannot be seen from here belongs to {}", host.named()),
        };
        let named: Vec<String> = held.iter().map(name).collect();
        Self::new(Why::Held(named.join(", ")), held.iter().filter_map(|(process, _)| *process).collect())
    }

    pub(crate) fn unreadable(error: &io::Error) -> Self {
        let why = if is_shortage(error) { Why::Short } else { Why::Unreadable };
        Self::new(why(error.to_string()), Vec::new())
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

    /// Tells whether what lives on is another host's, and so not this one's to end.
    pub fn is_another_hosts(&self) -> bool {
        matches!(self.why, Why::Held(_))
    }

    /// Tells whether there were not enough descriptors, memory or threads to look: that may pass.
    pub fn is_shortage(&self) -> bool {
        matches!(self.why, Why::Short(_))
    }

    /// The processes that live on, as far as they are known.
    pub fn processes(&self) -> &[Process] {
        &self.survivors
    }
}

pub(crate) fn names(processes: &[Process]) -> String {
    processes.iter().map(Process::to_string).collect::<Vec<_>>().join(", ")
}
