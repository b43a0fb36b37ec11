//! What the engine does about usage limits and failures of the model API: it asks before it sends, and has the CLI go on.
//!
//! The CLI says when a limit is lifted by the wall clock. That is translated once, when it is said: from then on no change of
//! that clock matters. The limit is lifted by a clock that goes on while the machine sleeps, and the machine's own does not.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use treewarden_core::session::State;
use treewarden_proto::TurnId;
use treewarden_proto::frame::{Body, Frame};

use super::{Engine, Event};

/// A limit that is said to last longer than this is looked at again after it.
const LONGEST_SUSPENSION: Duration = Duration::from_secs(8 * 24 * 3600);

/// How often it is looked whether the machine slept, while something waits that passes in sleep.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// A usage limit as the CLI reports it.
#[derive(Debug)]
pub(super) struct Reported {
    /// When it is lifted, in seconds of the Unix epoch.
    until: f64,
    kind: Option<String>,
}

impl Engine {
    /// Notes a usage limit; the result that follows says that it was met.
    pub(super) fn rate_limit(&mut self, frame: &Frame) {
        if let Ok(Body::RateLimitEvent(event)) = frame.body()
            && let Some(info) = event.rate_limit_info
            // Any other status tells how far the limit is used, and turns go on.
            && info.status.as_deref() == Some("rejected")
        {
            let kind = info.rate_limit_type;
            self.run.limit = info.resets_at.map(|until| Reported { until, kind });
        }
    }

    /// How long the limit holds that the CLI has met; whoever uses the same account is told.
    pub(super) fn limited_for(&mut self) -> Option<Duration> {
        // The report is taken out: a later 429 without one of its own must not get it.
        let Reported { until, kind } = self.run.limit.take()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        // A time that is over, or that is no number, is no limit; the turn's failure is told all the same.
        let left = Duration::try_from_secs_f64(until - now).ok()?.min(LONGEST_SUSPENSION);
        self.desk.limit_reached(kind, left);
        Some(left)
    }

    /// How long a usage limit keeps the turn from being sent.
    pub(super) fn limit_of(&self, turn: TurnId) -> Option<Duration> {
        // A turn of its predecessor is what the CLI was started for, and is at by now: there is nothing left to keep back.
        let open = self.machine.in_flight().filter(|open| open.turn == turn && open.attempts == 1)?;
        self.desk.limited(open.patience.limit_until.is_some())
    }

    /// Asks the CLI to go on with a turn that the model API failed, unless a limit is known.
    pub(super) fn go_on(&mut self, turn: TurnId, id: TurnId) {
        let Some(open) = self.machine.in_flight().filter(|open| open.turn == turn) else { return };
        if let Some(left) = self.desk.limited(open.patience.limit_until.is_some()) {
            return self.handle(Event::Limited(turn, left));
        }
        self.desk.gone_on(turn, open.deadline, open.patience);
        self.nudge(turn, id);
    }

    /// Notes from when on it matters whether the computer sleeps: when something begins to wait, and not when the engine wakes next.
    pub(super) fn watch_sleep(&mut self) {
        if self.waits_for_limit() {
            self.sleeps.begin(Instant::now(), self.desk.host.inner.limits.clock().now());
        }
    }

    /// Tells the machine if the computer slept, as long as something waits that passes meanwhile.
    pub(super) fn note_sleep(&mut self) {
        if !self.waits_for_limit() {
            return self.sleeps.forget();
        }
        let slept = self.sleeps.slept(Instant::now(), self.desk.host.inner.limits.clock().now());
        if !slept.is_zero() {
            tracing::info!(session = %self.desk.name, ?slept, "the machine slept while a session waited for a usage limit");
            self.handle(Event::Slept(slept));
        }
    }

    /// When the limit is lifted, for whoever does not wait for that.
    pub(super) fn limit_in_words(&self) -> String {
        let left = self.desk.limited(false).unwrap_or_default();
        let minutes = left.as_secs().div_ceil(60);
        format!(
            "it is lifted in {} h {:02} min; ask again then, or have turns wait for it (`on_limit`, `limit_wait`)",
            minutes / 60,
            minutes % 60
        )
    }

    pub(super) fn waits_for_limit(&self) -> bool {
        matches!(self.seen.state, State::Suspended(_))
    }
}
