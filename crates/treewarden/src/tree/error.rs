//! Why a tree did not start.
//!
//! It is for a start alone: why a tree could not be changed is [`ApplyError`](super::ApplyError)'s.

use std::fmt;
use std::path::Path;

use treewarden_store::Held;

use crate::host::HostError;
use crate::session;
use crate::supervisor;

/// A tree that did not start; nothing of it is left running.
#[derive(Debug, Clone)]
pub struct TreeError {
    kind: TreeErrorKind,
    message: String,
    holder: Option<u32>,
}

/// The kinds of [`TreeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TreeErrorKind {
    /// Two of the spec have one name.
    Names,
    /// Another tree runs on the state directory.
    Held,
    /// The state directory cannot be used.
    State,
    /// Processes that a dead host left behind could not be ended.
    Leftovers,
    /// The root supervisor or one of its children did not start.
    Start,
}

impl TreeError {
    pub(super) fn held(dir: &Path, held: &Held) -> Self {
        if let Some(error) = &held.error {
            return Self::state(format!("lock {}: {error}", dir.display()));
        }
        let holder = held.by.as_ref().map(|by| by.pid).or(held.pid);
        let by = match (&held.by, holder) {
            (Some(by), _) => by.process(),
            (None, Some(pid)) => format!("process {pid}"),
            (None, None) => "another process".to_owned(),
        };
        let message = format!(
            "start the tree: {by} runs one on {}; stop that one, or choose another state directory",
            dir.display()
        );
        Self { kind: TreeErrorKind::Held, message, holder }
    }

    pub(super) fn state(message: impl fmt::Display) -> Self {
        Self::new(TreeErrorKind::State, message)
    }

    pub(super) fn new(kind: TreeErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: format!("start the tree: {message}"), holder: None }
    }

    /// The kind of failure.
    pub fn kind(&self) -> TreeErrorKind {
        self.kind
    }

    /// The process that runs a tree on the state directory, if it is known.
    pub fn holder(&self) -> Option<u32> {
        self.holder
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.message)
    }
}

impl std::error::Error for TreeError {}

impl From<HostError> for TreeError {
    fn from(error: HostError) -> Self {
        Self::state(error)
    }
}

impl From<supervisor::StartError> for TreeError {
    fn from(error: supervisor::StartError) -> Self {
        Self::new(TreeErrorKind::Start, error)
    }
}

impl From<session::StartError> for TreeError {
    fn from(error: session::StartError) -> Self {
        Self::new(TreeErrorKind::Start, error)
    }
}
