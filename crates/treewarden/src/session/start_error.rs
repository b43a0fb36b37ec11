//! Why a session did not start.

use std::fmt;

use treewarden_proto::SessionName;

/// A session that did not start.
#[derive(Debug, Clone)]
pub struct StartError {
    kind: StartErrorKind,
    message: String,
}

/// The kinds of [`StartError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartErrorKind {
    /// The options contradict each other.
    InvalidOptions,
    /// A live session holds the name.
    NameTaken,
    /// The state directory cannot be used.
    State,
    /// The supervisor refused the child.
    Supervisor,
}

impl StartError {
    fn new(kind: StartErrorKind, message: String) -> Self {
        Self { kind, message }
    }

    pub(crate) fn invalid(error: &dyn fmt::Display) -> Self {
        Self::new(StartErrorKind::InvalidOptions, format!("start a session: {error}"))
    }

    pub(crate) fn taken(name: &SessionName) -> Self {
        Self::new(StartErrorKind::NameTaken, format!("start session {name:?}: a live session holds the name"))
    }

    pub(crate) fn store(error: &dyn fmt::Display) -> Self {
        Self::new(StartErrorKind::State, format!("start a session: {error}"))
    }

    pub(crate) fn supervisor(error: &dyn fmt::Display) -> Self {
        Self::new(StartErrorKind::Supervisor, format!("start a session: {error}"))
    }

    /// The kind of failure.
    pub fn kind(&self) -> StartErrorKind {
        self.kind
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.message)
    }
}

impl std::error::Error for StartError {}
