//! Why a request was refused: one kind of refusal for all that can go wrong below, with the code that the protocol has for it.
//!
//! It is words and a code, for any door. What a code means to the one who asked, such as an exit status, is the door's.

use std::fmt;

use serde::{Deserialize, Serialize};
use treewarden::session::{QueryError, QueryErrorKind, StartError, StartErrorKind};
use treewarden::tree::{ApplyError, NewSessionError, RemoveSessionError};

use crate::sink::Gone;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refusal {
    /// The kind.
    pub code: Code,
    /// What happened, in words.
    pub message: String,
    /// The field of the request that has it done all the same, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anyway: Option<String>,
}

/// The kinds of [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The request makes no sense.
    BadRequest,
    /// The caller may not ask for this.
    Forbidden,
    /// No session has this name.
    NoSuchSession,
    /// No turn has this id.
    NoSuchTurn,
    /// The turn was settled, and removed as it was old.
    TurnExpired,
    /// What is stored of the turn is damaged, and cannot be read.
    TurnDamaged,
    /// The tree has no template of this name.
    NoSuchTemplate,
    /// A session, or another child of the tree, has the name.
    Taken,
    /// There is no place, or something else is under way; later it may work.
    Busy,
    /// The config file is not valid.
    Config,
    /// The conversation is not on disk, and would be lost with its CLI.
    Unsaved,
    /// Processes of the session live on, and may not be ended.
    NotGone,
    /// The session is stopped, or the tree is stopping.
    Stopped,
    /// Something else went wrong.
    Failed,
    /// A code of a later version.
    #[serde(other)]
    Unknown,
}

impl Refusal {
    /// Refuses with a code and words.
    pub fn new(code: Code, message: impl ToString) -> Self {
        Self { code, message: message.to_string(), anyway: None }
    }

    /// Says which field of the request has it done all the same.
    pub(crate) fn unless(mut self, field: &str) -> Self {
        self.anyway = Some(field.to_owned());
        self
    }

    pub(crate) fn failed(error: impl ToString) -> Self {
        Self::new(Code::Failed, error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        let code = match error.kind() {
            QueryErrorKind::NoSuchSession => Code::NoSuchSession,
            QueryErrorKind::BlankPrompt => Code::BadRequest,
            QueryErrorKind::QueueFull
            | QueryErrorKind::TooManyConsumers
            | QueryErrorKind::Store
            | QueryErrorKind::LeaseLost => Code::Busy,
            QueryErrorKind::Stopped => Code::Stopped,
            QueryErrorKind::NotGone => Code::NotGone,
            _ => Code::Failed,
        };
        Self::new(code, error)
    }
}

impl From<StartError> for Refusal {
    fn from(error: StartError) -> Self {
        let code = match error.kind() {
            StartErrorKind::NoSuchSession => Code::NoSuchSession,
            _ => Code::Failed,
        };
        Self::new(code, error)
    }
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        let code = match error {
            ApplyError::Busy | ApplyError::Stale => Code::Busy,
            ApplyError::Names(_) => Code::Config,
            ApplyError::Stopping => Code::Stopped,
            _ => Code::Failed,
        };
        Self::new(code, error)
    }
}

impl From<NewSessionError> for Refusal {
    fn from(error: NewSessionError) -> Self {
        let code = match error {
            NewSessionError::NoSuchTemplate { .. } => Code::NoSuchTemplate,
            NewSessionError::InvalidName(_) => Code::BadRequest,
            NewSessionError::Declared(_) | NewSessionError::Taken(_) | NewSessionError::NameOf { .. } => {
                Code::Taken
            }
            NewSessionError::Limit { .. } | NewSessionError::Down(_) | NewSessionError::Busy => Code::Busy,
            NewSessionError::Stopping => Code::Stopped,
            _ => Code::Failed,
        };
        Self::new(code, error)
    }
}

impl From<RemoveSessionError> for Refusal {
    fn from(error: RemoveSessionError) -> Self {
        let code = match error {
            RemoveSessionError::NotFound(_) => Code::NoSuchSession,
            RemoveSessionError::Declared(_) => Code::BadRequest,
            // The session is removed, and that is not stored: another `remove` stores it.
            RemoveSessionError::Busy(_) | RemoveSessionError::NotNoted { .. } => Code::Busy,
            RemoveSessionError::Stopping => Code::Stopped,
            RemoveSessionError::NotGone(_) => Code::NotGone,
            _ => Code::Failed,
        };
        Self::new(code, error)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    Refused(Refusal),
    /// Nobody waits for one.
    Gone,
}

impl From<Gone> for Unanswered {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl<E: Into<Refusal>> From<E> for Unanswered {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}
