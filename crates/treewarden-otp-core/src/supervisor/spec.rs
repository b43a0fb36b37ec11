//! What a supervisor is told: child specs and flags, with OTP's names, defaults and validation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;

/// The name of a child within its supervisor; unique there, except under a dynamic supervisor.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildId(Arc<str>);

impl ChildId {
    /// Makes an id from a string.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: Into<Arc<str>>> From<T> for ChildId {
    fn from(id: T) -> Self {
        Self(id.into())
    }
}

/// Says when a child that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only when it did not end cleanly (see [`crate::ExitReason::is_clean`]).
    Transient,
    /// Never; its spec is forgotten when it ends.
    Temporary,
}

/// Says how a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Killed at once.
    BrutalKill,
    /// Told to stop, and killed when it has not ended after this time.
    Timeout(Duration),
    /// Told to stop, and waited for without limit.
    Infinity,
}

/// Says what a child is: it sets the default shutdown and how the child is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A leaf of the tree; it has 5 s to stop by default.
    #[default]
    Worker,
    /// A supervisor; it is waited for without limit by default, since its own children have their deadlines.
    Supervisor,
}

/// Says which children are restarted when one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Only the one that failed.
    #[default]
    OneForOne,
    /// All of them.
    OneForAll,
    /// The one that failed and those started after it.
    RestForOne,
}

/// Says whether the supervisor ends when its significant children have ended by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoShutdown {
    /// It does not.
    #[default]
    Never,
    /// It does as soon as one has ended.
    AnySignificant,
    /// It does when the last one has ended.
    AllSignificant,
}

/// Says what happens when the restart budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GiveUp {
    /// The supervisor stops its children and ends with `shutdown`, as in OTP.
    #[default]
    Escalate,
    /// The child stays down and visible, its siblings live on; each child has a budget of its own.
    Park,
}

/// The behaviour of a supervisor, apart from its children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// Which children are restarted when one fails.
    pub strategy: Strategy,
    /// How many restarts are allowed within `max_seconds`.
    pub max_restarts: u32,
    /// The length of the window for `max_restarts`, at least 1.
    pub max_seconds: u32,
    /// Whether the supervisor ends with its significant children.
    pub auto_shutdown: AutoShutdown,
    /// What happens when the budget is spent.
    pub give_up: GiveUp,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            strategy: Strategy::OneForOne,
            // Elixir's defaults; those of Erlang are 1 in 5 s.
            max_restarts: 3,
            max_seconds: 5,
            auto_shutdown: AutoShutdown::Never,
            give_up: GiveUp::Escalate,
        }
    }
}

impl Flags {
    /// Checks the flags as OTP does.
    ///
    /// # Errors
    ///
    /// A `max_seconds` of zero.
    pub fn validate(&self) -> Result<(), FlagsError> {
        // A window without length would count no restart but those of the same second, and a child that
        // crashes once a second would be restarted for ever. OTP refuses it, too.
        if self.max_seconds == 0 {
            return Err(FlagsError::InvalidPeriod(0));
        }
        Ok(())
    }
}

/// Says what is wrong with supervisor flags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagsError {
    /// The window is empty.
    #[error("use max_seconds = {0}: it must be at least 1")]
    InvalidPeriod(u32),
    /// Only a supervisor with a fixed list of children, or a template, may end with its significant children.
    #[error("use auto_shutdown {0:?} here: a dynamic supervisor allows only Never")]
    InvalidAutoShutdown(AutoShutdown),
}

/// Says what is wrong with a child spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A permanent child cannot be significant: it is always restarted.
    #[error("use child spec {0}: a permanent child cannot be significant")]
    SignificantPermanent(ChildId),
    /// A significant child needs a supervisor that acts on its end.
    #[error("use child spec {0}: it is significant, but the supervisor's auto_shutdown is Never")]
    SignificantNever(ChildId),
    /// Two specs in one list have the same id.
    #[error("use child spec {0}: another child has the same id")]
    DuplicateId(ChildId),
}

/// One child, as the machine knows it; `S` is what starts it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildSpec<S> {
    /// The child's name within its supervisor.
    pub id: ChildId,
    /// What starts the child.
    pub start: S,
    /// When it is started again.
    pub restart: Restart,
    /// Whether its end counts for the supervisor's `auto_shutdown`.
    pub significant: bool,
    /// How it is stopped; by default 5 s for a worker and without limit for a supervisor.
    pub shutdown: Option<Shutdown>,
    /// What it is.
    pub kind: Kind,
    /// How long restarts wait; at once by default.
    pub backoff: Option<Backoff>,
    /// How long a start may take; without limit by default, as in OTP.
    pub start_timeout: Option<Duration>,
}

impl<S> ChildSpec<S> {
    /// Makes the spec of a permanent worker.
    pub fn new(id: impl Into<ChildId>, start: S) -> Self {
        Self {
            id: id.into(),
            start,
            restart: Restart::default(),
            significant: false,
            shutdown: None,
            kind: Kind::default(),
            backoff: None,
            start_timeout: None,
        }
    }

    /// How the child is stopped, with the default filled in.
    pub fn effective_shutdown(&self) -> Shutdown {
        self.shutdown.unwrap_or(match self.kind {
            Kind::Worker => Shutdown::Timeout(Duration::from_secs(5)),
            // A limit here would run out before those of the children below, one after another, and kill a
            // supervisor whose children are ending in good order.
            Kind::Supervisor => Shutdown::Infinity,
        })
    }

    /// Checks the spec against a supervisor's `auto_shutdown`, as OTP does.
    ///
    /// # Errors
    ///
    /// A significant child that is permanent, or whose supervisor never shuts down by itself.
    pub fn validate(&self, auto_shutdown: AutoShutdown) -> Result<(), SpecError> {
        match (self.significant, self.restart, auto_shutdown) {
            (true, _, AutoShutdown::Never) => Err(SpecError::SignificantNever(self.id.clone())),
            (true, Restart::Permanent, _) => Err(SpecError::SignificantPermanent(self.id.clone())),
            _ => Ok(()),
        }
    }
}

impl<S> ChildSpec<S> {
    /// The same spec with another start.
    pub fn map_start<T>(self, map: impl FnOnce(S) -> T) -> ChildSpec<T> {
        ChildSpec {
            id: self.id,
            start: map(self.start),
            restart: self.restart,
            significant: self.significant,
            shutdown: self.shutdown,
            kind: self.kind,
            backoff: self.backoff,
            start_timeout: self.start_timeout,
        }
    }
}
