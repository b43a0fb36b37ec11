//! Supervision reports as data, with OTP's four contexts and its progress reports.

use std::fmt;

use super::event::RunId;
use super::spec::{ChildId, Kind, Restart, Shutdown};
use crate::ExitReason;

/// Where in a child's life an error report was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Context {
    /// A child could not be started.
    StartError,
    /// A child ended, and that was not a clean end of a child that may end cleanly.
    ChildTerminated,
    /// A child did not end with the reason it was stopped with.
    ShutdownError,
    /// The supervisor gives up.
    Shutdown,
}

impl Context {
    /// OTP's name for the context.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            // These are the names in OTP's log, and in the traces that the conformance tests compare.
            Self::StartError => "start_error",
            Self::ChildTerminated => "child_terminated",
            Self::ShutdownError => "shutdown_error",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Why a report was made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Reason {
    /// The child's exit reason, or its start error.
    Exit(ExitReason),
    /// More restarts than the budget allows.
    ReachedMaxRestartIntensity,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(reason) => reason.fmt(f),
            Self::ReachedMaxRestartIntensity => f.write_str("reached max restart intensity"),
        }
    }
}

/// The run that a report is about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum OffenderPid<C> {
    /// No run: the child was not up.
    Undefined,
    /// This run.
    Running(RunId, C),
    /// The child is waiting for its restart; the run that ended, where there was one.
    Restarting(Option<(RunId, C)>),
    /// So many children of a template supervisor, which ended with the same reason.
    Many(usize),
}

/// The child that a report is about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Offender<C> {
    /// Its id.
    pub id: ChildId,
    /// Its run.
    pub pid: OffenderPid<C>,
    /// When it is started again.
    pub restart: Restart,
    /// Whether it is significant.
    pub significant: bool,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// What it is.
    pub kind: Kind,
}

/// Something that a supervisor tells the world.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Report<C> {
    /// A child was started.
    Progress(Offender<C>),
    /// One of OTP's four error reports.
    Error(Context, Reason, Offender<C>),
    /// A child was killed and is still there: a handler of it does not yield. It is waited for, and not replaced.
    Quarantined(Offender<C>),
    /// A child spent its budget and stays down.
    Parked(Offender<C>),
    /// Somebody sent the supervisor's actor a message; it is ignored.
    UnexpectedMessage,
}
