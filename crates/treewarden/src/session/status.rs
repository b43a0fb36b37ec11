//! What is known of a session at any time.

use std::time::SystemTime;

use serde::Serialize;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::SessionRecord;

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

/// The moving parts of a status.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    pub(crate) state: SessionState,
    pub(crate) pid: Option<u32>,
    pub(crate) turn: Option<TurnId>,
    pub(crate) generation: u64,
    pub(crate) restarts: u64,
    pub(crate) turns: u64,
    pub(crate) containment: Option<Box<str>>,
    pub(crate) last_exit: Option<Box<str>>,
    pub(crate) reason: Option<Box<str>>,
    pub(crate) attributed: Option<bool>,
    pub(crate) suspended_until: Option<SystemTime>,
    pub(crate) skipped_lines: u64,
    pub(crate) unknown_frames: u64,
}

/// What is known of a session; the answer comes at once, whatever the session is doing.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The session's name.
    pub name: SessionName,
    /// Its conversation; `None` before the first start.
    pub session_id: Option<SessionId>,
    /// What it is doing.
    pub state: SessionState,
    /// The process id of its CLI.
    pub pid: Option<u32>,
    /// The turn that its CLI works at.
    pub turn: Option<TurnId>,
    /// How many CLIs it has had in this host.
    pub generation: u64,
    /// How often its supervisor restarted it.
    pub restarts: u64,
    /// How many of its turns were settled in this host.
    pub turns: u64,
    /// How its processes are held together.
    pub containment: Option<Box<str>>,
    /// How its last CLI ended.
    pub last_exit: Option<Box<str>>,
    /// Why it failed or was given up, with the tail of the CLI's stderr.
    pub reason: Option<Box<str>>,
    /// How many turns wait or run.
    pub queued: usize,
    /// Whether its CLI names prompts on its results; without that the promises of a turn are weaker.
    pub attributed: Option<bool>,
    /// When a usage limit is lifted, in seconds of the Unix epoch.
    pub suspended_until: Option<u64>,
    /// How many lines of its CLI were no frames, or too long.
    pub skipped_lines: u64,
    /// How many frames were of a type that treewarden does not know.
    pub unknown_frames: u64,
}

impl Status {
    pub(crate) fn new(
        name: SessionName,
        record: Option<&SessionRecord>,
        queued: usize,
        condition: &Condition,
    ) -> Self {
        let condition = condition.clone();
        let epoch = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Self {
            name,
            session_id: record.map(|record| record.session_id),
            state: condition.state,
            pid: condition.pid,
            turn: condition.turn,
            generation: condition.generation,
            restarts: condition.restarts,
            turns: condition.turns,
            containment: condition.containment,
            last_exit: condition.last_exit,
            reason: condition.reason,
            queued,
            attributed: condition.attributed,
            suspended_until: condition.suspended_until.map(epoch),
            skipped_lines: condition.skipped_lines,
            unknown_frames: condition.unknown_frames,
        }
    }
}
