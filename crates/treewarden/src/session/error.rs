//! Why a call to a session failed.
//!
//! It is for the callers of a session; why one did not start is [`StartError`](super::StartError)'s.

use std::fmt;

use treewarden_core::session::{Failure, FailureKind};
use treewarden_proto::{SessionId, SessionName, TurnId};

use crate::host::{Host, HostError};
use crate::suggest::no_such;

/// A turn that could not be opened, or that ended without an answer.
#[derive(Debug, Clone)]
pub struct QueryError {
    kind: QueryErrorKind,
    turn: Option<TurnId>,
    message: String,
    failure: Option<Box<Failure>>,
}

/// The kinds of [`QueryError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueryErrorKind {
    /// Nobody holds the name.
    NoSuchSession,
    /// The prompt says nothing; nothing was stored or sent.
    BlankPrompt,
    /// The session's queue is full; nothing was stored or sent.
    QueueFull,
    /// As many consumers as may be have joined the turn.
    TooManyConsumers,
    /// The turn could not be made durable; nothing was sent.
    Store,
    /// The lease of the conversation was removed under the session, and another has it or none can be made; nothing was
    /// stored or sent.
    LeaseLost,
    /// The conversation was not taken over; the session is as it was.
    NotAdopted,
    /// The session ended before the turn did: the turn stays open, and is carried on when the session starts again.
    Stopped,
    /// Processes of the session live on and may not be ended: it is stopped, but not gone.
    NotGone,
    /// The turn was interrupted.
    Interrupted,
    /// The turn was cancelled before it ran.
    Cancelled,
    /// The turn failed.
    Failed(FailureKind),
}

impl QueryError {
    pub(crate) fn new(kind: QueryErrorKind, turn: Option<TurnId>, message: impl Into<String>) -> Self {
        Self { kind, turn, message: message.into(), failure: None }
    }

    /// Nobody of this host has the name; without a host nobody has any.
    pub(crate) fn no_such_session(name: &str, host: Option<&Host>) -> Self {
        let known = host.map(Host::known_names).unwrap_or_default();
        Self::new(QueryErrorKind::NoSuchSession, None, no_such("session", name, &known))
    }

    /// Nobody has a name of a registry of the program's own.
    pub(crate) fn nobody_via(name: &str) -> Self {
        let message = format!("no session is named {name}; start one, or look at the names that are taken");
        Self::new(QueryErrorKind::NoSuchSession, None, message)
    }

    /// What has the name is no session, but this.
    pub(crate) fn no_session(name: &str, what: &str) -> Self {
        Self::new(QueryErrorKind::NoSuchSession, None, format!("no session is named {name:?}: {what}"))
    }

    /// No name is held in a host that was not opened; `why` is the error of whoever tried.
    pub(crate) fn not_opened(name: &str, why: Option<&HostError>) -> Self {
        let why = match why {
            Some(error) => format!("it could not be opened: {error}"),
            None => {
                "this program has not opened it: start a session, or open it with `Host::shared`".to_owned()
            }
        };
        let message = format!("no session is named {name:?} in the shared host, as {why}");
        Self::new(QueryErrorKind::NoSuchSession, None, message)
    }

    pub(crate) fn blank(name: &SessionName) -> Self {
        let message = format!("the prompt for {name} is blank: there is nothing that could be asked");
        Self::new(QueryErrorKind::BlankPrompt, None, message)
    }

    pub(crate) fn store(error: &dyn fmt::Display) -> Self {
        Self::new(
            QueryErrorKind::Store,
            None,
            format!("failed to store the turn, and so it was not sent: {error}"),
        )
    }

    /// What was asked for cannot be noted, so that the next host would not know of it.
    pub(crate) fn not_noted(what: &str, error: &str) -> Self {
        Self::new(QueryErrorKind::Store, None, format!("{what}: {error}"))
    }

    pub(crate) fn lease_lost(message: String) -> Self {
        Self::new(QueryErrorKind::LeaseLost, None, message)
    }

    pub(crate) fn not_adopted(name: &SessionName, id: SessionId, why: &str) -> Self {
        Self::new(
            QueryErrorKind::NotAdopted,
            None,
            format!("{name} does not take over the conversation {id}: {why}"),
        )
    }

    pub(crate) fn not_gone(name: &SessionName, why: &str) -> Self {
        let message = format!(
            "{name} is stopped, but not gone: failed to {why}; it does not start again while that lives, end it by hand"
        );
        Self::new(QueryErrorKind::NotGone, None, message)
    }

    pub(crate) fn stopped(turn: Option<TurnId>, why: &str) -> Self {
        Self::new(QueryErrorKind::Stopped, turn, why)
    }

    pub(crate) fn failed(turn: TurnId, failure: Failure) -> Self {
        Self {
            kind: QueryErrorKind::Failed(failure.kind),
            turn: Some(turn),
            message: failure.message.clone(),
            failure: Some(Box::new(failure)),
        }
    }

    /// A turn that was not opened, since it could only fail with this.
    pub(crate) fn refused(failure: Failure) -> Self {
        Self {
            kind: QueryErrorKind::Failed(failure.kind),
            turn: None,
            message: failure.message.clone(),
            failure: Some(Box::new(failure)),
        }
    }

    /// The kind of failure.
    pub fn kind(&self) -> QueryErrorKind {
        self.kind
    }

    /// The turn, if one was opened: its outcome can be asked for by this id.
    pub fn turn(&self) -> Option<TurnId> {
        self.turn
    }

    /// What the turn failed with, if it failed.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_deref()
    }

    /// Tells whether the same call may well succeed later.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            QueryErrorKind::QueueFull
            | QueryErrorKind::TooManyConsumers
            | QueryErrorKind::Store
            | QueryErrorKind::LeaseLost => true,
            QueryErrorKind::Failed(kind) => kind.is_retryable(),
            _ => false,
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for QueryError {}
