//! What a session is doing, in one word.
//!
//! It is a plain word of its own, so that what stands below sessions, such as the events, can name it. It must never need
//! anything of a session.

use serde::Serialize;

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionState {
    /// It has no CLI; the next turn starts one.
    #[default]
    Parked,
    /// Its CLI is being started.
    Starting,
    /// Its CLI waits for a turn.
    Ready,
    /// Its CLI works at something of its own; `own_work` says why.
    Working,
    /// Its CLI works at a turn.
    Busy,
    /// Its CLI is to end a turn before its time.
    Draining,
    /// It waits for the usage limit to be lifted.
    Suspended,
    /// Its CLI is being ended.
    Stopping,
    /// Its CLI died; its supervisor is about to start it again.
    Restarting,
    /// It was stopped, and stays so until it is started again.
    Stopped,
    /// It cannot start; `reason` says why. The next turn tries once more.
    Failed,
    /// It crashed more often than its supervisor allows, and stays down until it is started again; `reason` says why.
    GivenUp,
}
