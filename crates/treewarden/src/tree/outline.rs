//! The shape of a running tree, as data.
//!
//! It is a look at one moment, made by asking each supervisor in turn: what it shows may have changed when it is read. Nothing may be
//! decided by it.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::host::Host;
use crate::session::Status;
use crate::supervisor::{ChildState, Kind, Supervisor};

/// A node of the tree, with those below it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Outline {
    /// Its name within its supervisor; empty for the root.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Where it is in its life.
    pub state: NodeState,
    /// Which of its starts this is, from 1; `None` if it does not run.
    pub incarnation: Option<u64>,
    /// The session's status, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Status>,
    /// The children, in the order of their starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Self>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeKind {
    /// A supervisor.
    Supervisor,
    /// A session.
    Session,
    /// Something of the embedding program's.
    Worker,
}

/// Where a node is in its life, as its supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeState {
    /// It runs; a session may do so without a CLI.
    Running,
    /// It is about to be started again.
    Restarting,
    /// It was stopped, and nobody starts it again by itself.
    Stopped,
    /// It spent its restart budget, and stays down until somebody starts it.
    Parked,
}

/// Looks at a supervisor and everything below it.
pub(super) async fn of(root: &Supervisor, host: &Host) -> Outline {
    let state = if root.is_alive() { NodeState::Running } else { NodeState::Stopped };
    Outline {
        name: String::new(),
        kind: NodeKind::Supervisor,
        state,
        incarnation: Some(1),
        session: None,
        children: children(root.clone(), host).await,
    }
}

fn children(supervisor: Supervisor, host: &Host) -> Pin<Box<dyn Future<Output = Vec<Outline>> + Send + '_>> {
    Box::pin(async move {
        // A supervisor that has ended has no children.
        let mut infos = supervisor.which_children().await.unwrap_or_default();
        // Newest first is the order of `which_children`, as in OTP.
        infos.reverse();
        let mut nodes = Vec::with_capacity(infos.len());
        for info in infos {
            let name = info.id.to_string();
            let (state, running) = match info.state {
                ChildState::Running(_, child) => (NodeState::Running, Some(child)),
                ChildState::Restarting => (NodeState::Restarting, None),
                ChildState::Parked => (NodeState::Parked, None),
                ChildState::Stopped => (NodeState::Stopped, None),
            };
            let session = host.status_of(&name);
            let is_supervisor = info.kind == Kind::Supervisor;
            let session = session.filter(|_| !is_supervisor);
            let below = running.as_ref().and_then(|child| child.extension::<Supervisor>().cloned());
            let kind = match (is_supervisor, &session) {
                (true, _) => NodeKind::Supervisor,
                (false, Some(_)) => NodeKind::Session,
                (false, None) => NodeKind::Worker,
            };
            let children = match below {
                Some(below) => children(below, host).await,
                None => Vec::new(),
            };
            let incarnation = running.map(|child| child.run_id().incarnation);
            nodes.push(Outline { name, kind, state, incarnation, session, children });
        }
        nodes
    })
}
