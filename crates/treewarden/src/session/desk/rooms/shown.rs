//! What a session shows of itself: the parts of its status that come and go.
//!
//! It is not for what decides anything: whoever reads a status may be late by any time, so that nothing of the session's own
//! may go by what is shown here, but for what the desk says again only when it changes.

use std::time::{Instant, SystemTime};

use treewarden_core::session::{OwnWork, SessionState};
use treewarden_proto::{SessionId, SessionName, TurnId};

use crate::session::desk::Left;
use crate::session::status::{CliFeatures, Status};

/// Something that a session shows from now on.
#[derive(Debug)]
pub(crate) enum Shown {
    /// A CLI was spawned, whose processes are held together like this; its process id is told with the state.
    Spawned { containment: Box<str> },
    /// Why the session does not come up, or nothing any more.
    Trouble(Option<Box<str>>),
    /// How a CLI ended.
    Exited(Box<str>),
    /// Its supervisor starts the session again after a crash.
    Restarted,
    /// A CLI was replaced for its memory.
    Recycled,
    /// A turn was settled.
    Settled,
    /// The version that the CLI says it has.
    Version(String),
    /// Whether a resumed CLI waits for the session's own settings.
    AwaitsInitialize(bool),
    /// Whether the CLI names prompts on its results.
    Attributed(bool),
    /// The CLI printed a line that is no frame.
    SkippedLine,
    /// The CLI printed a frame of an unknown type.
    UnknownFrame,
}

/// What a CLI does by itself, and what of the conversation only it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) own: Option<OwnWork>,
    pub(crate) background_tasks: usize,
    pub(crate) unsaved: Option<String>,
}

/// What a session shows; see the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    state: SessionState,
    pid: Option<u32>,
    turn: Option<TurnId>,
    generation: u64,
    restarts: u64,
    recycled: u64,
    turns: u64,
    containment: Option<Box<str>>,
    last_exit: Option<Box<str>>,
    reason: Option<Box<str>>,
    attributed: Option<bool>,
    cli: CliFeatures,
    suspended_until: Option<SystemTime>,
    own_work: Option<&'static str>,
    background_tasks: usize,
    unsaved: Option<Box<str>>,
    skipped_lines: u64,
    unknown_frames: u64,
    removed: Option<Box<str>>,
    left: Left,
}

impl Condition {
    /// Shows this from now on.
    pub(crate) fn note(&mut self, shown: Shown) {
        match shown {
            Shown::Spawned { containment } => {
                self.generation += 1;
                self.containment = Some(containment);
            }
            Shown::Trouble(reason) => self.reason = reason,
            Shown::Exited(how) => self.last_exit = Some(how),
            Shown::Restarted => self.restarts += 1,
            Shown::Recycled => self.recycled += 1,
            Shown::Settled => self.turns += 1,
            Shown::Version(version) => self.cli.set_version(&version),
            Shown::AwaitsInitialize(awaits) => self.cli.awaits_initialize = Some(awaits),
            Shown::Attributed(by_id) => self.attributed = Some(by_id),
            Shown::SkippedLine => self.skipped_lines += 1,
            Shown::UnknownFrame => self.unknown_frames += 1,
        }
    }

    /// Shows what the session does; `true` if that is another state, or another CLI.
    pub(crate) fn set_state(&mut self, state: SessionState, pid: Option<u32>, turn: Option<TurnId>) -> bool {
        // A turn alone is no news: it is told by events of its own.
        let changed = self.state != state || self.pid != pid;
        if state != SessionState::Suspended {
            self.suspended_until = None;
        }
        (self.state, self.pid, self.turn) = (state, pid, turn);
        changed
    }

    pub(crate) fn state(&self) -> SessionState {
        self.state
    }

    /// The turn that it is at.
    pub(crate) fn turn(&self) -> Option<TurnId> {
        self.turn
    }

    /// It has a CLI.
    pub(crate) fn has_cli(&self) -> bool {
        self.pid.is_some()
    }

    /// How its last CLI ended.
    pub(crate) fn last_exit(&self) -> Option<&str> {
        self.last_exit.as_deref()
    }

    /// Shows the CLI's own work, and returns what was shown of the conversation before: it is told when it changes.
    pub(crate) fn set_work(&mut self, work: &Work) -> Option<Box<str>> {
        self.own_work = work.own.map(word);
        self.background_tasks = work.background_tasks;
        std::mem::replace(&mut self.unsaved, work.unsaved.as_deref().map(Into::into))
    }

    /// Its CLI does something by itself, also in the background.
    pub(crate) fn works(&self) -> bool {
        self.works_at_something() || self.background_tasks > 0
    }

    /// Its CLI is in a turn of its own.
    pub(crate) fn works_at_something(&self) -> bool {
        self.own_work.is_some()
    }

