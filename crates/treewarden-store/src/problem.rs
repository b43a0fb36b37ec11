//! What is not whole of what is stored, as a store tells it: what it is, what it concerns, and why.
//!
//! Nothing is thrown away here: the quarantine keeps the text of a row, and a damaged file keeps its place beside the
//! database. Nothing is repaired either. A problem is told for as long as it is one; [`Backend::problems`](crate::Backend::problems)
//! says when it is over.

use treewarden_proto::{SessionName, TurnId};

/// What kind of thing could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The record of a session.
    Record,
    /// A turn of the journal.
    Turn,
    /// The whole database file.
    Database,
    /// The database was removed, and another one was begun.
    Removed,
    /// The database is an older copy of the one that was used last, or another one, or its log was removed.
    Older,
    /// The machine went down, and the newest commits may have gone with it.
    Cut,
    /// What is there is whole, and nothing can be written at present. It is never stored, and so has no number.
    Unwritable,
}

/// What ends a problem, in words: by its word, where it concerns a session (`NAME`), and where it is not known whose it is.
///
/// The same words stand in `docs/command.md`.
pub const ENDS: [(&str, &str, &str); 7] = [
    ("record", "`treewarden adopt NAME ID` or `treewarden clear NAME` ends this", ALL),
    ("turn", "`treewarden clear NAME` ends this, as another conversation of it does", ALL),
    ("database", ALL, ALL),
    ("removed", ALL, ALL),
    ("older", ALL, ALL),
    ("cut", ALL, ALL),
    ("unwritable", WRITES, WRITES),
];

const ALL: &str = "this is over once no session is lost any more, with the next start at the latest: `treewarden adopt --all-lost` has those \
                   that are go on with their conversations, `treewarden clear --all-lost` has them begin anew, and ends this at once";

const WRITES: &str = "this is over with the next write that is stored";

impl ProblemKind {
    /// The word by which a store and its users know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Turn => "turn",
            Self::Database => "database",
            Self::Removed => "removed",
            Self::Older => "older",
            Self::Cut => "cut",
            Self::Unwritable => "unwritable",
        }
    }

    /// The kind of this word; of one that a newer version wrote, [`ProblemKind::Database`].
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        let kinds = [Self::Record, Self::Turn, Self::Removed, Self::Older, Self::Cut];
        kinds.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Database)
    }
}

/// What a problem is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concern {
    /// All that the store holds.
    #[default]
    Store,
    /// The session of this name; of one of them, where the name itself may be what was damaged.
    Sessions(Vec<SessionName>),
    /// A turn.
    Turn {
        /// Its id; what may be its id, where that itself may be what was damaged.
        ids: Vec<TurnId>,
        /// Whose it is, likewise; empty if that cannot be told.
        names: Vec<SessionName>,
    },
}

impl Concern {
    /// The sessions that it names.
    pub fn names(&self) -> &[SessionName] {
        match self {
            Self::Store => &[],
            Self::Sessions(names) | Self::Turn { names, .. } => names,
        }
    }

    /// The turns that it names.
    pub fn turns(&self) -> &[TurnId] {
        if let Self::Turn { ids, .. } = self { ids } else { &[] }
    }
}

/// Something stored that is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What kind of thing it was.
    pub kind: ProblemKind,
    /// What it concerns.
    pub concern: Concern,
    /// Which one, in a word: the session's name, the turn's id, or the path of the file now.
    pub key: String,
    /// What cannot be read, and why.
    pub reason: String,
    /// When it was found, in Unix milliseconds.
    pub at: u64,
    /// Its number among all that the store has noted: a later one has a higher number. 0 if it could not be noted, and so is
    /// known for as long as the store is open.
    pub number: u64,
    /// No host had told of it when the store was opened.
    pub is_new: bool,
}

impl Problem {
    /// What ends it, in words for a person: a clause of its own, without a full stop.
    pub fn ends(&self) -> String {
        let row = ENDS.iter().find(|(word, ..)| *word == self.kind.as_str());
        let (_, of_a_session, otherwise) = row.copied().unwrap_or((self.kind.as_str(), ALL, ALL));
        match self.concern.names() {
            [] => otherwise.to_owned(),
            // Of several nobody knows which one it is: to clear the first may be to clear the wrong one.
            [name] => of_a_session.replace("NAME", name.as_str()),
            _ => of_a_session.to_owned(),
        }
    }

    /// Tells of something that is not whole, which is new and concerns the whole store.
    pub fn new(kind: ProblemKind, key: impl Into<String>, reason: impl Into<String>, at: u64) -> Self {
        let (key, reason) = (key.into(), reason.into());
        Self { kind, concern: Concern::Store, key, reason, at, number: 0, is_new: true }
    }

    /// Says what it concerns.
    #[must_use]
    pub fn about(mut self, concern: Concern) -> Self {
        self.concern = concern;
        self
    }

    /// Says which number it has, and whether no host told of it before.
    #[must_use]
    pub fn numbered(mut self, number: u64, is_new: bool) -> Self {
        (self.number, self.is_new) = (number, is_new);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> SessionName {
        name.parse().expect("a name")
    }

    #[test]
    fn each_kind_says_what_ends_it_and_of_which_session() {
        use ProblemKind as Is;
        for kind in [Is::Record, Is::Turn, Is::Database, Is::Removed, Is::Older, Is::Cut, Is::Unwritable] {
            assert!(ENDS.iter().any(|(word, ..)| *word == kind.as_str()), "{kind:?}");
            let ends = Problem::new(kind, "x", "y", 1).ends();
            assert!(!ends.contains("NAME"), "of no session: {ends}");
        }
        let of = |names: Vec<SessionName>| {
            Problem::new(Is::Record, "x", "y", 1).about(Concern::Sessions(names)).ends()
        };
        assert!(of(vec![name("alice")]).contains("`treewarden clear alice`"));
        assert!(of(vec![name("alice"), name("bob")]).contains("`treewarden clear NAME`"));
    }

    #[test]
    fn each_word_has_its_kind_but_for_what_is_never_stored() {
        for (word, ..) in ENDS.iter().filter(|(word, ..)| *word != "unwritable") {
            assert_eq!(ProblemKind::from_word(word).as_str(), *word);
        }
    }
}
