//! What a session is started with, besides the options of its CLI.
//!
//! It is for what may be said of a session, with the default of each. It is not for what is done about it: times and limits are kept by the
//! session's machine, and supervision is the supervisor's.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use treewarden_core::limits::{Limits, Size};
use treewarden_core::session::{CliVersion, Config, Delivery, OnLimit};
use treewarden_otp_core::Backoff;
use treewarden_otp_core::supervisor::{Flags, Restart, Shutdown};
use treewarden_proto::spec::{SessionSpec, duration};

use super::start_error::StartError;
use crate::host::Host;
use crate::registry::Name;
use crate::supervision::Supervision;

/// What becomes of a tool that was running when its CLI died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CutOffTools {
    /// The model is told that the tool's outcome is unknown, and decides what follows; with CLIs from 2.1.310 on.
    ///
    /// An older CLI does what [`RunAgain`](Self::RunAgain) says.
    #[default]
    Tell,
    /// The call is taken out of the conversation and the model is asked again, which most often runs the tool again.
    RunAgain,
}

/// A [`SessionSpec`] with what treewarden itself does with the session: times, delivery, restart.
///
/// This is the one form of a session's options: a program sets them here, and a file's table is read into it, unknown keys
/// refused. What serde leaves out is for programs only: the host, the registry's name, and how the session is supervised,
/// which a file says of [every child](crate::config::ChildDecl).
///
/// An option is added here, or in [`SessionSpec`] if it is the CLI's, or in [`Timing`](super::Timing) if it is a time that
/// the session's machine keeps to, or in [`Limits`] if it is something of the machine that the session may take; its row in the table of keys (`config/keys.rs`) is the other edit.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
///
/// use treewarden::session::Delivery;
/// use treewarden::{Host, Session, SessionOptions, SessionSpec};
///
/// # async fn run(host: Host) -> Result<(), Box<dyn std::error::Error>> {
/// let spec = SessionSpec::new().name("payments".parse()?).timeout(Duration::from_secs(600));
/// let options = SessionOptions::from(spec)
///     .host(&host)
///     .idle_timeout(Duration::from_secs(900))
///     // A turn that moves money is not run twice: it fails with its CLI.
///     .delivery(Delivery::AtMostOnce);
/// let session = Session::start(options).await?;
/// # Ok(())
/// # }
/// ```
///
/// The same from text, as a file has it:
///
/// ```
/// use treewarden::{SessionOptions, SessionSpec};
///
/// let text = r#"{ "model": "sonnet", "idle_timeout": "15m" }"#;
/// let read: SessionOptions = serde_json::from_str(text)?;
/// assert_eq!(read.spec, SessionSpec::new().model("sonnet"));
/// assert_eq!(read.timing.idle_timeout, Some(std::time::Duration::from_secs(900)));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use = "options do nothing until a session is started with them"]
#[non_exhaustive]
pub struct SessionOptions {
    /// The options of its CLI.
    #[serde(flatten)]
    pub spec: SessionSpec,
    /// The times and limits that it keeps to.
    #[serde(flatten)]
    pub timing: Config,
    /// What its CLI and the processes that this starts may take.
    #[serde(flatten)]
    pub limits: Limits,
    /// What a crash means to a turn; it is carried on by default.
    pub delivery: Delivery,
    /// What becomes of a tool that was running when its CLI died.
    pub cut_off_tools: CutOffTools,
    /// What a turn does that meets a usage limit; `None` has it wait if nobody waits for the turn, and fail otherwise.
    pub on_limit: Option<OnLimit>,
    /// How long a turn waits for usage limits, counted from when it was asked; 6 h.
    #[serde(with = "duration::option")]
    pub limit_wait: Option<Duration>,
    /// The versions that its CLI may have; any that is not older than the conversation's unless it is set.
    pub cli_version: Option<CliVersion>,
    /// Whether its CLI is kept once it is started; not by default.
    pub pinned: bool,
    /// How many CLIs are kept initialized for sessions that are started alike; none by default.
    pub warm: usize,
    /// An option of the tests alone, which goes through all that is made of the table of keys.
    #[cfg(test)]
    pub(crate) rehearsal: Option<String>,

