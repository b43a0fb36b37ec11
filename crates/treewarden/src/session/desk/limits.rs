//! Usage limits, as far as the session goes: whose they are, how long its turns wait for them, and its place among those who go on.
//!
//! Which limits hold is the host's, in `limits.rs`; what a turn does about one is the machine's.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use treewarden_core::session::{OnLimit, Patience};
use treewarden_proto::TurnId;
use treewarden_proto::spec::Environment;

use super::Desk;
use crate::events::Happening;

/// How long a turn waits for usage limits unless its session says otherwise: longer than a limit of five hours can last, and
/// shorter than one of a week.
pub(super) const LIMIT_WAIT: Duration = Duration::from_secs(6 * 3600);

impl Desk {
    /// How long a turn bears with limits that was asked so long ago; `detached` has nobody who waits for it.
    pub(super) fn patience(&self, detached: bool, ago: Duration) -> Patience {
        let options = self.options();
        let usual = if detached { OnLimit::Wait } else { OnLimit::Fail };
        let left = options.limit_wait.unwrap_or(LIMIT_WAIT).saturating_sub(ago);
        let limit_until = match options.on_limit.unwrap_or(usual) {
            // A time that no clock can hold is as good as none.
            OnLimit::Wait => Instant::now().checked_add(left),
            OnLimit::Fail => None,
        };
        Patience { limit_until, goes: 0 }
    }

    /// Notes whose account the next CLI uses.
    pub(crate) fn set_account(&self, environment: &Environment, config_dir: &Path) {
        let model = self.overrides().0.or_else(|| self.options().spec.model.clone());
        let account = self.host.inner.limits.account(environment, config_dir, model.as_deref());
        self.lock().service.set_account(account);
    }

    /// How long a usage limit keeps the next turn from the CLI; whoever `waits` goes on in their turn.
    pub(crate) fn limited(&self, waits: bool) -> Option<Duration> {
        let mut rooms = self.lock();
        let (account, slots) = rooms.service.account()?;
        let limits = &self.host.inner.limits;
        if waits { limits.pass(account, slots) } else { limits.left(account) }
    }

    /// How long a usage limit keeps a CLI from being started for what is open.
    pub(crate) fn limited_start(&self) -> Option<Duration> {
        let waits = self.lock().queue.has_patient();
        self.limited(waits)
    }

    /// The CLI met a usage limit of this type, which is lifted after so long.
    pub(crate) fn limit_reached(&self, kind: Option<String>, left: Duration) {
        let account = self.lock().service.account().map(|(account, _)| account);
        let Some(account) = account else { return };
        if !self.host.inner.limits.reached(account, kind.as_deref(), left) {
            return;
        }
        let until =
            SystemTime::now().checked_add(left).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let until = until.map_or(0, |at| at.as_secs());
        tracing::warn!(session = %self.name, kind, until, "the usage limit of an account is reached");
        self.publish(Happening::UsageLimit { until, kind });
    }

    /// The CLI of the moment is asked to go on with a turn that the model API failed.
    pub(crate) fn gone_on(&self, turn: TurnId, deadline: Option<Instant>, patience: Patience) {
        self.lock().queue.gone_on(turn, deadline, patience);
    }
}
