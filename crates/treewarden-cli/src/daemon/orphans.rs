//! What slips out of a session's tree stays below the daemon, and is reaped when it ends.
//!
//! As the first process of a container the daemon is given every orphan anyway: unreaped, each would stay a zombie until
//! the container ends.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::AbortHandle;

/// Reaps orphans until it is dropped.
#[derive(Debug)]
pub(super) struct Reaper(AbortHandle);

impl Reaper {
    /// Begins to adopt and reap; within a runtime, before the first session starts.
    pub(super) fn start() -> io::Result<Self> {
        // First, so that none ends unnoticed.
        let ended = signal(SignalKind::child())?;
        // The sessions run all the same; what slips out of them is then another process's to reap.
        if let Err(error) = treewarden_process::adopt_orphans() {
            tracing::warn!(%error, "what slips out of a session's processes goes to another process");
        }
        // Whoever looks for why a container has zombies, or whether it needs a process in front, finds it in the log.
        if std::process::id() == 1 {
            tracing::info!(
                "this is process 1: it reaps what the container leaves to it, so that no `--init` is needed"
            );
        }
        Ok(Self(tokio::spawn(reap(ended)).abort_handle()))
    }
}

async fn reap(mut ended: Signal) {
    // One signal may stand for several that ended: each look reaps all of them.
    while ended.recv().await.is_some() {
        // It waits while a process is being spawned.
        let _stopped = tokio::task::spawn_blocking(treewarden_process::reap_orphans).await;
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
