//! A whole tree, resolved: nothing in it can be refused later.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use treewarden_core::session::Delivery;
use treewarden_otp_core::Backoff;
use treewarden_otp_core::supervisor::{Flags, Restart, Shutdown};
use treewarden_proto::{SessionName, SessionSpec};
use treewarden_store::Durability;

use crate::session::CutOffTools;
use crate::supervisor::StartChild;

/// A whole tree as a file describes it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TreeSpec {
    /// Where records, journal and leases are kept; unset is the user's state directory.
    pub state_dir: Option<PathBuf>,
    /// What an accepted turn survives.
    pub durability: Durability,
    /// How many CLIs may live at once; unset is no limit.
    pub max_live: Option<usize>,
    /// The root supervisor.
    pub root: SupervisorDecl,
}

impl TreeSpec {
    /// Every session of the tree, in the order of their starts.
    pub fn sessions(&self) -> Vec<&SessionDecl> {
        let mut found = Vec::new();
        self.root.collect(&mut found);
        found
    }
}

/// A supervisor of the tree.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SupervisorDecl {
    /// Its strategy, budget and the like.
    pub flags: Flags,
    /// Its children, in the order in which they are started.
    pub children: Vec<ChildDecl>,
}

impl SupervisorDecl {
    fn collect<'a>(&'a self, found: &mut Vec<&'a SessionDecl>) {
        for child in &self.children {
            match &child.kind {
                ChildKind::Session(session) => found.push(session),
                ChildKind::Supervisor(supervisor) => supervisor.collect(found),
                ChildKind::Custom { .. } => {}
            }
        }
    }
}

/// A child of the tree.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildDecl {
    /// Its name, unique among its siblings.
    pub name: SessionName,
    /// When it is started again.
    pub restart: Restart,
    /// How it is stopped; unset is the default of its kind.
    pub shutdown: Option<Shutdown>,
    /// Whether its end counts for the supervisor's `auto_shutdown`.
    pub significant: bool,
    /// How long its restarts wait; unset is not at all.
    pub backoff: Option<Backoff>,
    /// What it is.
    pub kind: ChildKind,
}

/// What a child is.
#[derive(Clone)]
#[non_exhaustive]
pub enum ChildKind {
    /// A session.
    Session(Box<SessionDecl>),
    /// A supervisor with children of its own.
    Supervisor(SupervisorDecl),
    /// Something that the embedding program knows how to start.
    Custom {
        /// The name of the type.
        type_name: String,
        /// Its own options, as the file has them.
        options: Map<String, Value>,
        /// What starts it.
        start: Arc<dyn StartChild>,
    },
}

impl fmt::Debug for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => f.debug_tuple("Session").field(session).finish(),
            Self::Supervisor(supervisor) => f.debug_tuple("Supervisor").field(supervisor).finish(),
            Self::Custom { type_name, .. } => f.debug_tuple("Custom").field(type_name).finish(),
        }
    }
}

/// A session of the tree; what is unset is the default of [`SessionOptions`](crate::session::SessionOptions).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionDecl {
    /// Its options, which agree with each other; its name is set.
    pub spec: SessionSpec,
    /// How long it may be idle before its CLI is parked.
    pub idle_timeout: Option<Duration>,
    /// How long a turn waits for a CLI that works at something of its own.
    pub own_work_wait: Option<Duration>,
    /// How long background tasks keep its CLI from being parked.
    pub background_wait: Option<Duration>,
    /// Whether its CLI is kept once it is started.
    pub pinned: bool,
    /// How long a busy CLI may be silent before it is probed.
    pub silence_timeout: Option<Duration>,
    /// How long a CLI may take to start.
    pub start_timeout: Option<Duration>,
    /// How long an interrupted turn may take to its result.
    pub drain_timeout: Option<Duration>,
    /// What a crash means to a turn.
    pub delivery: Option<Delivery>,
    /// What becomes of a tool that was running when its CLI died.
    pub cut_off_tools: Option<CutOffTools>,
    /// How many CLIs are kept initialized for sessions that are started alike.
    pub warm: Option<usize>,
}