    #[serde(skip)]
    pub(crate) host: Option<Host>,
    #[serde(skip)]
    pub(crate) via: Option<Name>,
    /// How it is supervised where no file says so.
    #[serde(skip)]
    pub(crate) supervision: Supervision,
    /// Its supervisor's flags, where it is started by itself.
    #[serde(skip)]
    pub(crate) flags: Flags,
    /// Somebody starts this very session, so that it runs even if it was stopped before.
    #[serde(skip)]
    pub(crate) asked_for: bool,
}

impl From<SessionSpec> for SessionOptions {
    fn from(spec: SessionSpec) -> Self {
        Self { spec, ..Self::default() }
    }
}

impl SessionOptions {
    /// How a session is stopped unless it says otherwise.
    pub(crate) const SHUTDOWN: Shutdown = Shutdown::Timeout(Duration::from_secs(10));

    /// The options of the CLI.
    pub fn spec(&self) -> &SessionSpec {
        &self.spec
    }

    /// Holds the options against each other.
    pub(crate) fn validate(&self) -> Result<(), StartError> {
        self.spec.validate().map_err(|error| StartError::invalid(&error))?;
        match self.limits.faults().first() {
            Some(fault) => Err(StartError::invalid(fault)),
            None => Ok(()),
        }
    }

    /// The deadlines of the session's machine.
    pub(crate) fn timing(&self) -> Config {
        let mut timing = self.timing.clone();
        // A CLI that is never parked for another session is not parked for idleness either.
        if self.pinned {
            timing.idle_timeout = None;
        }
        timing
    }

    /// The host that is to be used.
    pub(crate) fn resolve_host(&self) -> Result<Host, StartError> {
        match &self.host {
            Some(host) => Ok(host.clone()),
            None => Host::shared().map_err(|error| StartError::store(&error)),
        }
    }

    /// Uses this host instead of [`Host::shared`].
    pub fn host(mut self, host: &Host) -> Self {
        self.host = Some(host.clone());
        self
    }

