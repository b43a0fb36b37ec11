//! Why something is not stored.

use crate::StoreError;

/// Why a commit is not known to be stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it was stored.
    #[error("{error}")]
    Failed {
        /// Why.
        error: StoreError,
        /// It may go well if it is asked again later: another process had the store locked, or its disk was full.
        retryable: bool,
    },
    /// The answer was lost or late: it may be stored, or still become so. The same change with the same tenure tells.
    #[error("{0}")]
    Unknown(StoreError),
    /// Another took the name since; nothing was stored. Whoever still has the right takes it again, and looks at what is there.
    #[error(
        "the session's name was taken by another process since (epoch {epoch}); nothing was stored: see that one program alone has the session"
    )]
    LeaseLost {
        /// The epoch that holds it now.
        epoch: u64,
    },
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        use crate::StoreErrorKind as Kind;
        match error.kind() {
            Kind::Unknown => Self::Unknown(error),
            kind => Self::Failed { retryable: matches!(kind, Kind::Busy | Kind::DiskFull), error },
        }
    }
}

/// Why a turn was not opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// The store holds a turn of this id, or held one with another prompt.
    #[error("open the turn: the store holds a turn of this id already")]
    Exists,
    /// The store held a turn of this id and removed it as it was old; of an id that says when it was made, at least one of the
    /// session that is not older ([`expiry`](crate::expiry)).
    #[error("open the turn: its id has expired; ask under a new one")]
    Expired,
    /// It cannot be stored.
    #[error("{0}")]
    Failed(#[from] StoreError),
}
