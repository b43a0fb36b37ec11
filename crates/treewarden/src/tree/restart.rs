//! Restarting a supervisor of a tree by its name.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use treewarden_otp_core::supervisor::{FindChildError, Restart, RestartChildError};

use super::current::Current;
use crate::host::Host;
use crate::suggest::no_such;
use crate::supervisor::{ChildId, ChildState, Kind, Supervisor};

/// Why a supervisor of the tree was not restarted.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RestartError {
    /// No supervisor has this name, or its own supervisor is down; nothing was done.
    #[error("restart {name:?}: {}", no_such("session or supervisor that could be restarted", .name, .known))]
    NotFound {
        /// The name.
        name: String,
        /// What could be restarted: the supervisors whose own supervisor runs, from the root down, and then the sessions.
        known: Vec<String>,
    },
    /// More than one supervisor has this name; nothing was done.
    #[error("restart the supervisor {name:?}: {count} have that name; give them different names")]
    Ambiguous {
        /// The name.
        name: String,
        /// How many have it.
        count: usize,
    },
    /// The supervisor is temporary: once stopped it would be forgotten; nothing was done.
    #[error("restart the supervisor {0:?}: it is temporary, and would be gone once it is stopped")]
    Temporary(String),
    /// Another change of the tree is under way; nothing was done.
    #[error("restart the supervisor: another change of the tree is under way; try again when it is done")]
    Busy,
    /// The tree is stopping, or has ended.
    #[error("restart the supervisor: the tree is stopping")]
    Stopping,
    /// It went away meanwhile.
    #[error("restart the supervisor: {0}")]
    Gone(#[from] FindChildError),
    /// It was stopped, and did not start; its spec is kept.
    #[error("restart the supervisor: {0}")]
    Failed(#[from] RestartChildError),
}

/// How long a restart waits for a session that is being made or removed, which takes no time as a rule.
const PATIENCE: Duration = Duration::from_secs(10);

/// A supervisor below the root, and the one that starts it.
struct Found {
    parent: Supervisor,
    id: ChildId,
}

pub(super) async fn restart(
    root: Supervisor,
    host: Host,
    current: Arc<Current>,
    name: String,
) -> Result<(), RestartError> {
    // A change of the tree looks at what runs, and would meet a branch that is half gone.
    let changing = current.claim().ok_or(RestartError::Busy)?;
    if current.is_stopping() || !root.is_alive() {
        return Err(RestartError::Stopping);
    }
    let task = tokio::spawn(async move {
        let _changing = changing;
        // `changing` before `members`, as in a change of the tree.
        let _members = current.all_members(PATIENCE).await.ok_or(RestartError::Busy)?;
        let Found { parent, id } = find(&root, &host, name.clone()).await?;
        // The spec is asked for before the stop: a supervisor forgets a temporary child that is stopped, and
        // nothing would be left to start.
        if parent.get_childspec(id.clone()).await?.restart == Restart::Temporary {
            return Err(RestartError::Temporary(name));
        }
        parent.terminate_child(id.clone()).await?;
        parent.restart_child(id).await?;
        Ok(())
    });
    task.await.unwrap_or(Err(RestartError::Stopping))
}

async fn find(root: &Supervisor, host: &Host, name: String) -> Result<Found, RestartError> {
    let mut all = Vec::new();
    below(root.clone(), &mut all).await;
    let mut known: Vec<String> = all.iter().map(|found| found.id.to_string()).collect();
    let mut named: Vec<Found> = all.into_iter().filter(|found| found.id.as_str() == name).collect();
    match (named.len(), named.pop()) {
        (1, Some(found)) => Ok(found),
        (0, _) | (_, None) => {
            let sessions = host.known_names().into_iter().map(|session| session.to_string());
            // A session of this very name was not meant by whoever asks for a supervisor.
            known.extend(sessions.filter(|session| *session != name));
            Err(RestartError::NotFound { name, known })
        }
        (count, _) => Err(RestartError::Ambiguous { name, count }),
    }
}

/// Finds the supervisors below one that runs, whatever state they are in.
fn below(parent: Supervisor, all: &mut Vec<Found>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    Box::pin(async move {
        // A supervisor that has ended has no children.
        let infos = parent.which_children().await.unwrap_or_default();
        for info in infos.into_iter().rev().filter(|info| info.kind == Kind::Supervisor) {
            let running = match &info.state {
                ChildState::Running(_, child) => child.extension::<Supervisor>().cloned(),
                _ => None,
            };
            all.push(Found { parent: parent.clone(), id: info.id });
            if let Some(running) = running {
                below(running, all).await;
            }
        }
    })
}
