//! Ends a tree: a ladder of ever harder means, each with a deadline that an exit ends early.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::Signal;

use crate::gone::{self, NotGone, TreeGone};
use crate::leftovers::Leftovers;
use crate::pid::Process;
use crate::prove::Asked;
use crate::scan::Seen;
use crate::survivors;
use crate::tree::{Members, Scope, Tree};
use crate::writer::LineWriter;

/// How long killed processes may take to be gone; one in an uninterruptible wait may take longer.
const BOUND: Duration = Duration::from_secs(10);

/// How long the tail of stderr is waited for once nobody is left to write it.
const TAIL: Duration = Duration::from_millis(200);

/// How long the leader of a dropped tree may take to clean up.
const GRACE: Duration = Duration::from_secs(2);

/// One means of ending a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rung {
    /// Write this line to the leader.
    WriteLine(Bytes),
    /// Close the leader's stdin.
    CloseStdin,
    /// Send SIGTERM to the leader alone, so that it cleans up after itself.
    Terminate,
}

/// The means by which a tree is ended, in order, each with the time that the leader then has to exit; after the last one,
/// whatever is left is killed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ladder {
    rungs: Vec<(Rung, Duration)>,
}

impl Ladder {
    /// The shortest ladder: everything is killed at once, as after a crash.
    pub fn kill() -> Self {
        Self::default()
    }

    /// Adds a rung.
    #[must_use]
    pub fn rung(mut self, rung: Rung, deadline: Duration) -> Self {
        self.rungs.push((rung, deadline));
        self
    }
}

impl Tree {
    /// Ends the tree and proves it gone, wherever its processes went.
    ///
    /// What the leader still prints must be read meanwhile, or it may wait for that for ever.
    ///
    /// The processes are looked at before the leader is told anything, since what descends from it is known by that only
    /// as long as the parents between live. [`Ladder::kill`] is the way to end what crashed: where there is a cgroup,
    /// that is the proof, and what slipped out of it is ended meanwhile ([`TreeGone::leftovers`]).
    ///
    /// # Errors
    ///
    /// [`NotGone`] if a process is left although it was killed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the tree in the background, without the rungs.
    pub async fn stop(mut self, ladder: Ladder, mut stdin: Option<LineWriter>) -> Result<TreeGone, NotGone> {
        let stderr = self.stderr_tail();
        let members = self.members.take().expect("only `stop` takes the members, and it consumes the tree");
        let mut ending = Ending::new(members);
        let members = ending.get();
        let crashed = ladder.rungs.is_empty() && members.cgroup.is_some();
        let scope = if crashed { Scope::Contained } else { Scope::Everything };
        let mut is_told = false;
        if !crashed && !members.leader.has_exited() {
            // A signal needs nobody on this side: it is sent there, so that it comes although this is not polled for long.
            is_told = matches!(ladder.rungs.first(), Some((Rung::Terminate, _)));
            let looking = tokio::task::spawn_blocking(move || ending.looked_at(is_told));
            ending = looking.await.map_err(|_| NotGone::stopped())?;
        }
        for (rung, deadline) in ladder.rungs {
            if ending.get().leader.status().is_some() {
                break;
            }
            if !std::mem::take(&mut is_told) {
                climb(rung, ending.get(), &mut stdin);
            }
            let mut status = ending.get().leader.watch();
            let exited = async {
                if let Some(stdin) = &mut stdin {
                    let _broken = stdin.flush().await;
                }
                let _ended = status.wait_for(Option::is_some).await;
            };
            let _late = tokio::time::timeout(deadline, exited).await;
        }
        drop(stdin);
        let result = match ending.gone_already(scope) {
            Some(gone) => Ok(ending.proven(gone, scope)),
            // If the runtime shuts down before this runs, the value is dropped, which ends the tree all the same.
            None => match tokio::task::spawn_blocking(move || ending.finish(scope)).await {
                Ok(result) => result,
                Err(_) => Err(NotGone::stopped()),
            },
        };
        stderr.closed(TAIL).await;
        result
    }
}

fn climb(rung: Rung, members: &Members, stdin: &mut Option<LineWriter>) {
    tracing::debug!(pid = %members.leader.pid(), ?rung, "ending a tree");
    match rung {
        Rung::WriteLine(line) => {
            if let Some(stdin) = stdin {
                let _gone = stdin.push(line);
            }
        }
        Rung::CloseStdin => *stdin = None,
        Rung::Terminate => members.leader.signal(Signal::TERM),
    }
}

