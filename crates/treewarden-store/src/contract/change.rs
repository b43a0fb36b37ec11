//! What is committed, by whom, and what became of it.

use treewarden_proto::{SessionId, SessionName, TurnId};

use super::Lines;
use crate::SessionRecord;

/// The right to make the next commit of a name.
///
/// It can be kept and copied; which of two copies counts is decided by the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenure {
    /// The name.
    pub name: SessionName,
    /// Which taking of the name it comes from; a later one has a higher epoch.
    pub epoch: u64,
    /// How many commits were stored under the name before.
    pub seq: u64,
}

/// What one commit stores: all of it or nothing.
///
/// A turn of another name is one that the store does not hold. What has its outcome changes no more; a change that notes
/// something of a turn and settles it as well notes it first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// The record of the name, in place of the one that is there.
    pub record: Option<SessionRecord>,
    /// Turns of the name that have their outcome.
    pub settle: Vec<Settle>,
    /// Turns that may have been written to a CLI from now on.
    pub sent: Vec<TurnId>,
    /// Turns under which a CLI died, each once more.
    pub interrupted: Vec<TurnId>,
    /// Lines of the conversation's transcript.
    pub lines: Vec<Lines>,
}

/// A turn and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// The turn.
    pub turn: TurnId,
    /// Its outcome, as JSON that is kept as it is.
    pub outcome: Box<str>,
    /// The conversation that answered it, if that is another than the one it was asked in; the turn is that one's from then on.
    pub answered_in: Option<SessionId>,
    /// When it was settled, in Unix milliseconds.
    pub at: u64,
}

/// What became of a change that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The right to make the next one.
    pub next: Tenure,
    /// Turns that had another outcome already, which stands, with that outcome.
    pub already: Vec<(TurnId, Box<str>)>,
    /// Turns that the store does not hold; whatever was to become of them is stored nowhere.
    pub unknown: Vec<TurnId>,
}
