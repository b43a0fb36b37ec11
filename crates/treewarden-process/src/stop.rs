//! Ends a tree: a ladder of ever harder means, each with a deadline that an exit ends early.

use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;

use crate::ending::Ending;
use crate::members::{Members, Scope};
use crate::proof::{NotGone, TreeGone};
use crate::tree::ProcessTree;
use crate::writer::LineWriter;

/// How long the tail of stderr is waited for once nobody is left to write it.
const TAIL: Duration = Duration::from_millis(200);

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

impl ProcessTree {
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
            // SIGTERM needs no pipe of ours. So the blocking thread sends it right after the look, and it
            // comes even if this future is not polled for a while.
            is_told = matches!(ladder.rungs.first(), Some((Rung::Terminate, _)));
            // If the runtime shuts down first, the closure is dropped with `ending` in it, which ends the
            // tree.
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
                    // A leader that has closed its stdin may still be ending well: its exit is what counts,
                    // and the deadline.
                    let _broken = stdin.flush().await;
                }
                let _ended = status.wait_for(Option::is_some).await;
            };
            // Late is no failure: the next rung is a harder one, and behind the last one comes SIGKILL.
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
        // With a bound, since a process that survived, or that was handed the pipe from outside the tree,
        // keeps it open.
        stderr.closed(TAIL).await;
        result
    }
}

fn climb(rung: Rung, members: &Members, stdin: &mut Option<LineWriter>) {
    tracing::debug!(pid = %members.leader.pid(), ?rung, "ending a tree");
    match rung {
        Rung::WriteLine(line) => {
            if let Some(stdin) = stdin {
                // A leader that does not take the line does not exit by it either: then the deadline of this
                // rung is over, and the next one comes.
                let _gone = stdin.push(line);
            }
        }
        Rung::CloseStdin => *stdin = None,
        Rung::Terminate => members.leader.signal(Signal::TERM),
    }
}
