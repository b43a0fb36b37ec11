//! Ends a tree: a ladder of ever harder means, each with a deadline that an exit ends early.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::Signal;

use crate::gone::{NotGone, TreeGone};
use crate::pid::Process;
use crate::scan::{Remains, Seen};
use crate::tree::{Members, Tree};
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
    /// The shortest ladder: everything is killed at once.
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
    /// Ends the tree and proves it gone.
    ///
    /// What the leader still prints must be read meanwhile, or it may wait for that for ever.
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
        let members = Ending::new(members);
        for (rung, deadline) in ladder.rungs {
            if members.get().leader.status().is_some() {
                break;
            }
            climb(rung, members.get(), &mut stdin);
            let mut status = members.get().leader.watch();
            let exited = async {
                if let Some(stdin) = &mut stdin {
                    let _broken = stdin.flush().await;
                }
                let _ended = status.wait_for(Option::is_some).await;
            };
            let _late = tokio::time::timeout(deadline, exited).await;
        }
        drop(stdin);
        let result = match members.get().gone_already() {
            Some(gone) => {
                drop(members.disarm());
                Ok(gone)
            }
            // If the runtime shuts down before this runs, the value is dropped, which ends the tree all the same.
            None => match tokio::task::spawn_blocking(move || members.finish()).await {
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
    /// The proof, if it costs next to nothing: of a tree without a cgroup all processes must be looked at.
    fn gone_already(&self) -> Option<TreeGone> {
        self.cgroup.as_ref()?;
        self.prove(&mut Seen::default()).ok()?.ok()
    }

    /// The proof, or what is left.
    fn prove(&self, seen: &mut Seen) -> io::Result<Result<TreeGone, Vec<Process>>> {
        // Asked first: while the leader lives it may start what is not seen below.
        let status = self.leader.status();
        Ok(match (seen.note(self.remains()?), status) {
            (Remains::Something(found), _) => Err(found),
            (Remains::Nothing, None) => Err(vec![self.leader.process()]),
            (Remains::Nothing, Some(status)) => {
                self.leader.reap();
                Ok(TreeGone::proven(Some(status)))
            }
        })
    }
}

/// Kills until nothing is left: a process that was forking while it was killed leaves another.
fn kill_all(members: &Members) -> Result<TreeGone, NotGone> {
    let until = Instant::now() + BOUND;
    let mut pause = Duration::from_micros(200);
    let mut seen = Seen::default();
    loop {
        let left = members.prove(&mut seen);
        if let Ok(Ok(gone)) = left {
            return Ok(gone);
        }
        members.kill();
        let why = match left {
            Ok(left) => {
                let left = left.err().unwrap_or_default();
                left.iter().for_each(|process| process.signal(Signal::KILL));
                NotGone::survived(left)
            }
            Err(error) => NotGone::unreadable(&error),
        };
        if Instant::now() >= until {
            return Err(why);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// The members of a tree whose owner is on its way out: if it is dropped, a thread ends them.
pub(crate) struct Ending(Option<Members>);

impl Ending {
    pub(crate) fn new(members: Members) -> Self {
        Self(Some(members))
    }

    pub(crate) fn get(&self) -> &Members {
        self.0.as_ref().expect("the members are taken by `disarm` alone, which consumes the value")
    }

    /// Kills what is left and proves it gone; takes a while, and blocks.
    fn finish(self) -> Result<TreeGone, NotGone> {
        let result = kill_all(self.get());
        drop(self.disarm());
        result
    }

    pub(crate) fn disarm(mut self) -> Members {
        self.0.take().expect("the members are taken by `disarm` alone, which consumes the value")
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(members) = self.0.take() else { return };
        members.leader.signal(Signal::TERM);
        let members = Arc::new(members);
        let unended = Arc::clone(&members);
        let end = move || {
            let until = Instant::now() + GRACE;
            while members.leader.status().is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            if let Err(error) = kill_all(&members) {
                tracing::error!(%error, "a dropped tree is not gone");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("tw-reap".to_owned()).spawn(end) {
            tracing::error!(%error, "failed to start a thread that ends a dropped tree; it is killed at once");
            unended.kill();
        }
    }
}