    /// Its CLI has the only copy of something.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.unsaved.is_some()
    }

    /// No turn begins before this time, which is in so long.
    pub(crate) fn suspend(&mut self, until: Instant, now: Instant) {
        // The status is read by other processes, whose clock is the wall's.
        self.suspended_until = Some(SystemTime::now() + until.saturating_duration_since(now));
    }

    /// Shows whether its turns are refused, and returns what was shown before.
    pub(crate) fn set_removed(&mut self, removed: Option<Box<str>>) -> Option<Box<str>> {
        std::mem::replace(&mut self.removed, removed)
    }

    /// What lives on of its CLIs.
    pub(crate) fn left(&self) -> &Left {
        &self.left
    }

    pub(crate) fn left_mut(&mut self) -> &mut Left {
        &mut self.left
    }

    /// The status of a session of this name and conversation, of which so many turns wait or run. It is made of a copy: whether
    /// a process lives is looked at.
    pub(crate) fn status(self, name: SessionName, session_id: Option<SessionId>, queued: usize) -> Status {
        let shown = self;
        // A clock before 1970 shows 0 and stops nobody.
        let epoch = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Status {
            name,
            session_id,
            state: shown.state,
            pid: shown.pid,
            turn: shown.turn,
            generation: shown.generation,
            restarts: shown.restarts,
            recycled: shown.recycled,
            turns: shown.turns,
            cost_usd: None,
            usage: None,
            containment: shown.containment,
            last_exit: shown.last_exit,
            reason: shown.reason,
            queued,
            attributed: shown.attributed,
            cli: shown.cli,
            suspended_until: shown.suspended_until.map(epoch),
            own_work: shown.own_work,
            background_tasks: shown.background_tasks,
            unsaved: shown.unsaved,
            unstored: None,
            skipped_lines: shown.skipped_lines,
            unknown_frames: shown.unknown_frames,
            removed: shown.removed,
            not_gone: shown.left.not_gone().map(Into::into),
            lost: None,
            may_be_left: shown.left.unclear().map(Into::into),
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status(shown: &Condition) -> Status {
        shown.clone().status(SessionName::new("a").expect("a name"), None, 0)
    }

    #[test]
    fn each_note_is_shown_and_counted_until_another_takes_its_place() {
        let mut shown = Condition::default();
        for note in [
            Shown::Spawned { containment: "cgroup".into() },
            Shown::Spawned { containment: "group".into() },
            Shown::Trouble(Some("no program".into())),
            Shown::Exited("killed".into()),
            Shown::Restarted,
            Shown::Recycled,
            Shown::Recycled,
            Shown::Settled,
            Shown::Version("2.1.332".to_owned()),
            Shown::AwaitsInitialize(true),
            Shown::Attributed(true),
            Shown::SkippedLine,
            Shown::UnknownFrame,
            Shown::UnknownFrame,
        ] {
            shown.note(note);
        }
        let status = status(&shown);
        assert_eq!((status.generation, status.containment.as_deref()), (2, Some("group")));
        assert_eq!(
            (status.reason.as_deref(), status.last_exit.as_deref()),
            (Some("no program"), Some("killed"))
        );
        assert_eq!((status.restarts, status.turns, status.attributed), (1, 1, Some(true)));
        assert_eq!(status.recycled, 2);
        assert_eq!(
            (status.cli.version.as_deref(), status.cli.awaits_initialize),
            (Some("2.1.332"), Some(true))
        );
        assert_eq!((status.skipped_lines, status.unknown_frames), (1, 2));
        shown.note(Shown::Trouble(None));
        assert_eq!(self::status(&shown).reason, None);
    }

    #[test]
    fn a_state_is_news_when_it_or_the_cli_is_another_and_a_suspension_ends_with_its_state() {
        let mut shown = Condition::default();
        let now = Instant::now();
        assert!(!shown.set_state(SessionState::Parked, None, None), "it began so");
        shown.suspend(now + Duration::from_secs(3), now);
        assert!(shown.set_state(SessionState::Suspended, Some(7), None));
        assert!(status(&shown).suspended_until.is_some());
        assert!(
            !shown.set_state(SessionState::Suspended, Some(7), Some(TurnId::new())),
            "the turn alone is none"
        );
        assert!(shown.set_state(SessionState::Suspended, Some(8), None));
        assert!(shown.set_state(SessionState::Ready, Some(8), None));
        assert_eq!(status(&shown).suspended_until, None);
    }

    #[test]
    fn what_is_not_on_disk_is_handed_out_when_it_changes() {
        let mut shown = Condition::default();
        let lost =
            Work { own: Some(OwnWork::WakeUp), background_tasks: 2, unsaved: Some("turn 1".to_owned()) };
        assert_eq!(shown.set_work(&lost), None);
        assert_eq!((status(&shown).own_work, status(&shown).background_tasks), (Some("wake_up"), 2));
        assert_eq!(shown.set_work(&Work::default()).as_deref(), Some("turn 1"));
        assert_eq!((status(&shown).own_work, status(&shown).unsaved), (None, None));
    }
}
