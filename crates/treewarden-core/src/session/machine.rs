//! The machine itself: its states, its queue, its deadlines, and how it starts and ends.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Instant;

use treewarden_proto::TurnId;

use super::config::Config;
use super::event::{Action, Event, Item, OpenTurn, Opening, Settlement, StopReason};
use super::exit_class::{CrashKind, Permanent, PermanentKind};
use super::flight::{Delivery, DrainReason, Flight};
use super::leave::{Leave, Renew};
use super::limited::Pause;
use super::own_work::Own;
use super::settling::Settling;
use super::starts::Starts;

/// What a session is doing, as its status shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The start procedure runs.
    Starting,
    /// The CLI is asked to initialize.
    Initializing,
    /// The CLI waits for a turn.
    Ready,
    /// No turn is in the CLI, and it works at something of its own.
    Working,
    /// The CLI works at this turn.
    Busy(TurnId),
    /// The CLI is to end this turn before its time.
    Draining(TurnId),
    /// No turn is in the CLI, and the outcome of this one is on its way to the store; or it is the next, and waits for that.
    Settling(TurnId),
    /// No turn begins before this time: the usage limit was hit.
    Suspended(Instant),
    /// The CLI is being ended.
    Stopping,
    /// This incarnation is over.
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Whoever runs the start procedure bounds its steps; a wait for a place among the live CLIs is bounded by `starts`.
    Starting,
    Initializing {
        since: Instant,
        until: Instant,
    },
    /// The last start failed, or there was not enough for one: the next one begins then.
    Waiting {
        until: Instant,
    },
    Open,
    Stopping(Then),
    Ended,
}

/// What follows once the CLI is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    Park,
    Clear,
    Reopen,
    /// The CLI did not come up in time: another is tried.
    Retry,
    Stop(StopReason),
    Crash(CrashKind),
}

impl Then {
    /// Tells whether a reason that came with the end of the CLI goes before what was to follow.
    pub(super) fn fails_with(&self, permanent: &Permanent) -> bool {
        match self {
            // Told as a crash, a refusal would be met again by each restart, until none is left.
            Self::Crash(_) | Self::Retry => true,
            // What the CLI refused is nothing to one that is not needed any more, or that has other options.
            // What is left of it would work beside its successor.
            Self::Park | Self::Clear | Self::Reopen => permanent.kind == PermanentKind::NotGone,
            Self::Stop(_) => false,
        }
    }
}

/// The life of one CLI and of the turns that it answers; see the [module](super).
///
/// `E` is the evidence that outcomes are made of; see [`Event`].
#[derive(Debug)]
pub struct Machine<E = ()> {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) queue: VecDeque<Item>,
    pub(super) flight: Option<Flight>,
    /// The CLI names prompts on its results.
    pub(super) lifecycle: bool,
    /// The CLI runs a turn of its predecessor again, and that turn is not settled yet; for a CLI that names no prompts
    /// it stays set, since the result of that turn may still come once the transcript has settled it.
    pub(super) rerunning: bool,
    /// No turn begins before: a usage limit is known.
    pub(super) suspended_until: Option<Instant>,
    /// Since when turns wait for that.
    pub(super) held_since: Option<Instant>,
    /// The session is to stop once the turn is drained.
    pub(super) stop_when_drained: bool,
    pub(super) idle_since: Instant,
    /// The opening was changed once already because the CLI refused the other.
    pub(super) reopened: bool,
    /// The opening that was forced upon the CLI of the moment.
    pub(super) opening: Option<Opening>,
    /// A CLI was started again already because it does not know a flag.
    pub(super) without_flag: bool,
    /// The conversation has another id already, since the CLI took neither opening of the one before.
    pub(super) renamed: bool,
    pub(super) starts: Starts,
    /// Whether another CLI is to take the place of that of the moment.
    pub(super) renew: Renew,
    pub(super) own: Own,
    pub(super) leave: Leave,
    pub(super) settling: Settling,
    /// Evidence passes through and is never kept.
    evidence: PhantomData<fn(E) -> E>,
}

