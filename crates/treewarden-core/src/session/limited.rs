//! Turns that wait for the model API: for a usage limit to be lifted, or for a failure to pass.
//!
//! ```text
//!            result: limit, and the turn may wait             lifted
//!   Busy ─────────────────────────────────────────► paused ──────────► GoOn ──► Busy
//!     │      result: failure that may pass             │ ▲                │
//!     │                                                │ └── Limited ─────┘
//!     └── the turn waits for no limit, or not as long, or was gone on with often enough ──► settled
//! ```
//!
//! A turn that is in the conversation is *gone on with*: the CLI is asked to go on, as after a crash, and its prompt is never
//! sent a second time. One that was not sent yet waits in the queue, and where no CLI lives none is started. How long a limit
//! holds is the account's matter ([`holds`](crate::holds)), and told by whoever drives the machine; how long a turn waits for
//! that is decided here, counted from when it was asked. The wait for a limit is no part of the turn's `timeout`.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use treewarden_proto::TurnId;

use super::event::{Action, Item, OpenTurn, ResultFact, Settlement};
use super::flight::{Flight, is_of_any};
use super::machine::{Machine, Phase};

/// What a turn does that meets a usage limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// It waits for the limit to be lifted, and is then gone on with.
    Wait,
    /// It fails.
    Fail,
}

/// How long a turn bears with the model API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patience {
    /// Until when it waits for usage limits to be lifted; one that is lifted later fails it at once, and with `None` each does.
    pub limit_until: Option<Instant>,
    /// How often a CLI was asked to go on with it since the model API failed it.
    pub goes: u32,
}

/// How often a CLI is asked at most to go on with one turn.
///
/// Each time takes a message of its own, which whoever reads the transcript must know by the turn alone.
const GOES: u32 = 32;

/// The numbers of those messages begin behind this: those up to it are the messages of whole incarnations.
const BEHIND: u32 = 32;

/// How long the first pause after a failure is; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// How long such a pause is at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why a turn in the CLI is paused, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// The usage limit was met.
    Limit(Instant),
    /// The model API failed in a way that may pass.
    Failure(Instant),
}

impl Pause {
    pub(super) fn until(self) -> Instant {
        match self {
            Self::Limit(until) | Self::Failure(until) => until,
        }
    }
}

/// The numbers of the messages that asked a CLI to go on with the turn after a failure of the model API.
pub(super) fn numbers(open: &OpenTurn) -> impl Iterator<Item = u32> {
    (1..=open.patience.goes).map(|nth| BEHIND + nth)
}

impl<E> Machine<E> {
    /// No turn begins for so long.
    pub(super) fn hold_for(&mut self, now: Instant, left: Duration) {
        self.held_since.get_or_insert(now);
        self.suspended_until = Some(now + left);
    }

    /// Turns begin again. What time their turns have is what it was when the limit was met.
    pub(super) fn hold_over(&mut self, now: Instant) {
        self.suspended_until = None;
        let Some(held) = self.held_since.take().map(|since| now.saturating_duration_since(since)) else {
            return;
        };
        let flight = self.flight.iter_mut().map(|flight| &mut flight.open);
        for open in flight.chain(self.queue.iter_mut().filter_map(Item::turn_mut)) {
            open.deadline = open.deadline.map(|deadline| deadline + held);
        }
    }

    /// Settles what does not wait as long as the limit holds.
    pub(super) fn refuse_impatient(&mut self, actions: &mut Vec<Action<E>>) {
        let Some(until) = self.suspended_until else { return };
        let waits = |item: &Item| match item {
            Item::Turn(turn) => turn.patience.limit_until.is_some_and(|patience| until <= patience),
            Item::Clear => true,
        };
        let (stay, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queue).into_iter().partition(waits);
        self.queue = stay.into();
        for turn in go.into_iter().filter_map(Item::into_turn) {
            self.outcome(turn.turn, Settlement::Limited, false, actions);
        }
    }

    /// No CLI is to be started yet: whatever waits for one waits for the limit.
    pub(super) fn start_later(&mut self, now: Instant, left: Duration, actions: &mut Vec<Action<E>>) {
        self.hold_for(now, left);
        self.refuse_impatient(actions);
        self.go_without_cli(actions);
    }

    /// The limit, for which a start waited, may be lifted.
    pub(super) fn limit_due(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        if self.suspended_until.is_some_and(|until| until <= now) {
            self.start(self.opening, actions);
        }
    }

