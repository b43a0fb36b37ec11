//! How the store fails.

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

    /// What kind of failure it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
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
