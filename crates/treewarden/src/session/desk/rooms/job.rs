//! One thing that is stored as a whole: an outcome, a change of the record, a note about turns, or several of these.
//!
//! It is what is stored, and who is told. When and in which order is its queue's, `commits.rs`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use treewarden_core::session::{Failure, FailureKind, Outcome, OutcomeRecord};
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{SessionRecord, Settle};

use super::TurnEntry;

/// How long callers wait until the outcome that they wait for is stored: nobody notices two seconds behind a turn, and a store
/// that takes longer may take any time.
pub(crate) const IN_HAND: Duration = Duration::from_secs(2);

/// How long whoever needs something stored waits for it: as long as a caller takes for "within seconds".
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Why something is not stored.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotStored(pub(crate) Box<str>);

/// A change of the record; `false` if there is nothing to change. It is made again, on another record, if another wrote the name
/// meanwhile.
pub(crate) type Edit = Box<dyn FnMut(&mut SessionRecord) -> bool + Send>;

/// Tells whoever waits whether it is stored; `Ok(false)` if there was nothing to store.
pub(crate) type Done = oneshot::Sender<Result<bool, NotStored>>;

/// Something that is stored as a whole.
#[derive(Default)]
pub(crate) struct Job {
    pub(super) settle: Option<Settling>,
    pub(super) edit: Option<Edit>,
    pub(super) sent: Option<TurnId>,
    pub(super) interrupted: Vec<TurnId>,
    /// It has happened and is shown already: it is tried for as long as the host lives. Otherwise it is not made unless it is
    /// stored, and is let go when nobody waits for it any more.
    pub(super) holds: bool,
    /// The store has said of it alone that it does not take it, now or later.
    pub(super) refused: bool,
    /// It is let go if the store refuses it: somebody who may has said so.
    pub(super) let_go: bool,
    /// A conversation that was left, which is kept no longer once that is stored.
    pub(super) release: Option<(PathBuf, SessionId)>,
    pub(super) done: Option<Done>,
    /// Until when `done` waits; without a time as long as its other end is there.
    pub(super) until: Option<Instant>,
}

/// A turn that came to its outcome.
pub(super) struct Settling {
    pub(super) turn: TurnId,
    pub(super) outcome: Outcome,
    json: Box<str>,
    answered_in: Option<SessionId>,
    pub(super) entry: Option<Box<TurnEntry>>,
    pub(super) interruptions: u32,
    at: u64,
    /// When it is delivered, stored or not.
    pub(super) due: Instant,
    pub(super) delivered: bool,
    /// What is stored is a note in the place of the outcome.
    pub(super) is_note: bool,
}

/// An outcome that is to be delivered.
pub(crate) struct Due {
    pub(crate) turn: TurnId,
    pub(crate) outcome: Outcome,
    pub(crate) entry: Option<Box<TurnEntry>>,
    pub(crate) interruptions: u32,
    pub(crate) stored: bool,
}

/// What became of a job that is stored.
pub(crate) struct Stored {
    pub(crate) due: Option<Due>,
    /// The turn, if its outcome is ours, and not one that stood before.
    pub(crate) ours: bool,
    pub(crate) settled: Option<(TurnId, Outcome)>,
    /// The change that is to be shown now.
    pub(crate) edit: Option<Edit>,
    pub(crate) recorded: bool,
    pub(crate) release: Option<(PathBuf, SessionId)>,
    pub(crate) done: Option<Done>,
}

impl Job {
    /// A change that has happened.
    pub(crate) fn held(edit: Edit) -> Self {
        Self { edit: Some(edit), holds: true, ..Self::default() }
    }

    /// A change that is not made unless it is stored.
    pub(crate) fn wanted(edit: Edit) -> Self {
        Self { edit: Some(edit), ..Self::default() }
    }

    /// What has to be noted before a turn is sent.
    pub(crate) fn note(sent: Option<TurnId>, edit: Option<Edit>) -> Self {
        Self { sent, edit, ..Self::default() }
    }

    /// A CLI died under these turns.
    pub(crate) fn interrupted(turns: Vec<TurnId>) -> Self {
        Self { interrupted: turns, holds: true, ..Self::default() }
    }

