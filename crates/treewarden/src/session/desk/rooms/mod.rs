//! What the desk's lock guards, in six rooms that each keep to themselves.
//!
//! A room is memory and the rules about it. Nothing in a room may take a lock, touch the disk, wait, or call its desk: the
//! desk's lock is held around all of it, and whoever waited here would stop every caller of the session.

mod commits;
mod identity;
mod job;
mod next_cli;
mod service;
mod shown;

use std::time::Instant;

pub(crate) use treewarden_core::session::Command;
pub(super) use treewarden_core::session::{Attached, CONSUMERS, Entry, PROMPTS, QUEUE, Room};
use treewarden_proto::TurnId;
use treewarden_store::SessionRecord;

pub(super) use self::commits::{Commits, NotTaken};
pub(super) use self::identity::{Identity, Lost};
pub(crate) use self::job::{Done, NotStored};
pub(super) use self::job::{Due, Edit, IN_HAND, Job, PATIENCE, Refused, Stored};
pub(super) use self::next_cli::NextCli;
pub(super) use self::service::{Service, ServiceState};
pub(super) use self::shown::Condition;
pub(crate) use self::{next_cli::Inherited, shown::Shown, shown::Work};
use crate::session::sink::Sink;

/// An open turn, with the consumers that wait for it.
pub(super) type TurnEntry = treewarden_core::session::TurnEntry<Sink>;

/// What waits in the session; a clear tells whoever waits for the new conversation.
type Queue = treewarden_core::session::Queue<Sink, Done>;

/// The six rooms.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) queue: Queue,
    pub(super) service: Service,
    pub(super) identity: Identity,
    pub(super) shown: Condition,
    pub(super) next: NextCli,
    pub(super) commits: Commits,
    /// Turns whose outcome was delivered, for the engine of the moment.
    pub(super) settled: Vec<TurnId>,
}

impl Rooms {
    pub(super) fn new(record: Option<SessionRecord>) -> Self {
        Self {
            queue: Queue::default(),
            service: Service::new(Instant::now()),
            identity: Identity::new(record),
            shown: Condition::default(),
            next: NextCli::default(),
            commits: Commits::default(),
            settled: Vec::new(),
        }
    }

    /// Since when the session has had nothing to do; `None` while it has a turn, works by itself, has the only copy of its
    /// conversation, or has lost its record.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.queue.is_idle() && self.commits.is_empty();
        // One whose record is lost waits for somebody who says what becomes of it.
        let is_idle =
            is_idle && !self.shown.works() && !self.shown.is_unsaved() && self.identity.lost().is_none();
        is_idle.then_some(self.service.used_at())
    }
}
