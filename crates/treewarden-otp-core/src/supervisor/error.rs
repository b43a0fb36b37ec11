//! What the supervisor's API refuses, one type for each operation, with OTP's cases.

use super::event::RunId;
use super::spec::{ChildId, FlagsError, SpecError};
use crate::ExitReason;

/// Says why `start_child` started nothing.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartChildError<C> {
    /// A child with this id runs.
    #[error("start child {id}: one with this id is already started")]
    AlreadyStarted {
        /// The id.
        id: ChildId,
        /// The run.
        pid: RunId,
        /// The running child.
        child: C,
    },
    /// A child with this id exists and does not run; `restart_child` or `delete_child` it.
    #[error("start child {0}: one with this id is already present, restart or delete it")]
    AlreadyPresent(ChildId),
    /// The spec is not valid here.
    #[error("{0}")]
    InvalidSpec(#[from] SpecError),
    /// The start function failed; nothing is kept.
    #[error("start child {id}: {reason}")]
    Failed {
        /// The id.
        id: ChildId,
        /// Why.
        reason: ExitReason,
    },
    /// The dynamic supervisor has as many children as it may have.
    #[error("start child {id}: the supervisor has its maximum of {max} children")]
    MaxChildren {
        /// The id.
        id: ChildId,
        /// The limit.
        max: usize,
    },
    /// The supervisor has ended.
    #[error("start child: the supervisor has ended")]
    NoProc,
}

/// Says that the supervisor has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("call the supervisor: it has ended")]
pub struct NoProc;

/// Says that a call found no such child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindChildError {
    /// The supervisor has no child with this id or incarnation.
    #[error("find the child: the supervisor has none with this id or incarnation")]
    NotFound,
    /// The supervisor has ended.
    #[error("find the child: the supervisor has ended")]
    NoProc,
}

/// Says why `restart_child` started nothing.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RestartChildError {
    /// There is no such child.
    #[error("restart child: the supervisor has none with this id")]
    NotFound,
    /// The child runs.
    #[error("restart child: it is running, terminate it first")]
    Running,
    /// The supervisor is about to restart it.
    #[error("restart child: the supervisor is restarting it")]
    Restarting,
    /// The start function failed; the spec is kept.
    #[error("restart child: {0}")]
    Failed(ExitReason),
    /// Children of a dynamic supervisor have no id to restart them by: `restart_run` does it.
    #[error("restart child: a dynamic supervisor cannot")]
    Dynamic,
    /// The child is temporary and runs: what starts it is gone.
    #[error("restart child: it is temporary, and what started it is not kept; start another")]
    Temporary,
    /// The supervisor has ended.
    #[error("restart child: the supervisor has ended")]
    NoProc,
}

/// Says why `delete_child` forgot nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteChildError {
    /// There is no such child.
    #[error("delete child: the supervisor has none with this id")]
    NotFound,
    /// The child runs.
    #[error("delete child: it is running, terminate it first")]
    Running,
    /// The supervisor is about to restart it.
    #[error("delete child: the supervisor is restarting it, terminate it first")]
    Restarting,
    /// Children of a dynamic supervisor have no id to delete them by.
    #[error("delete child: a dynamic supervisor cannot")]
    Dynamic,
    /// The supervisor has ended.
    #[error("delete child: the supervisor has ended")]
    NoProc,
}

/// Says why new flags or specs were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The flags are not valid.
    #[error("{0}")]
    Flags(#[from] FlagsError),
    /// A spec is not valid.
    #[error("{0}")]
    Spec(#[from] SpecError),
    /// Children of a dynamic supervisor are not updated by id.
    #[error("update the children of a dynamic supervisor: stop and start them instead")]
    Dynamic,
    /// The supervisor has ended.
    #[error("update the supervisor: it has ended")]
    NoProc,
}

/// Says why a supervisor did not come up.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The flags are not valid.
    #[error("{0}")]
    Flags(#[from] FlagsError),
    /// A spec is not valid.
    #[error("{0}")]
    Spec(#[from] SpecError),
    /// A child did not start; those before it are stopped again.
    #[error("{0}")]
    Child(#[from] FailedToStartChild),
    /// The supervisor was told to stop before it was up.
    #[error("start the supervisor: it was stopped while its children were starting")]
    Stopped(ExitReason),
}

/// Says which child kept its supervisor from coming up: OTP's `{failed_to_start_child, Id, Reason}`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("start child {id}: {reason}")]
pub struct FailedToStartChild {
    /// The child.
    pub id: ChildId,
    /// Why it did not start.
    pub reason: ExitReason,
}
