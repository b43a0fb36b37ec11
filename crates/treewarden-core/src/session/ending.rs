//! How an incarnation ends: by a stop, by the exit of its CLI, by a failure to start.

use std::time::Instant;

use super::event::{Action, End, Item, Settlement, StartFailure, StopReason};
use super::exit_class::{CrashKind, ExitClass, Permanent};
use super::flight::{Delivery, DrainReason};
use super::leave::Purpose;
use super::machine::{Machine, Phase, Then};

impl<E> Machine<E> {
    pub(super) fn begin_stop(&mut self, then: Then, action: Action<E>, actions: &mut Vec<Action<E>>) {
        self.phase = Phase::Stopping(then);
        // A look at the disk that is under way must not decide any more: its answer could turn this stop into
        // a park.
        self.leave.call_off();
        actions.push(action);
    }

    pub(super) fn kill(&mut self, kind: CrashKind, actions: &mut Vec<Action<E>>) {
        let stop = Then::Stop(StopReason::Requested);
        // A session that was asked to stop has stopped, however its CLI ends: told as a crash, its supervisor
        // would start it again.
        let then = if self.stop_when_drained { stop } else { Then::Crash(kind) };
        self.begin_stop(then, Action::Kill, actions);
    }

    pub(super) fn stop(&mut self, now: Instant, reason: StopReason, actions: &mut Vec<Action<E>>) {
        if matches!(self.phase, Phase::Stopping(_)) && reason != StopReason::Park {
            // The CLI is being ended, so that no result comes any more. The turn goes back into the queue
            // first, where the lines below settle it with the others; left in flight, it would be open again
            // after the exit, and nobody would settle it.
            self.abandon_flight(actions);
        }
        // At once, and not when the CLI is gone: whoever waits behind a turn that has to drain first is told
        // now.
        if reason == StopReason::Requested {
            self.settle_queue(actions);
        }
        match (&self.phase, reason) {
            // The first reason stays. After a shutdown that was under way, a request has settled the turns
            // above, and no more is to do.
            (Phase::Ended, _) | (Phase::Stopping(Then::Stop(_)), _) => {}
            (Phase::Open, StopReason::Park) => {
                // Asked again here: between the wish for the place and this event a turn may have come.
                // Nor while an outcome is on its way: the look would not know of that turn.
                let is_idle = self.flight.is_none() && self.settling.is_empty() && self.queue.is_empty();
                if is_idle && !self.works_by_itself() {
                    self.look(now, Purpose::Park, actions);
                }
            }
            (_, StopReason::Park) => {}
            // A stop overtakes a park, a clear and a restart, whose CLI is being ended already: only what
            // follows is another.
            (Phase::Stopping(_), reason) => self.phase = Phase::Stopping(Then::Stop(reason)),
            // Nothing is there to be ended.
            (Phase::Waiting { .. }, reason) => self.end(End::Stopped(reason), actions),
            // A CLI that is not up has nothing to end in order, and would not hear of it before it is.
            (Phase::Starting | Phase::Initializing { .. }, reason) => {
                self.begin_stop(Then::Stop(reason), Action::Kill, actions);
            }
            (Phase::Open, StopReason::Requested) if self.flight.is_some() => {
                // Noted before the drain: `dispatch`, which comes with the result, then ends the CLI and
                // begins no other turn.
                self.stop_when_drained = true;
                self.drain(now, DrainReason::Interrupted, actions);
            }
            (Phase::Open, StopReason::Shutdown) if self.flight.is_some() => {
                self.abandon_flight(actions);
                // SIGTERM and not the end of stdin: at that, the CLI would first finish the turn, however
                // long that takes, while its supervisor waits. What it leaves is carried on by the next
                // incarnation.
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
        for item in std::mem::take(&mut self.queue) {
            if let Item::Turn(turn) = item {
                // A turn that was sent before may have run tools, so that `Cancelled`, which promises that it
                // never ran, would be a lie.
                let settlement =
                    if turn.attempts > 0 { Settlement::Interrupted } else { Settlement::Cancelled };
                self.outcome(turn.turn, settlement, false, actions);
            }
        }
    }

    /// Puts the turn back for the next incarnation, unless it was to end anyway or must not run twice.
    fn abandon_flight(&mut self, actions: &mut Vec<Action<E>>) {
        let Some(flight) = self.flight.take() else { return };
        let settlement = match (flight.drain, flight.open.delivery) {
            (Some((reason, _)), _) => reason.settlement(),
            (None, Delivery::AtMostOnce) => Settlement::Crashed,
            // To the front, since it began before all that wait: behind them, the conversation would have the
            // turns in another order than they were opened in.
            (None, Delivery::ExactlyOnce) => return self.queue.push_front(Item::Turn(flight.open)),
        };
        self.outcome(flight.turn(), settlement, true, actions);
    }

    pub(super) fn exited(&mut self, now: Instant, class: ExitClass, actions: &mut Vec<Action<E>>) {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            // An exit that is told twice ends nothing more: a second `End` would be a second restart.
            Phase::Ended => {}
            Phase::Stopping(then) => self.ended_as_told(now, then, class, actions),
            phase @ (Phase::Starting | Phase::Initializing { .. } | Phase::Waiting { .. }) => {
                // `start_failed` asks whether a stop is under way, and is not to find `Ended`.
                self.phase = phase;
                self.start_failed(now, StartFailure::of(class), actions);
            }
            // The turn that was to drain went with its CLI: it is settled by the reason of the drain, and the
            // stop is done.
            Phase::Open if self.stop_when_drained => {
                self.abandon_flight(actions);
                self.end(End::Stopped(StopReason::Requested), actions);
            }
            Phase::Open => match class {
                ExitClass::Permanent(permanent) => self.fail(permanent, actions),
                // It left by itself and nothing is lost; the next turn starts another. A crash would spend a
                // restart for that.
                ExitClass::Clean if self.flight.is_none() => self.end(End::Parked, actions),
                ExitClass::Clean => self.crash(ExitClass::Crash(CrashKind::Exit(0)), actions),
                class => self.crash(class, actions),
            },
        }
    }

    /// The CLI that was being ended is gone, or as far gone as it could be made.
    fn ended_as_told(&mut self, now: Instant, then: Then, class: ExitClass, actions: &mut Vec<Action<E>>) {
        match (then, class) {
            // Whatever it ended of, a stop is done: nothing starts after it. Whoever runs the machine knows
            // what is left of the CLI, and says so to who asked for the stop.
            (Then::Stop(reason), _) => {
                self.abandon_flight(actions);
                self.end(End::Stopped(reason), actions);
            }
            (then, ExitClass::Permanent(permanent)) if then.fails_with(&permanent) => {
                // The clear is done all the same. It needs no CLI, and whoever waits for it would otherwise
                // wait for the next one.
                if then == Then::Clear {
                    actions.push(Action::NewConversation);
                }
                self.fail(permanent, actions);
            }
            (Then::Crash(kind), _) => self.crash(ExitClass::Crash(kind), actions),
            (Then::Retry, _) => self.late(now, String::new(), actions),
            (Then::Park, _) => self.end(End::Parked, actions),
            (Then::Clear, _) => {
                actions.push(Action::NewConversation);
                self.end(End::Parked, actions);
            }
            // The turn for which another CLI was to come is cancelled: it would come up for nobody.
            (Then::Reopen, _) if self.queue.is_empty() => self.end(End::Parked, actions),
            (Then::Reopen, _) => {
                // Another CLI, another try: the refusals of the one before say nothing about the opening
                // that is asked for now.
                self.reopened = false;
                self.clear_or_start(actions);
            }
        }
    }

    pub(super) fn crash(&mut self, class: ExitClass, actions: &mut Vec<Action<E>>) {
        self.abandon_flight(actions);
        self.end(End::Crashed(class), actions);
    }

    pub(super) fn fail(&mut self, permanent: Permanent, actions: &mut Vec<Action<E>>) {
        // The running turn first, so that outcomes come in the order of the turns.
        let running = self.flight.take().map(|flight| flight.open);
        let waiting = std::mem::take(&mut self.queue).into_iter().filter_map(|item| match item {
            Item::Turn(turn) => Some(turn),
            Item::Clear => None,
        });
        for turn in running.into_iter().chain(waiting) {
            let settlement = match turn.attempts {
                0 => Settlement::NotStarted(permanent.clone()),
                // It may have run tools: told as not started, it would be asked once more and run twice.
                _ => Settlement::LeftOff(permanent.clone()),
            };
            self.outcome(turn.turn, settlement, false, actions);
        }
        self.end(End::Failed(permanent), actions);
    }

    pub(super) fn end(&mut self, end: End, actions: &mut Vec<Action<E>>) {
        self.phase = Phase::Ended;
        actions.push(Action::End(end));
    }
}