impl Members {
    /// The proof, or what is left. The leader keeps its id until it was looked for everywhere.
    fn prove(&self, scope: Scope, seen: &mut Seen) -> io::Result<Result<TreeGone, Vec<Process>>> {
        // Asked first: while the leader lives it may start what is not seen below.
        let status = self.leader.status();
        let found = self.look(scope)?;
        Ok(match (seen.note(&found), status) {
            (Some(left), _) => Err(left),
            (None, None) => Err(vec![self.leader.process()]),
            (None, Some(status)) => {
                if scope == Scope::Everything {
                    self.leader.reap();
                }
                // A member that was dying during the look was an orphan by then.
                let unclear = found.unclear.into_iter().filter(|process| process.is_alive()).collect();
                Ok(TreeGone::proven(Some(status), seen.proofs(), unclear))
            }
        })
    }
}

/// Kills until nothing is left; what cannot be ended is taken note of.
pub(crate) fn kill_all(members: &Members, scope: Scope, seen: &mut Seen) -> Result<TreeGone, NotGone> {
    killed(members, scope, seen).inspect_err(|error| survivors::note(&members.cookie, error))
}

/// As often as there is something: a process that was forking while it was killed leaves another.
fn killed(members: &Members, scope: Scope, seen: &mut Seen) -> Result<TreeGone, NotGone> {
    let until = Instant::now() + BOUND;
    let mut pause = Duration::from_micros(200);
    let mut asked = Asked::default();
    loop {
        let left = members.prove(scope, seen);
        if let Ok(Ok(gone)) = left {
            if !gone.left().is_empty() {
                let left = gone::names(gone.left());
                tracing::warn!(%left, "these may be of the session whose processes were ended, and are left alone");
            }
            return Ok(gone);
        }
        members.kill();
        let why = match left {
            Ok(left) => {
                let left = left.err().unwrap_or_default();
                asked.kill(&left);
                if asked.all_refused(&left) {
                    return Err(NotGone::refused(left).having(seen.proofs()));
                }
                NotGone::survived(left)
            }
            Err(error) => NotGone::unreadable(&error),
        };
        if Instant::now() >= until {
            return Err(why.having(seen.proofs()));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The members of a tree whose owner is on its way out: if it is dropped, a thread ends them.
pub(crate) struct Ending {
    members: Option<Members>,
    /// What was seen before the leader was told to end.
    seen: Seen,
}

impl Ending {
    pub(crate) fn new(members: Members) -> Self {
        Self { members: Some(members), seen: Seen::default() }
    }

    pub(crate) fn get(&self) -> &Members {
        self.members.as_ref().expect("the members are taken by `disarm` alone, which consumes the value")
    }

    /// Takes note of what descends from the leader, and then terminates that, if it is to; blocks.
    fn looked_at(mut self, terminates: bool) -> Self {
        match self.get().look_everywhere() {
            Ok(found) => drop(self.seen.note(&found)),
            // The proof looks again, until it can.
            Err(error) => tracing::debug!(%error, "processes cannot be looked at"),
        }
        if terminates {
            self.get().leader.signal(Signal::TERM);
        }
        self
    }

    /// The proof, if it costs next to nothing.
    fn gone_already(&mut self, scope: Scope) -> Option<TreeGone> {
        if scope == Scope::Everything {
            return None;
        }
        let members = self.members.as_ref()?;
        members.prove(scope, &mut self.seen).ok()?.ok()
    }

    /// Kills what is left and proves it gone; takes a while, and blocks.
    fn finish(mut self, scope: Scope) -> Result<TreeGone, NotGone> {
        let members = self.members.as_ref().expect("the members are taken by `disarm` alone");
        let result = kill_all(members, scope, &mut self.seen);
        match result {
            Ok(gone) => Ok(self.proven(gone, scope)),
            Err(error) => {
                drop(self.disarm());
                Err(error)
            }
        }
    }

    /// Lets go of a tree that is gone as far as that scope shows.
    fn proven(self, gone: TreeGone, scope: Scope) -> TreeGone {
        let members = self.disarm();
        match scope {
            Scope::Contained => gone.searched(Leftovers::begin(members)),
            Scope::Everything => gone,
        }
    }

    pub(crate) fn disarm(mut self) -> Members {
        self.members.take().expect("the members are taken by `disarm` alone, which consumes the value")
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(members) = self.members.take() else { return };
        let mut seen = std::mem::take(&mut self.seen);
        members.leader.signal(Signal::TERM);
        let members = Arc::new(members);
        let unended = Arc::clone(&members);
        let end = move || {
            if let Ok(found) = members.look_everywhere() {
                seen.note(&found);
            }
            let until = Instant::now() + GRACE;
            while members.leader.status().is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            if let Err(error) = kill_all(&members, Scope::Everything, &mut seen) {
                tracing::error!(%error, "a dropped tree is not gone");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("tw-reap".to_owned()).spawn(end) {
            tracing::error!(%error, "failed to start a thread that ends a dropped tree; it is killed at once");
            unended.kill();
        }
    }
}