impl<E> Machine<E> {
    /// Makes the machine of a new incarnation, with what is still open in the order in which it came.
    ///
    /// Turns that have had all their attempts are settled. What is to be cleared first needs no CLI, which a conversation
    /// that is lost could not even be given. Then comes [`Action::Start`], unless nothing is left to do.
    pub fn new(now: Instant, config: Config, open: Vec<Item>, actions: &mut Vec<Action<E>>) -> Self {
        let mut machine = Self {
            phase: Phase::Starting,
            queue: VecDeque::with_capacity(open.len()),
            flight: None,
            lifecycle: false,
            rerunning: false,
            suspended_until: None,
            held_since: None,
            stop_when_drained: false,
            idle_since: now,
            reopened: false,
            opening: None,
            without_flag: false,
            renamed: false,
            starts: Starts::default(),
            renew: Renew::default(),
            own: Own::default(),
            leave: Leave::default(),
            settling: Settling::default(),
            evidence: PhantomData,
            config,
        };
        for item in open {
            match item {
                // Before anything starts: a turn that kills every CLI would otherwise kill this one too, and
                // the session with its budget.
                Item::Turn(turn) if machine.is_spent(&turn) => {
                    machine.outcome(turn.turn, Settlement::Crashed, false, actions);
                }
                item => machine.queue.push_back(item),
            }
        }
        machine.clear_or_start(actions);
        machine.run_clock(now);
        machine
    }

    /// What the session is doing.
    pub fn state(&self) -> State {
        match (&self.phase, &self.flight) {
            (Phase::Starting, _) => self.suspended_until.map_or(State::Starting, State::Suspended),
            (Phase::Waiting { .. }, _) => State::Starting,
            (Phase::Initializing { .. }, _) => State::Initializing,
            (Phase::Stopping(_), _) => State::Stopping,
            (Phase::Ended, _) => State::Ended,
            (Phase::Open, Some(flight)) if flight.drain.is_some() => State::Draining(flight.turn()),
            (Phase::Open, Some(Flight { pause: Some(Pause::Limit(until)), .. })) => State::Suspended(*until),
            (Phase::Open, Some(flight)) => State::Busy(flight.turn()),
            (Phase::Open, None) => match (self.awaits_store(), self.suspended_until) {
                (Some(turn), _) => State::Settling(turn),
                (None, Some(until)) => State::Suspended(until),
                (None, None) if self.own_work().is_some() => State::Working,
                (None, None) => State::Ready,
            },
        }
    }

    /// Tells whether the CLI could be ended for convenience: nothing runs in it, and nothing is known to be lost.
    pub fn is_at_rest(&self) -> bool {
        self.state() == State::Ready && !self.works_by_itself() && self.unsaved().is_none()
    }

    /// How many items wait.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Tells whether the CLI names prompts on its results, so that the promises hold in full.
    pub fn attributes_by_id(&self) -> bool {
        self.lifecycle
    }

