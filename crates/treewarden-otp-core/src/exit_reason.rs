//! Why an actor ended, as a typed value.
//!
//! This is OTP's exit reason: `normal`, `shutdown`, `{shutdown, term}`, `killed`, or anything else. It is what
//! decides whether a transient child is restarted. It is not a place for strings to be parsed: ractor's string
//! reasons are mapped to it in one file of the `treewarden` crate.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The cause inside an [`ExitReason`]: a shared error of any type, for a caller to downcast.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Says why an actor ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ExitReason {
    /// It had nothing left to do.
    Normal,
    /// It was told to stop by its supervisor, or stopped in the same spirit.
    Shutdown,
    /// An orderly stop that carries a cause, OTP's `{shutdown, term}`.
    ShutdownWith(Cause),
    /// It was killed: no stop hook ran.
    Killed,
    /// There was no such actor, or its end was not seen.
    NoProc,
    /// It failed with an error.
    Error(Cause),
    /// A handler panicked with this message.
    Panic(Arc<str>),
    /// Its start did not finish in time.
    StartTimeout,
}

impl ExitReason {
    /// Makes the reason of an actor that failed with `error`.
    ///
    /// An `error` that is an [`ExitReason`] itself is returned as it is.
    pub fn error(error: impl Error + Send + Sync + 'static) -> Self {
        // An `ExitReason` that came through a handler's `?` must not be wrapped: `Shutdown` inside of `Error`
        // would not be clean any more, and a transient child that ended in good order would be restarted.
        let any: &dyn std::any::Any = &error;
        match any.downcast_ref::<Self>() {
            Some(reason) => reason.clone(),
            None => Self::Error(Arc::new(error)),
        }
    }

    /// Makes the reason of an actor that failed with a plain message.
    pub fn message(message: impl Into<String>) -> Self {
        Self::Error(Arc::new(Message(message.into())))
    }

    /// Makes the reason of an orderly stop that carries `cause`.
    pub fn shutdown_with(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::ShutdownWith(Arc::new(cause))
    }

    /// Makes the reason from a boxed error, unwrapping an [`ExitReason`] that was boxed.
    #[must_use]
    pub fn from_boxed(error: Box<dyn Error + Send + Sync>) -> Self {
        match error.downcast::<Self>() {
            Ok(reason) => *reason,
            Err(error) => Self::Error(Arc::from(error)),
        }
    }

    /// Says whether the end was orderly: a transient child that ends so is not restarted.
    #[must_use]
    // `Killed` is not clean, as in OTP: whoever was killed had not finished, and a transient child is
    // restarted.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown | Self::ShutdownWith(_))
    }

    /// The cause, where the reason carries one.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        match self {
            Self::ShutdownWith(cause) | Self::Error(cause) => Some(cause.as_ref()),
            _ => None,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::ShutdownWith(cause) => write!(f, "shutdown: {cause}"),
            Self::Killed => f.write_str("killed"),
            Self::NoProc => f.write_str("no such process"),
            Self::Error(cause) => write!(f, "{cause}"),
            Self::Panic(message) => write!(f, "panicked: {message}"),
            Self::StartTimeout => f.write_str("start did not finish in time"),
        }
    }
}

impl Error for ExitReason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // The cause's own text is in `Display` already. Were it the source too, whoever prints the chain
            // of sources would print it twice.
            Self::ShutdownWith(cause) | Self::Error(cause) => cause.source(),
            _ => None,
        }
    }
}

/// A failure that is only words.
#[derive(Debug)]
struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Message {}
