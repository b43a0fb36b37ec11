//! What could not be read: set aside into a quarantine, and reported.
//!
//! Nothing is thrown away here: the quarantine keeps the text of the row, and a damaged file keeps its place beside the
//! database. Nothing is repaired either.

/// What kind of thing could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

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
        }
    }

    /// The kind of this word; of one that a newer version wrote, [`ProblemKind::Database`].
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        let kinds = [Self::Record, Self::Turn, Self::Removed, Self::Older, Self::Cut];
        kinds.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Database)
    }
}

/// Something stored that could not be read and was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What kind of thing it was.
    pub kind: ProblemKind,
    /// Which one: the session's name, the turn's id, or the path of the file now.
    pub key: String,
    /// Why it could not be read.
    pub reason: String,
    /// When it was set aside, in Unix milliseconds.
    pub at: u64,
}

impl Problem {
    /// Tells of something that was set aside.
    pub fn new(kind: ProblemKind, key: impl Into<String>, reason: impl Into<String>, at: u64) -> Self {
        Self { kind, key: key.into(), reason: reason.into(), at }
    }
}
