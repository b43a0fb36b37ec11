//! How the store fails.

use rusqlite::ErrorCode;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The disk or the quota is full; nothing was stored.
    DiskFull,
    /// Another process kept the database locked for longer than the bound.
    Busy,
    /// The database was written by a newer version; it was not touched.
    NewerSchema,
    /// It may not be written: the rights of its owner are missing, or its filesystem is mounted read-only.
    ReadOnly,
    /// What is stored cannot be read.
    Corrupt,
    /// The state directory, or a file of it, was removed or replaced under the running program, and nothing was stored; or
    /// the database was removed while none ran, and nothing was begun anew.
    Removed,
    /// The disk did not answer in time: nobody knows whether it was stored, or still will be.
    Unknown,
    /// Anything else.
    Other,
}

/// An operation of the store that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

impl StoreError {
    /// Says what failed, in words that a person can act on.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn removed(path: &std::path::Path) -> Self {
        let text = format!(
            "{} was removed, or replaced, under the running program, which can store nothing any more: put it back from a \
             copy and start it again; without one the names begin anew, unless `resume` gives them the ids that \
             `ps --json` still shows",
            path.display()
        );
        Self::new(StoreErrorKind::Removed, text)
    }

    /// The same of the database, without which no start begins: see `mark`.
    pub(crate) fn database_removed(path: &std::path::Path) -> Self {
        let text = format!(
            "{} was removed, or replaced, under the running program, which can store nothing any more; stop it, put a copy \
             of the database back, and start it again",
            path.display()
        );
        Self::new(StoreErrorKind::Removed, text)
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreErrorKind::DiskFull,
            // The last one is what SQLite says when many others open and close the log at once.
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed,
            ) => StoreErrorKind::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Other,
        };
        Self::new(kind, format!("use the state database: {error}"))
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(StoreErrorKind::Corrupt, format!("read or write a stored value as JSON: {error}"))
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        let kind =
            if crate::lock::is_full(&error) { StoreErrorKind::DiskFull } else { StoreErrorKind::Other };
        Self::new(kind, format!("use the state directory: {error}"))
    }
}