    /// The turn that was to be sent, or gone on with, meets a limit that holds for so long.
    pub(super) fn limited(
        &mut self,
        now: Instant,
        turn: TurnId,
        left: Duration,
        actions: &mut Vec<Action<E>>,
    ) {
        let Some(mut flight) = self.flight.take_if(|flight| flight.turn() == turn) else { return };
        self.hold_for(now, left);
        let until = now + left;
        if !std::mem::take(&mut flight.goes_on) {
            // Nothing of it was sent: it is the next again, as if it had not begun.
            flight.open.attempts -= 1;
            self.queue.push_front(Item::Turn(flight.open));
            self.own.take_back();
            self.idle_since = now;
            return self.refuse_impatient(actions);
        }
        flight.open.patience.goes -= 1;
        if flight.open.patience.limit_until.is_some_and(|patience| until <= patience) {
            flight.pause = Some(Pause::Limit(until));
            self.flight = Some(flight);
        } else {
            self.flight = Some(flight);
            self.settle(now, Settlement::Limited, actions);
        }
    }

    /// Tells whether this result pauses the turn in the CLI, instead of being its end.
    pub fn pauses(&self, now: Instant, result: &ResultFact<E>) -> bool {
        let named = |flight: &&Flight| is_of_any(&flight.open, |id| result.turns.contains(id));
        let flight = self.flight.as_ref().filter(named);
        flight.is_some_and(|flight| self.pause(now, flight, result).is_some())
    }

    /// How long the turn in the CLI, which came to this result, is paused instead of being settled with it.
    pub(super) fn pause(&self, now: Instant, flight: &Flight, result: &ResultFact<E>) -> Option<Pause> {
        // A CLI that names no prompts is not known to have done with it.
        let may = self.lifecycle && self.phase == Phase::Open && !self.stop_when_drained;
        if !may || flight.drain.is_some() || result.aborted || flight.open.patience.goes >= GOES {
            return None;
        }
        if let Some(left) = result.limited_for {
            let until = now + left;
            let waits = flight.open.patience.limit_until.is_some_and(|patience| until <= patience);
            return waits.then_some(Pause::Limit(until));
        }
        if !result.may_pass || flight.failures >= self.config.api_retries {
            return None;
        }
        let until = now + back_off(flight);
        // A pause beyond the turn's time would only tell its failure later.
        flight.open.deadline.is_none_or(|deadline| until < deadline).then_some(Pause::Failure(until))
    }

    /// Has the CLI go on with a turn whose pause is over.
    pub(super) fn pause_due(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        let Some(flight) =
            self.flight.as_mut().filter(|flight| flight.pause.is_some_and(|pause| pause.until() <= now))
        else {
            return;
        };
        flight.begin_again(now);
        flight.open.patience.goes += 1;
        let number = BEHIND + flight.open.patience.goes;
        actions.push(Action::GoOn(flight.turn(), flight.turn().nudge(number)));
        self.hold_over(now);
    }

    /// The machine slept so long: what passes meanwhile has come nearer.
    pub(super) fn slept(&mut self, by: Duration) {
        let nearer = |at: &mut Instant| *at = at.checked_sub(by).unwrap_or(*at);
        self.suspended_until.iter_mut().for_each(nearer);
        if let Some(Flight { pause: Some(Pause::Limit(until)), .. }) = &mut self.flight {
            nearer(until);
        }
        let flight = self.flight.iter_mut().map(|flight| &mut flight.open);
        for open in flight.chain(self.queue.iter_mut().filter_map(Item::turn_mut)) {
            open.patience.limit_until.iter_mut().for_each(nearer);
        }
    }
}

/// How long a turn is paused after a failure.
fn back_off(flight: &Flight) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << flight.failures.min(8)).min(LONGEST_PAUSE);
    // Up to a quarter more, by the turn's id: a failure that many sessions met together is not met together again.
    let part = u32::try_from(flight.turn().as_uuid().as_u128() % 256).unwrap_or(0);
    pause + pause * part / 1024
}

impl Flight {
    /// Forgets how the turn stood before its pause.
    fn begin_again(&mut self, now: Instant) {
        (self.completed, self.idle, self.nudged) = (false, false, false);
        (self.reads, self.read_at, self.probed_at, self.pause) = (0, None, None, None);
        self.last_activity = now;
        self.goes_on = true;
    }
}
