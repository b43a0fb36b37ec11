//! Why a session did not start.
//!
//! It is for the start of the session, which starts no CLI: why that does not come up is told by its turns, and in its status.

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
    /// Nobody holds the name, or the session that does is being removed.
    NoSuchSession,
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

    /// What the session that had the name before has in hand comes first, and the store does not take it.
    pub(crate) fn in_hand(name: &SessionName, error: &dyn fmt::Display) -> Self {
        let message = format!(
            "start session {name:?}: what the one that had the name before leaves is not stored yet, and comes first: {error}; \
             nothing was started, start it again once the store takes it"
        );
        Self::new(StartErrorKind::State, message)
    }

    pub(crate) fn no_such_session(error: &dyn fmt::Display) -> Self {
        Self::new(StartErrorKind::NoSuchSession, format!("start a session: {error}"))
    }

    pub(crate) fn being_removed(name: &SessionName) -> Self {
        let message = format!(
            "start session {name:?}: it is being removed; make it again when it is gone, or use another"
        );
        Self::new(StartErrorKind::NoSuchSession, message)
    }

    /// Its supervisor does not know it any more.
    pub(crate) fn forgotten(name: &SessionName) -> Self {
        let message = format!(
            "start session {name:?}: its supervisor has it no more, since it is being removed or was to run once only; start another"
        );
        Self::new(StartErrorKind::NoSuchSession, message)
    }

    /// It needs no start.
    pub(crate) fn runs(name: &SessionName) -> Self {
        let message = format!(
            "start session {name:?}: it runs already, also where it has no CLI between two turns; nothing was done. \
             `treewarden restart {name}` starts it anew"
        );
        Self::new(StartErrorKind::Supervisor, message)
    }

    /// It is started without being asked to.
    pub(crate) fn restarts(name: &SessionName) -> Self {
        let message = format!(
            "start session {name:?}: its supervisor is about to start it again after a crash; `treewarden ps` shows when it has"
        );
        Self::new(StartErrorKind::Supervisor, message)
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