    /// Takes an event, and adds what is to be done to `actions`.
    pub fn handle(&mut self, now: Instant, event: Event<E>, actions: &mut Vec<Action<E>>) {
        // Whatever comes late is the next machine's: it gets what is open from the driver, and an outcome
        // given here would be a second one.
        if self.phase == Phase::Ended {
            return;
        }
        match event {
            Event::Enqueue(item) => {
                self.starts.joined(now, &item);
                self.queue.push_back(item);
                // It came after the stop: left in the queue, its caller would wait for a CLI that never
                // comes.
                if self.ends_its_turns() {
                    self.settle_queue(actions);
                } else if self.phase == Phase::Starting {
                    self.refuse_impatient(actions);
                }
                self.go_without_cli(actions);
                self.give_way(now, actions);
                self.dispatch(now, actions);
            }
            Event::Cancel(turn, reason) => self.cancel(now, turn, reason, actions),
            Event::InterruptOwnWork => self.interrupt_own_work(actions),
            Event::AwaitsPlace(waits) => self.awaits_place(now, waits),
            Event::Spawned => self.spawned(now, actions),
            Event::StartFailed(failure) => self.start_failed(now, failure, actions),
            Event::Initialized { lifecycle } => self.initialized(now, lifecycle, actions),
            Event::Unsent(turn, why) => self.unsent(now, turn, why, actions),
            Event::Held(turn) => self.held(now, turn),
            Event::Limited(turn, left) => self.limited(now, turn, left, actions),
            Event::Slept(by) => self.slept(by),
            Event::Released(turn) => self.released(now, turn, actions),
            Event::Settled(turn) => self.settled(now, turn, actions),
            Event::Frame(fact) => self.frame(now, fact, actions),
            Event::ProbeAnswered => self.active(now),
            Event::TranscriptRead(turn, found) => self.transcript_read(now, turn, found, actions),
            Event::OnDisk(saved) => self.looked(now, saved, actions),
            Event::Exited(class) => self.exited(now, class, actions),
            Event::Stop(reason) => self.stop(now, reason, actions),
            Event::TooLarge => self.too_large(now, actions),
            Event::Configure { config, renew } => self.configure(now, config, renew, actions),
        }
        self.run_clock(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Ended => None,
            Phase::Open => match &self.flight {
                Some(flight) => self.flight_timeout(flight),
                // Whatever is due between two turns is due when the outcome is stored or in hand: whoever stores it
                // has a deadline for that.
                None if !self.settling.is_empty() => None,
                None => self.free_timeout(),
            },
            _ => self.start_timeout(),
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        match &self.phase {
            Phase::Ended => {}
            Phase::Open if self.flight.is_some() => self.flight_due(now, actions),
            Phase::Open if self.settling.is_empty() => self.free_due(now, actions),
            Phase::Open => {}
            _ => self.start_due(now, actions),
        }
        self.run_clock(now);
    }

    /// When something is due while no turn is in the CLI.
    fn free_timeout(&self) -> Option<Instant> {
        let idle = self.config.idle_timeout.map(|idle| self.idle_since + idle);
        let own = self.own_work_until();
        // While the limit holds, a turn that waits for own work could not be sent anyway, and an idle CLI is
        // not parked: only the end of the limit matters.
        let (held, other) = match self.suspended_until {
            Some(until) => (None, Some(until)),
            None if self.is_held() => (self.held_deadline(), None),
            None => (self.held_until(), own.or_else(|| idle.filter(|_| self.leave.next().is_none()))),
        };
        [held, self.leave.next(), other].into_iter().flatten().min()
    }

    fn free_due(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        self.hold_due(now, actions);
        let resumed = self.suspended_until.is_some_and(|until| until <= now);
        if resumed {
            self.hold_over(now);
        }
        // `|` and not `||`: both have to be done, whatever the other says.
        if self.expire_own_work(now) | resumed || self.held_until().is_some_and(|until| until <= now) {
            self.dispatch(now, actions);
        }
        self.look_due(now, actions);
        let idle = self.config.idle_timeout.map(|idle| self.idle_since + idle);
        let free = self.flight.is_none() && self.suspended_until.is_none() && self.leave.next().is_none();
        if free && idle.is_some_and(|until| until <= now) {
            self.stop(now, StopReason::Park, actions);
        }
    }

    fn is_spent(&self, turn: &OpenTurn) -> bool {
        let taken = turn.attempts > 0;
        // An at-most-once turn that was written to a CLI may have run: to send it again would run its tools
        // twice.
        taken && (turn.delivery == Delivery::AtMostOnce || turn.attempts >= self.config.max_attempts)
    }

    /// Begins the next turn if the CLI is free: the one place from which turns begin.
    pub(super) fn dispatch(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        // One turn at a time: of prompts that are sent while one runs, the CLI makes a single turn with a
        // single result.
        if self.phase != Phase::Open || self.flight.is_some() {
            return;
        }
        self.idle_since = now;
        // Before the queue is looked at: nothing is sent after a stop.
        if self.stop_when_drained {
            return self.begin_stop(Then::Stop(StopReason::Requested), Action::Stop, actions);
        }
        // Before the disk is looked at: what is looked for is what is known to be settled.
        if !self.settling.is_empty() {
            return;
        }
        self.look_again(now, actions);
        // Other options come before the next turn: it must not go to a CLI with those of before.
        if self.replace_soon(now, actions) || self.suspended_until.is_some() || self.is_held() {
            self.refuse_impatient(actions);
            // What was refused just now is stored first.
            if !self.is_clear_next() || !self.settling.is_empty() {
                return;
            }
        }
        if let Some(Item::Turn(next)) = self.queue.front()
            && self.own.holds(now, next, &self.config)
        {
            return;
        }
        match self.queue.pop_front() {
            None => {}
            Some(Item::Clear) => self.begin_stop(Then::Clear, Action::Stop, actions),
            Some(Item::Turn(mut turn)) => {
                turn.attempts += 1;
                self.renew.has_worked = true;
                // The deadline of the first dispatch stays over all incarnations: with a new one each, a turn
                // that crashes its CLIs would never time out.
                turn.deadline = turn.deadline.or_else(|| turn.timeout.map(|timeout| now + timeout));
                actions.push(Action::Send(turn.turn));
                self.own.give_way();
                self.leave.stay();
                self.flight = Some(Flight::new(turn, now));
                // A weak CLI may swallow a prompt that it knows and print nothing about it, so that no frame
                // would ever cause a read.
                if self.needs_transcript() {
                    self.read_after(now, self.config.settle_grace);
                }
            }
        }
    }

    /// Tells whether this is the time for another CLI: not while this one runs a turn of its predecessor again by itself,
    /// nor before a clear, which ends it anyway.
    pub(super) fn may_renew(&self) -> bool {
        match self.queue.front() {
            Some(Item::Turn(turn)) => turn.attempts == 0,
            Some(Item::Clear) => false,
            None => true,
        }
    }

    /// Keeps to other times from now on, and sees to it that no new turn goes to a CLI with options of before.
    ///
    /// A CLI that is being ended needs nothing: the next one has the new options.
    fn configure(&mut self, now: Instant, config: Config, renew: bool, actions: &mut Vec<Action<E>>) {
        self.config = config;
        // `|=`: two changes in a row, of which only the first needs another CLI, need one.
        self.renew.options |= renew && !matches!(self.phase, Phase::Stopping(_));
        // What kept the session from coming up may be mended by them.
        if let Phase::Waiting { until } = &mut self.phase {
            *until = now;
        }
        // They may name another account, whose limit is another.
        if self.phase == Phase::Starting && self.suspended_until.is_some() {
            self.suspended_until = Some(now);
        }
        if self.renew.options {
            self.dispatch(now, actions);
        }
    }

    pub(super) fn cancel(
        &mut self,
        now: Instant,
        turn: TurnId,
        reason: DrainReason,
        actions: &mut Vec<Action<E>>,
    ) {
        if self.flight.as_ref().is_some_and(|flight| flight.turn() == turn) {
            return self.drain(now, reason, actions);
        }
        let found = self.queue.iter().position(|item| matches!(item, Item::Turn(t) if t.turn == turn));
        let Some(Item::Turn(open)) = found.and_then(|at| self.queue.remove(at)) else { return };
        let settlement = if open.attempts > 0 { reason.settlement() } else { Settlement::Cancelled };
        self.outcome(turn, settlement, false, actions);
        self.left_the_queue(open.attempts > 0, actions);
    }

    fn interrupt_own_work(&self, actions: &mut Vec<Action<E>>) {
        // Asked again here: between the wish and this event that work may have ended, and a turn begun that nobody meant.
        if self.own_work().is_some() {
            actions.push(Action::Interrupt);
        }
    }
}