    /// With the outcome of a turn; `entry` is whoever waits for it.
    pub(crate) fn with_outcome(
        mut self,
        (turn, outcome): (TurnId, Outcome),
        entry: Option<Box<TurnEntry>>,
        now: Instant,
        at: u64,
    ) -> Self {
        // A clear may have come between the question and the answer: the store has to know in which of the two
        // conversations the answer stands.
        let asked_in = entry.as_ref().map(|entry| entry.asked_in);
        let answered_in = outcome.answer().map(|answer| answer.session_id).filter(|id| asked_in != Some(*id));
        let json =
            outcome.to_json().or_else(|_| serde_json::to_string(&OutcomeRecord::without_frame(&outcome)));
        // No part of an outcome is known that is no JSON.
        let json = json.unwrap_or_else(|_| "{}".to_owned()).into_boxed_str();
        let interruptions = entry.as_ref().map_or(0, |entry| entry.interruptions);
        let due = now + IN_HAND;
        let (delivered, is_note) = (false, false);
        let settling =
            Settling { turn, outcome, json, answered_in, entry, interruptions, at, due, delivered, is_note };
        (self.settle, self.holds) = (Some(settling), true);
        self
    }

    /// Nobody waits for its outcome.
    pub(crate) fn undelivered(mut self) -> Self {
        if let Some(settle) = &mut self.settle {
            settle.delivered = true;
        }
        self
    }

    /// A conversation that was left is let go once this is stored.
    pub(crate) fn releasing(mut self, left: Option<(PathBuf, SessionId)>) -> Self {
        self.release = left;
        self
    }

    /// Somebody waits for it, until this time at most.
    pub(crate) fn telling(mut self, done: Done, until: Option<Instant>) -> Self {
        (self.done, self.until) = (Some(done), until);
        self
    }

    /// Nobody waits for it any more.
    pub(super) fn is_given_up(&self) -> bool {
        !self.holds && self.done.as_ref().is_none_or(Done::is_closed)
    }

    pub(super) fn tell(&mut self, what: Result<bool, NotStored>) {
        if let Some(done) = self.done.take() {
            // Whoever asked may have gone.
            let _gone = done.send(what);
        }
    }

    /// The outcome, if nobody was told it yet.
    pub(super) fn deliver(&mut self, stored: bool) -> Option<Due> {
        let settle = self.settle.as_mut().filter(|settle| !settle.delivered)?;
        settle.delivered = true;
        let (turn, outcome, interruptions) = (settle.turn, settle.outcome.clone(), settle.interruptions);
        Some(Due { turn, outcome, entry: settle.entry.take(), interruptions, stored })
    }
}

/// What is refused for good, when that is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The turn whose outcome it is; without one it is what else happened to the session.
    pub(crate) turn: Option<TurnId>,
    /// It is given up.
    pub(crate) let_go: bool,
}

impl Settling {
    /// Has a note stored in the place of the outcome, which was delivered: the turn is not to run again.
    ///
    /// It is a failure, whatever the outcome was: without its text and its result it would not say whether the CLI must have
    /// written the turn.
    pub(super) fn note_instead(&mut self, why: &str) {
        let word = self.outcome.word();
        let message = format!(
            "the turn ended as {word:?}, which was delivered and is not stored, since the store refused it for good: {why}"
        );
        let note = Outcome::Failed(Failure::new(FailureKind::Execution, message));
        // Words alone are JSON.
        self.json = note.to_json().unwrap_or_else(|_| "{}".to_owned()).into_boxed_str();
        self.is_note = true;
    }

    pub(super) fn settle(&self) -> Settle {
        Settle { turn: self.turn, outcome: self.json.clone(), answered_in: self.answered_in, at: self.at }
    }

    /// Takes the outcome that stood before, if there was one; `false` then. One that is this very outcome was stored by an
    /// earlier try, whose answer was lost.
    pub(super) fn is_ours(&mut self, already: &[(TurnId, Box<str>)]) -> bool {
        let first = already.iter().find(|(turn, _)| *turn == self.turn).map(|(_, first)| first);
        let Some(first) = first.filter(|first| **first != self.json) else { return true };
        // One that cannot be read, as that of a newer version may be: the caller gets what was found here.
        if let Ok(record) = serde_json::from_str::<OutcomeRecord<'_>>(first) {
            let asked_in = self.entry.as_ref().map(|entry| entry.asked_in);
            let id = self.outcome.answer().map(|answer| answer.session_id).or(asked_in);
            self.outcome = record.into_outcome(self.turn, id.unwrap_or_else(SessionId::random));
        }
        false
    }
}
