//! Turns and names, as they are asked and told.

use treewarden_proto::{SessionId, SessionName, TurnId};

use super::Tenure;
use crate::{SessionRecord, TurnRow};

/// A turn that is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTurn {
    /// Its id.
    pub turn: TurnId,
    /// Its session.
    pub name: SessionName,
    /// The conversation it is asked in.
    pub session_id: SessionId,
    /// Its prompt, as JSON.
    pub prompt: Box<str>,
    /// Whether a crash fails it instead of running it again.
    pub at_most_once: bool,
    /// When it was opened, in Unix milliseconds.
    pub opened_at: u64,
}

/// A turn that a store was asked for by its id.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredTurn {
    /// The turn as it stands.
    Held(Box<TurnRow>),
    /// It was settled, and removed since it was old. Of an id that says when it was made this much is known: turns that are
    /// not older were removed; there may never have been one of this very id.
    Expired,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// It never had a record.
    Never,
    /// Its record.
    Record(Box<SessionRecord>),
    /// It had a record, and that is gone: to begin it blank would lose a conversation. A commit of a record ends this.
    Lost {
        /// What happened to it, for a person.
        why: String,
        /// The conversation that it is known to have had.
        session_id: Option<SessionId>,
    },
}

/// What is known of a name and its open turns, of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct NameState {
    /// What is known of the name.
    pub told: Told,
    /// Its open turns, in the order in which they were opened.
    pub open: Vec<TurnRow>,
}

/// The names whose records are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LostNames {
    /// Each that is known, with the conversation that it is known to have had.
    pub names: Vec<(SessionName, Option<SessionId>)>,
    /// Why every name of which nothing is known is lost as well, if it is: what is left does not say which names there were.
    pub others: Option<String>,
}

/// A name that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The right to write it.
    pub tenure: Tenure,
    /// What is known of it.
    pub told: Told,
}
