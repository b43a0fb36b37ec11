//! The outcomes that are on their way to the store, and the turn that waits for it.
//!
//! ```text
//!         outcome decided          Settled: stored, or in hand
//!   Busy ─────────────────► Settling ────────────────────────► Ready ── Send ──► Busy
//!     ▲                        ▲   │                                              │
//!     └───────── Send ─────────│───┘ Released: what is in hand is stored          │ Held: it is not yet
//!                              └──────────────────────────────────────────────────┘
//! ```
//!
//! It is for the order of the two: no turn is sent before what came before it is settled. How an outcome is stored, how long
//! that may take and what is told to whom is the driver's. Nothing here may decide what a turn comes to, but for one that
//! the store kept waiting for its whole time.

use std::collections::VecDeque;
use std::time::Instant;

use treewarden_proto::TurnId;

use super::event::{Action, Item, Settlement};
use super::exit_class::Permanent;
use super::flight::DrainReason;
use super::machine::{Machine, Phase};

/// What is on its way to the store; see the [module](self).
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// Turns whose outcome is decided, and neither stored nor in hand.
    outcomes: VecDeque<Entry>,
    /// The turn that is the next and was not sent, since something is not stored.
    held: Option<TurnId>,
}

#[derive(Debug)]
struct Entry {
    turn: TurnId,
    /// The CLI of the moment worked at it, so that its answer is looked for on disk.
    was_in_cli: bool,
}

impl Settling {
    pub(super) fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }
}

impl<E> Machine<E> {
    /// Has no turn begin before the outcomes of these turns, which an earlier machine reached, are stored or in hand.
    pub fn await_outcomes(&mut self, turns: impl IntoIterator<Item = TurnId>) {
        self.settling.outcomes.extend(turns.into_iter().map(|turn| Entry { turn, was_in_cli: false }));
    }

    /// Has an outcome stored and delivered: the one place from which that is asked for.
    pub(super) fn outcome(
        &mut self,
        turn: TurnId,
        settlement: Settlement<E>,
        was_in_cli: bool,
        actions: &mut Vec<Action<E>>,
    ) {
        // Noted before the next prompt is sent: a host that dies in between must find the turn settled, or it would be
        // sent again behind the other.
        self.settling.outcomes.push_back(Entry { turn, was_in_cli });
        actions.push(Action::Settle(turn, settlement));
    }

    /// The outcome is stored or in hand: the next turn may begin.
    pub(super) fn settled(&mut self, now: Instant, turn: TurnId, actions: &mut Vec<Action<E>>) {
        // Told twice, or of a turn that this machine never waited for, it begins nothing.
        let Some(at) = self.settling.outcomes.iter().position(|entry| entry.turn == turn) else { return };
        let was_in_cli = self.settling.outcomes.remove(at).is_some_and(|entry| entry.was_in_cli);
        if self.phase != Phase::Open {
            return;
        }
        // Only now: a look that began before would not know that this turn must be on disk.
        if was_in_cli {
            self.leave.look_soon(now, self.config.settle_grace);
        }
        self.dispatch(now, actions);
    }

    /// The turn that was to be sent waits for the store: it is the next again, as if it had not begun but for its deadline.
    pub(super) fn held(&mut self, now: Instant, turn: TurnId) {
        let Some(mut flight) = self.flight.take_if(|flight| flight.turn() == turn) else { return };
        flight.open.attempts -= 1;
        self.queue.push_front(Item::Turn(flight.open));
        self.settling.held = Some(turn);
        self.own.take_back();
        self.idle_since = now;
    }

    /// What the turn waited for is stored.
    pub(super) fn released(&mut self, now: Instant, turn: TurnId, actions: &mut Vec<Action<E>>) {
        if self.settling.held.take_if(|held| *held == turn).is_some() {
            // Everything else that may keep a turn back is asked again: the CLI may be at work by itself by now.
            self.dispatch(now, actions);
        }
    }

    /// Refuses the turn that waits for the store, if it is this one: what has to be stored before it is not to be.
    pub(super) fn refuse_held(
        &mut self,
        now: Instant,
        turn: TurnId,
        why: Permanent,
        actions: &mut Vec<Action<E>>,
    ) {
        if !self.is_held() || self.settling.held.take_if(|held| *held == turn).is_none() {
            return;
        }
        match self.queue.front() {
            Some(Item::Turn(next)) if next.attempts == 0 => {
                self.queue.pop_front();
                self.outcome(turn, Settlement::NotStarted(why), false, actions);
            }
            // A CLI before had it, and this one may be running it again by itself.
            _ => self.cancel(now, turn, DrainReason::TimedOut, actions),
        }
    }

    /// The next turn waits for the store.
    pub(super) fn is_held(&self) -> bool {
        let next = match self.queue.front() {
            Some(Item::Turn(next)) => Some(next.turn),
            _ => None,
        };
        // One that was cancelled meanwhile holds nothing back.
        self.settling.held.is_some() && self.settling.held == next
    }

    /// The turn that the session is busy with as long as the store is.
    pub(super) fn awaits_store(&self) -> Option<TurnId> {
        let first = self.settling.outcomes.front().map(|entry| entry.turn);
        first.or_else(|| self.settling.held.filter(|_| self.is_held()))
    }

    /// Until when the next turn waits for the store.
    pub(super) fn held_deadline(&self) -> Option<Instant> {
        match self.queue.front() {
            Some(Item::Turn(next)) if self.is_held() => next.deadline,
            _ => None,
        }
    }

    /// Refuses the turn that has waited for the store for its whole time.
    pub(super) fn hold_due(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        if self.held_deadline().is_none_or(|until| until > now) {
            return;
        }
        let Some(turn) = self.settling.held.take() else { return };
        match self.queue.front() {
            Some(Item::Turn(next)) if next.attempts == 0 => {
                self.queue.pop_front();
                self.outcome(turn, Settlement::HeldUp, false, actions);
            }
            // A CLI before had it, and this one may be running it again by itself.
            _ => self.cancel(now, turn, DrainReason::TimedOut, actions),
        }
    }
}
