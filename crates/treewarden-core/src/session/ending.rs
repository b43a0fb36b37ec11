//! How an incarnation ends: by a stop, by the exit of its CLI, by a failure to start.

use std::time::Instant;

use super::event::{Action, End, Item, StartFailure, StopReason, Verdict};
use super::exit_class::{CrashKind, ExitClass, Permanent};
use super::flight::{Delivery, DrainReason};
use super::leave::Purpose;
use super::machine::{Machine, Phase, Then};

impl<E> Machine<E> {
    pub(super) fn begin_stop(&mut self, then: Then, action: Action<E>, actions: &mut Vec<Action<E>>) {
        self.phase = Phase::Stopping(then);
        self.leave.call_off();
        actions.push(action);
    }

    pub(super) fn kill(&mut self, kind: CrashKind, actions: &mut Vec<Action<E>>) {
        let stop = Then::Stop(StopReason::Requested);
        let then = if self.stop_when_drained { stop } else { Then::Crash(kind) };
        self.begin_stop(then, Action::Kill, actions);
    }

    pub(super) fn stop(&mut self, now: Instant, reason: StopReason, actions: &mut Vec<Action<E>>) {
        if matches!(self.phase, Phase::Stopping(_)) && reason != StopReason::Park {
            self.abandon_flight(actions);
        }
        if reason == StopReason::Requested {
            self.settle_queue(actions);
        }
        match (&self.phase, reason) {
            (Phase::Ended, _) | (Phase::Stopping(Then::Stop(_)), _) => {}
            (Phase::Open, StopReason::Park) => {
                if self.flight.is_none() && self.queue.is_empty() && !self.works_by_itself() {
                    self.look(now, Purpose::Park, actions);
                }
            }
            (_, StopReason::Park) => {}
            (Phase::Stopping(_), reason) => self.phase = Phase::Stopping(Then::Stop(reason)),
            (Phase::Starting | Phase::Initializing { .. }, reason) => {
                self.begin_stop(Then::Stop(reason), Action::Kill, actions);
            }
            (Phase::Open, StopReason::Requested) if self.flight.is_some() => {
                self.stop_when_drained = true;
                self.drain(now, DrainReason::Interrupted, actions);
            }
            (Phase::Open, StopReason::Shutdown) if self.flight.is_some() => {
                self.abandon_flight(actions);
                self.begin_stop(Then::Stop(reason), Action::Terminate, actions);
            }
            (Phase::Open, reason) => self.begin_stop(Then::Stop(reason), Action::Stop, actions),
        }
    }

    /// Tells whether the session stops for good, so that no turn outlives it.
    pub(super) fn ends_its_turns(&self) -> bool {
        self.stop_when_drained || self.phase == Phase::Stopping(Then::Stop(StopReason::Requested))
    }

    pub(super) fn settle_queue(&mut self, actions: &mut Vec<Action<E>>) {
        for item in self.queue.drain(..) {
            if let Item::Turn(turn) = item {
                let verdict = if turn.attempts > 0 { Verdict::Interrupted } else { Verdict::Cancelled };
                actions.push(Action::Settle(turn.turn, verdict));
            }
        }
    }

    /// Puts the turn back for the next incarnation, unless it was to end anyway or must not run twice.
    fn abandon_flight(&mut self, actions: &mut Vec<Action<E>>) {
        let Some(flight) = self.flight.take() else { return };
        let verdict = match (flight.drain, flight.open.delivery) {
            (Some((reason, _)), _) => reason.verdict(),
            (None, Delivery::AtMostOnce) => Verdict::Crashed,
            (None, Delivery::ExactlyOnce) => return self.queue.push_front(Item::Turn(flight.open)),
        };
        actions.push(Action::Settle(flight.turn(), verdict));
    }

    pub(super) fn exited(&mut self, now: Instant, class: ExitClass, actions: &mut Vec<Action<E>>) {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Ended => {}
            Phase::Stopping(then) => match then {
                Then::Crash(kind) => self.crash(ExitClass::Crash(kind), actions),
                Then::Stop(reason) => {
                    self.abandon_flight(actions);
                    self.end(End::Stopped(reason), actions);
                }
                Then::Park => self.end(End::Parked, actions),
                Then::Clear => {
                    actions.push(Action::NewConversation);
                    self.end(End::Parked, actions);
                }
                Then::Reopen if self.queue.is_empty() => self.end(End::Parked, actions),
                Then::Reopen => {
                    self.reopened = false;
                    self.start(None, actions);
                }
            },
            phase @ (Phase::Starting | Phase::Initializing { .. }) => {
                self.phase = phase;
                let failure = match class {
                    ExitClass::Permanent(permanent) => StartFailure::Permanent(permanent),
                    ExitClass::Clean => StartFailure::Transient(ExitClass::Crash(CrashKind::Exit(0))),
                    class => StartFailure::Transient(class),
                };
                self.start_failed(now, failure, actions);
            }
            Phase::Open if self.stop_when_drained => {
                self.abandon_flight(actions);
                self.end(End::Stopped(StopReason::Requested), actions);
            }
            Phase::Open => match class {
                ExitClass::Permanent(permanent) => self.fail(permanent, actions),
                ExitClass::Clean if self.flight.is_none() => self.end(End::Parked, actions),
                ExitClass::Clean => self.crash(ExitClass::Crash(CrashKind::Exit(0)), actions),
                class => self.crash(class, actions),
            },
        }
    }

    pub(super) fn crash(&mut self, class: ExitClass, actions: &mut Vec<Action<E>>) {
        self.abandon_flight(actions);
        self.end(End::Crashed(class), actions);
    }

    pub(super) fn fail(&mut self, permanent: Permanent, actions: &mut Vec<Action<E>>) {
        let running = self.flight.take().map(|flight| flight.turn());
        let waiting = self.queue.drain(..).filter_map(|item| match item {
            Item::Turn(turn) => Some(turn.turn),
            Item::Clear => None,
        });
        for turn in running.into_iter().chain(waiting) {
            actions.push(Action::Settle(turn, Verdict::NotStarted(permanent.clone())));
        }
        self.end(End::Failed(permanent), actions);
    }

    pub(super) fn end(&mut self, end: End, actions: &mut Vec<Action<E>>) {
        self.phase = Phase::Ended;
        actions.push(Action::End(end));
    }
}
