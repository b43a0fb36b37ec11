//! What slipped out of the cgroup of a tree that crashed: looked for beside the next start.
//!
//! # Why beside?
//!
//! A look at all processes takes as long as there are processes, and the caller of a crashed turn waits. The cgroup tells
//! at once that whatever could still write the conversation's files as a CLI does is gone; what moved itself elsewhere is
//! to be gone before the next CLI starts a tool, which is much later.

use tokio::sync::watch;

use crate::members::{Members, Scope, kill_all};
use crate::proof::Leftovers;

/// Begins to end what is found. The leader keeps its id until that is done.
pub(crate) fn begin(mut members: Members) -> Leftovers {
    // The cgroup is empty. Dropped here, its folder goes now, and not only when the search has ended.
    members.cgroup = None;
    let (done, ended) = watch::channel(None);
    let search = move || {
        let result = kill_all(&members, Scope::Everything, &mut Default::default());
        match &result {
            Ok(gone) if gone.found().all() > 0 => {
                tracing::warn!(found = %gone.found(), "ended what had left the cgroup of a tree that crashed");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "what a crashed tree left is not gone"),
        }
        // First the leader is reaped and the mark is free: whoever goes on at the word must not find this
        // tree among the live ones.
        drop(members);
        done.send_replace(Some(result.map(|gone| gone.found())));
    };
    if let Err(error) = std::thread::Builder::new().name("tw-left".to_owned()).spawn(search) {
        // The closure is dropped with the sender in it: whoever waits is told that there is no proof, and
        // starts nothing.
        tracing::error!(%error, "failed to start a thread that looks for what a crashed tree left");
    }
    Leftovers(ended)
}
