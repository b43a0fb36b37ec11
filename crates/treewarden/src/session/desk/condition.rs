//! What the desk shows of its session.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use treewarden_core::session::OwnWork;
use treewarden_proto::TurnId;

use super::{Desk, Entry};
use crate::events::Happening;
use crate::session::Shown;
use crate::session::sink::Sink;
use crate::session::status::{SessionState, Status};

impl Desk {
    /// Shows what the session does.
    pub(crate) fn set_state(&self, state: SessionState, pid: Option<u32>, turn: Option<TurnId>) {
        let mut inner = self.lock();
        let changed = inner.condition.state != state || inner.condition.pid != pid;
        if state != SessionState::Suspended {
            inner.condition.suspended_until = None;
        }
        inner.condition.state = state;
        inner.condition.pid = pid;
        inner.condition.turn = turn;
        drop(inner);
        if changed {
            tracing::debug!(session = %self.name, ?state, pid, "session");
            self.publish(Happening::State { state, pid });
        }
    }

    /// Shows what the CLI does by itself, and what of the conversation only it has.
    pub(crate) fn show_work(&self, shown: &Shown) {
        let unsaved = shown.unsaved.as_deref();
        let mut inner = self.lock();
        inner.condition.own_work = shown.own_work.map(word);
        inner.condition.background_tasks = shown.background_tasks;
        let before = std::mem::replace(&mut inner.condition.unsaved, unsaved.map(Into::into));
        drop(inner);
        match unsaved {
            Some(why) if before.as_deref() != Some(why) => {
                tracing::warn!(session = %self.name, why, "a conversation is not on disk, and its CLI is kept");
                self.publish(Happening::Unsaved { why: why.to_owned() });
            }
            None if before.is_some() => self.publish(Happening::Saved),
            _ => {}
        }
    }

    /// The CLI is gone, and what it did by itself with it.
    pub(crate) fn forget_work(&self) {
        let mut inner = self.lock();
        inner.condition.own_work = None;
        inner.condition.background_tasks = 0;
        inner.condition.unsaved = None;
    }

    pub(crate) fn interruptions(&self, turn: TurnId) -> u32 {
        self.lock().turn_mut(turn).map_or(0, |entry| entry.interruptions)
    }

    /// Notes that no turn begins before this time.
    pub(crate) fn suspend(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let mut inner = self.lock();
        inner.suspended_until = Some(until);
        inner.condition.suspended_until = Some(SystemTime::now() + left);
    }

    /// Until when no turn begins.
    pub(crate) fn suspended_until(&self) -> Option<Instant> {
        self.lock().suspended_until.filter(|until| *until > Instant::now())
    }

    /// The turn that is under way, or next.
    pub(crate) fn first_open(&self) -> Option<TurnId> {
        self.lock().entries.iter().find_map(Entry::turn)
    }

    /// Whoever consumes the frames of a turn.
    pub(crate) fn sinks_of(&self, turn: TurnId) -> Vec<Arc<Sink>> {
        let mut inner = self.lock();
        let all = inner.turn_mut(turn).map(|entry| entry.sinks.clone()).unwrap_or_default();
        drop(inner);
        all.into_iter().filter(|sink| sink.wants_frames()).collect()
    }

    /// The session's status, at once, whatever it is doing.
    pub(crate) fn status(&self) -> Status {
        let inner = self.lock();
        let record = inner.record.as_deref();
        let queued = inner.entries.len();
        let mut status = Status::new(self.name.clone(), record, queued, &inner.condition);
        drop(inner);
        // Where the state directory itself is gone, no session's turns are taken.
        status.removed = status.removed.or_else(|| self.host.removed().map(Into::into));
        status
    }
}

/// Why a CLI works by itself, in one word.
fn word(why: OwnWork) -> &'static str {
    match why {
        OwnWork::TaskEnded => "task_ended",
        OwnWork::WakeUp => "wake_up",
        _ => "unknown",
    }
}