    /// Parks the CLI after so long without a turn; never unless set.
    ///
    /// A parked session keeps its name and its conversation, and its next turn resumes it.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.timing.idle_timeout = Some(timeout);
        self
    }

    /// How long a turn waits for a CLI that works at something of its own, such as a background task that ended or a
    /// wake-up; 30 s.
    ///
    /// It counts from when the turn is the next one. A prompt that is sent into such work is woven into it instead of being
    /// asked by itself; with zero it is sent at once. A turn that is run again after a crash does not wait.
    pub fn own_work_wait(mut self, wait: Duration) -> Self {
        self.timing.own_work_wait = wait;
        self
    }

    /// How long background tasks of a CLI, or work of its own, keep it from being parked or replaced; 1 h.
    ///
    /// It counts from when the set of tasks last changed, or the work last gave a sign of life.
    pub fn background_wait(mut self, wait: Duration) -> Self {
        self.timing.background_wait = wait;
        self
    }

    /// Whether the CLI is kept once it is started: neither `idle_timeout` nor `max_live` parks it; not by default.
    ///
    /// Its place among the live CLIs is not to be had for others. When pinned sessions have all of them, the turns of
    /// other sessions fail with [`NoPlace`](super::FailureKind::NoPlace).
    pub fn pinned(mut self, pinned: bool) -> Self {
        self.pinned = pinned;
        self
    }

    /// What a turn does that meets a usage limit of the account, or would.
    ///
    /// Unless it is set, a turn that nobody waits for ([`Session::submit`](super::Session::submit), or one that an earlier host
    /// left open) waits until the limit is lifted and then goes on, and every other fails at once. The wait is no part of the turn's
    /// `timeout`.
    pub fn on_limit(mut self, on_limit: OnLimit) -> Self {
        self.on_limit = Some(on_limit);
        self
    }

    /// How long a turn waits for usage limits, counted from when it was asked; 6 h.
    ///
    /// One that is lifted later than that fails the turn at once.
    pub fn limit_wait(mut self, wait: Duration) -> Self {
        self.limit_wait = Some(wait);
        self
    }

    /// How often a turn is gone on with when the model API failed it in a way that may pass; 2.
    ///
    /// The CLI has tried up to ten times by itself then. The prompt is not sent again: the CLI is asked to go on. The pauses before
    /// that are part of the turn's `timeout`.
    pub fn api_retries(mut self, retries: u32) -> Self {
        self.timing.api_retries = retries;
        self
    }

    /// The versions that its CLI may have: one, such as `2.1.332`, or a range, such as `>=2.1.300`; a CLI of another is refused.
    ///
    /// It also allows a CLI that is older than the one that wrote the conversation, which is refused otherwise.
    pub fn cli_version(mut self, version: CliVersion) -> Self {
        self.cli_version = Some(version);
        self
    }

    /// How long a busy CLI may print nothing before it is asked for a sign of life, and killed if it gives none; 120 s.
    pub fn silence_timeout(mut self, timeout: Duration) -> Self {
        self.timing.silence_timeout = timeout;
        self
    }

    /// How long that sign of life may take; 10 s.
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.timing.probe_timeout = timeout;
        self
    }

    /// How long an interrupted turn may take to its end before the CLI is killed; 10 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.timing.drain_timeout = timeout;
        self
    }

    /// How long a CLI may take to come up; 60 s.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.timing.start_timeout = timeout;
        self
    }

    /// How long a turn waits for a place among the live CLIs, or for what the system is short of; 10 min.
    ///
    /// It counts from when the turn asked for it, and beside the turn's own time, which stands still meanwhile.
    pub fn place_wait(mut self, wait: Duration) -> Self {
        self.timing.place_wait = wait;
        self
    }

    /// How many CLIs may die under one turn before it fails; 20.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        // With 0 every turn would fail before it was sent once.
        self.timing.max_attempts = attempts.max(1);
        self
    }

    /// Whether a crash carries a turn on (default) or fails it.
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// What becomes of a tool that was running when its CLI died; the model is told by default.
    ///
    /// It holds from the next start of a CLI on.
    pub fn cut_off_tools(mut self, cut_off_tools: CutOffTools) -> Self {
        self.cut_off_tools = cut_off_tools;
        self
    }

    /// What its CLI and the processes that this starts may take; nothing is limited by default.
    ///
    /// A start with limits that contradict each other is refused.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The most memory that its CLI and the processes that this starts may take together: the one that takes most is killed.
    ///
    /// If that is the CLI, it has crashed, and the turn is carried on as after any crash. If it is a tool, the tool has
    /// failed.
    pub fn memory_max(mut self, size: Size) -> Self {
        self.limits.memory_max = Some(size);
        self
    }

    /// Replaces its CLI between two turns once this takes more memory, with the processes that it started; never by default.
    pub fn recycle_above(mut self, size: Size) -> Self {
        self.limits.recycle_above = Some(size);
        self
    }

    /// When the session is restarted; always by default.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.supervision.restart = restart;
        self
    }

    /// How the session is stopped; in good order within 10 s by default.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.supervision.shutdown = Some(shutdown);
        self
    }

    /// Whether the session's end counts for its supervisor's `auto_shutdown`.
    pub fn significant(mut self, significant: bool) -> Self {
        self.supervision.significant = significant;
        self
    }

    /// How long restarts wait; they are immediate unless set.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.supervision.backoff = Some(backoff);
        self
    }

    /// Gives the session a name of a registry of the program's own as well, by which [`Session::via`] finds it.
    ///
    /// As in OTP it is the actor that has the name: while the session is being restarted nobody has it, and a session
    /// whose name has another owner does not start.
    ///
    /// [`Session::via`]: super::Session::via
    pub fn via(mut self, name: Name) -> Self {
        self.via = Some(name);
        self
    }

    /// Keeps so many CLIs initialized for conversations that are yet to begin; none by default.
    ///
    /// The first turn of a session, and the first one after a clear, then need not wait for a CLI to come up. A CLI is
    /// kept for all sessions of the host whose CLIs would be started alike: same program, options, environment and
    /// directory. If several of them say different numbers, the greatest counts. They are refilled in the background for
    /// as long as such a session is there.
    ///
    /// Each takes as much memory as an idle session's CLI, about 170 MB, and a place of `max_live`, which it gives to any
    /// session that needs one. `SessionStart` hooks of the CLI's settings run when it is started, not when it is used.
    pub fn warm(mut self, clis: usize) -> Self {
        self.warm = clis;
        self
    }

    /// How many restarts within `max_seconds` are too many, for a session that is started by itself; 3.
    pub fn max_restarts(mut self, restarts: u32) -> Self {
        self.flags.max_restarts = restarts;
        self
    }

    /// The window of `max_restarts`, in seconds; 5.
    pub fn max_seconds(mut self, seconds: u32) -> Self {
        // As in OTP, which takes no period of 0: only crashes within one and the same second would count
        // together.
        self.flags.max_seconds = seconds.max(1);
        self
    }
}
