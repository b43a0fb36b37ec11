//! What the API says about children.

use treewarden_otp_core::supervisor as core;

use super::child::RunningChild;
use super::live::Live;
use super::start::Info;

/// A line of `which_children`.
pub type ChildInfo = core::ChildInfo<RunningChild>;

/// Where a child is in its life.
pub type ChildState = core::ChildState<RunningChild>;

/// The spec of a child as it is shown: without what starts it.
pub type ShownSpec = core::ChildSpec<()>;

/// Says why `start_child` started nothing.
pub type StartChildError = core::StartChildError<RunningChild>;

/// A child that was started by a call.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChildStarted {
    /// It runs; with it comes what its start returned besides.
    Running(RunningChild, Option<Info>),
    /// Its start said that there is nothing to run.
    Ignored,
}

impl ChildStarted {
    /// The running child, unless the start was ignored.
    #[must_use]
    pub fn child(&self) -> Option<&RunningChild> {
        match self {
            Self::Running(child, _) => Some(child),
            Self::Ignored => None,
        }
    }
}

impl ChildStarted {
    pub(super) fn of(started: core::ChildStarted<Live>) -> Self {
        match started {
            core::ChildStarted::Running(_, child, info) => Self::Running(child, info),
            core::ChildStarted::Ignored => Self::Ignored,
        }
    }
}
