//! How the turn that is in the CLI comes to its outcome.
//!
//! ```text
//! result names it ................................. that result
//! result names nothing, CLI reports no lifecycle:
//!     first attempt, nothing run again ............ that result
//!     otherwise, and for all turns after it ....... the transcript, once the answer stands there
//! refused by a hook within a turn of the CLI's own  the notice that says so
//! reported complete, CLI idle for settle_grace .... the transcript
//! … and no answer there ........................... the CLI is asked to go on, once; then it is killed
//! … and another writer's prompt behind its own .... overtaken: it is neither run again nor gone on with
//! failed by the model API, and it may pass ........ paused, then gone on with: see `limited`
//! deadline or interrupt, then an aborted result ... interrupted or timed out
//! … and no result within drain_timeout ............ the same, and the CLI is killed
//! CLI gone ........................................ stays open for the next incarnation
//! never sent, since the store kept it waiting ..... held up
//! ```

use std::time::{Duration, Instant};

use treewarden_proto::TurnId;

use super::event::{Action, Fact, Found, Lifecycle, ResultFact, Settlement};
use super::exit_class::{CrashKind, Permanent};
use super::flight::{DrainReason, Flight, is_of_any};
use super::limited::Pause;
use super::machine::{Machine, Phase};

/// At which refusal of the credentials a turn ends. A key that is being renewed is refused once.
const REFUSALS: u32 = 2;

/// How often the time between two reads of the transcript doubles: up to 64 times `settle_grace`.
const MAX_DOUBLINGS: u32 = 6;

impl<E> Machine<E> {
    pub(super) fn frame(&mut self, now: Instant, fact: Fact<E>, actions: &mut Vec<Action<E>>) {
        self.active(now);
        // Before the fact is dealt with: a result takes its turn out of flight, and would then be taken for
        // the end of own work.
        let own_work_ended = self.note_own_work(now, &fact);
        match fact {
            Fact::Result(result) => self.result(now, result, actions),
            Fact::Lifecycle(turn, state) => {
                // 2.1.330 advertises it with the first turn only, and not in its answer to `initialize`.
                self.lifecycle = true;
                self.lifecycle(now, turn, state, actions);
            }
            Fact::Idle => self.with_flight(|flight, config| {
                flight.idle = true;
                flight.arm_read(now, config);
            }),
            Fact::Running => self.with_flight(|flight, _| {
                flight.idle = false;
                flight.read_at = None;
            }),
            Fact::Refused(turn, notice) => self.refused(now, turn, notice, actions),
            Fact::AwaitsHost => self.with_flight(|flight, _| flight.awaits_host = true),
            Fact::CredentialsRefused => self.credentials_refused(now, actions),
            Fact::Activity | Fact::TurnBegan | Fact::TaskEnded | Fact::BackgroundTasks(_) => {}
        }
        // Not before the frame is dealt with: a result of the CLI's own must not meet the turn that waited for it.
        if own_work_ended {
            self.dispatch(now, actions);
        }
    }

    pub(super) fn active(&mut self, now: Instant) {
        self.with_flight(|flight, _| {
            flight.last_activity = now;
            flight.probed_at = None;
            flight.awaits_host = false;
        });
        if self.needs_transcript() {
            self.read_after(now, self.config.settle_grace);
        }
    }

    /// Has the transcript asked after this time, unless it is being asked.
    pub(super) fn read_after(&mut self, now: Instant, wait: Duration) {
        self.with_flight(|flight, _| {
            if !flight.reading {
                flight.read_at = Some(now + wait);
            }
        });
    }

    fn with_flight(&mut self, change: impl FnOnce(&mut Flight, &super::Config)) {
        if let Some(flight) = &mut self.flight {
            change(flight, &self.config);
        }
    }

    fn lifecycle(&mut self, now: Instant, id: TurnId, state: Lifecycle, actions: &mut Vec<Action<E>>) {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.is(id)) else { return };
        match state {
            // 2.1.332 says so of a turn that the model API failed, behind the result.
            Lifecycle::Dropped if flight.pause.is_some() => {}
            Lifecycle::Queued => {}
            Lifecycle::Started => flight.idle = false,
            Lifecycle::Completed => {
                flight.completed = true;
                flight.arm_read(now, &self.config);
            }
            Lifecycle::Dropped => {
                let settlement = flight.cut_short(None);
                self.settle(now, settlement, actions);
            }
        }
    }

    fn result(&mut self, now: Instant, result: ResultFact<E>, actions: &mut Vec<Action<E>>) {
        if let Some(limited_for) = result.limited_for {
            // Before the turn is settled: the dispatch that follows would send the next one into the limit.
            self.hold_for(now, limited_for);
        }
        let needs_transcript = self.needs_transcript();
        if self.flight.is_none() {
            return self.settle_carried_on(result, actions);
        }
        let pause = self.flight.as_ref().and_then(|flight| self.pause(now, flight, &result));
        let Some(flight) = &mut self.flight else { return };
        let named = is_of_any(&flight.open, |id| result.turns.contains(id));
        let by_position = !self.lifecycle && result.turns.is_empty() && !result.unsolicited;
        if named && let Some(pause) = pause {
            flight.failures += u32::from(matches!(pause, Pause::Failure(_)));
            flight.pause = Some(pause);
        } else if named || (by_position && !needs_transcript) {
            let by = result.evidence;
            let settlement = if result.aborted { flight.cut_short(Some(by)) } else { Settlement::Result(by) };
            self.settle(now, settlement, actions);
        } else if by_position && !flight.reading {
            flight.reading = true;
            flight.read_at = None;
            actions.push(Action::ReadTranscript(flight.turn()));
        }
    }

    /// Nothing of the prompt is in the conversation, so that the transcript would be asked for its answer in vain.
    fn refused(&mut self, now: Instant, turn: TurnId, notice: E, actions: &mut Vec<Action<E>>) {
        let Some(flight) = self.flight.as_ref().filter(|flight| flight.is(turn)) else { return };
        let settlement = flight.drain.map_or(Settlement::Refused(notice), |(reason, _)| reason.settlement());
        self.own.goes_on();
        self.settle(now, settlement, actions);
    }

    pub(super) fn transcript_read(
        &mut self,
        now: Instant,
        turn: TurnId,
        found: Found<E>,
        actions: &mut Vec<Action<E>>,
    ) {
        // A read that took long may be about a turn that a result has settled meanwhile.
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.turn() == turn) else { return };
        flight.reading = false;
        match found {
            Found::Answer(answer) => self.settle(now, Settlement::Transcript(answer), actions),
            Found::Interruption => {
                let settlement = flight.cut_short(None);
                self.settle(now, settlement, actions);
            }
            // Nothing of it runs in this CLI, so that there is nothing to wait for.
            Found::Overtaken if !flight.completed => self.overtaken(now, actions),
            Found::Nothing | Found::Overtaken => {
                // The CLI writes its transcript a moment after it has printed, so that one look says nothing.
                flight.reads += 1;
                flight.arm_read(now, &self.config);
                let reads = flight.reads;
                if self.needs_transcript() {
                    self.read_after(now, self.config.settle_grace * (1 << reads.min(MAX_DOUBLINGS)));
                }
                let done = self.flight.as_ref().is_some_and(|flight| flight.completed && flight.idle);
                // Only a CLI that reports lives is known to have done with the turn; a weak one may still be
                // at work with it, and is left to its deadline.
                if self.lifecycle
                    && done
                    && reads >= self.config.transcript_reads
                    && self.phase == Phase::Open
                {
                    match found {
                        Found::Overtaken => self.overtaken(now, actions),
                        _ => self.answer_missing(now, actions),
                    }
                }
            }
        }
    }

    /// The CLI has done with the turn and left no answer: what it printed of one died with its predecessor.
    ///
    /// Seen with 2.1.330 after two kills behind the turn's last tool: the CLI goes on by itself once, not twice. So it is
    /// asked to, as it asks itself.
    fn answer_missing(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        let Some(flight) = &mut self.flight else { return };
        if let Some((reason, _)) = flight.drain {
            return self.settle(now, reason.settlement(), actions);
        }
        if flight.nudged {
            // Asked once and still without an answer: another nudge in this CLI would be as vain.
            return self.kill(CrashKind::AnswerMissing, actions);
        }
        flight.nudged = true;
        flight.completed = false;
        flight.reads = 0;
        flight.read_at = None;
        actions.push(Action::Nudge(flight.turn(), flight.turn().nudge(flight.open.attempts)));
    }

    /// The turn fails: asked to go on, the CLI would go on with the other writer's turn, and run its tools once more.
    fn overtaken(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        let Some(flight) = &self.flight else { return };
        let settlement = flight.drain.map_or(Settlement::Overtaken, |(reason, _)| reason.settlement());
        self.settle(now, settlement, actions);
    }

    fn credentials_refused(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        let Some(flight) = &mut self.flight else { return };
        flight.refusals += 1;
        if flight.refusals >= REFUSALS {
            self.drain(now, DrainReason::CredentialsRefused, actions);
        }
    }

    /// Makes the running turn end; its outcome is decided by how it does.
    pub(super) fn drain(&mut self, now: Instant, reason: DrainReason, actions: &mut Vec<Action<E>>) {
        let Some(flight) = &mut self.flight else { return };
        // Nothing of it runs, so that there is nothing to drain.
        if flight.pause.is_some() && self.phase == Phase::Open {
            return self.settle(now, reason.settlement(), actions);
        }
        // The first reason stays: a turn that timed out and is cancelled afterwards has timed out, and a
        // second interrupt would give the drain another ten seconds.
        if flight.drain.is_none() {
            flight.drain = Some((reason, now + self.config.drain_timeout));
            // A CLI that is being ended needs no interrupt; the reason is what its turn is settled with.
            if self.phase == Phase::Open {
                actions.push(Action::Interrupt);
            }
        }
    }

    /// Settles the turn that was dispatched and did not reach the CLI; what waits behind it goes on.
    pub(super) fn unsent(
        &mut self,
        now: Instant,
        turn: TurnId,
        why: Permanent,
        actions: &mut Vec<Action<E>>,
    ) {
        if let Some(flight) = self.flight.as_ref().filter(|flight| flight.turn() == turn) {
            let unsent = if flight.taken_over { Settlement::LeftOff } else { Settlement::NotStarted };
            let settlement = flight.drain.map_or_else(|| unsent(why), |(reason, _)| reason.settlement());
            self.settle(now, settlement, actions);
        } else {
            self.refuse_held(now, turn, why, actions);
        }
    }

    pub(super) fn settle(&mut self, now: Instant, settlement: Settlement<E>, actions: &mut Vec<Action<E>>) {
        let Some(flight) = self.flight.take() else { return };
        // A weak CLI may still print the result of the turn that it ran again; given by position, it would
        // answer the next one.
        self.rerunning &= !self.lifecycle;
        self.outcome(flight.turn(), settlement, true, actions);
        // Before the dispatch: the CLI's own turn about a task that ended is the next one, and a prompt would
        // be woven into it.
        self.own.resume(now);
        // It begins no turn before the outcome is stored; a stop that waited for the drain need not wait for that.
        self.dispatch(now, actions);
    }

    pub(super) fn flight_timeout(&self, flight: &Flight) -> Option<Instant> {
        if let Some(pause) = flight.pause {
            return Some(pause.until());
        }
        let turn = match flight.drain {
            // A turn that drains has the time of the drain; its deadline has passed, or does not matter any
            // more.
            Some((_, until)) => Some(until),
            None => flight.open.deadline,
        };
        let life = match flight.probed_at {
            Some(at) => Some(at + self.config.probe_timeout),
            // The host owes the CLI something: its silence is ours.
            None if flight.awaits_host => None,
            None => Some(flight.last_activity + self.config.silence_timeout),
        };
        [turn, life, flight.read_at].into_iter().flatten().min()
    }

    pub(super) fn flight_due(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        if self.flight.as_ref().is_some_and(|flight| flight.pause.is_some()) {
            return self.pause_due(now, actions);
        }
        let Some(flight) = &mut self.flight else { return };
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(flight.read_at) && !flight.reading {
            flight.read_at = None;
            flight.reading = true;
            actions.push(Action::ReadTranscript(flight.turn()));
        }
        if let Some((reason, until)) = flight.drain
            && until <= now
        {
            let turn = flight.turn();
            // Settled here and not by the exit: the caller has waited for the whole drain, and a kill may
            // take its time.
            self.flight = None;
            self.outcome(turn, reason.settlement(), true, actions);
            return self.kill(CrashKind::NotDrained, actions);
        }
        if due(flight.probed_at.map(|at| at + self.config.probe_timeout)) {
            return self.kill(CrashKind::Silent, actions);
        }
        let silent = now >= flight.last_activity + self.config.silence_timeout;
        if silent && flight.probed_at.is_none() && !flight.awaits_host {
            flight.probed_at = Some(now);
            actions.push(Action::Probe);
        }
        if flight.drain.is_none() && due(flight.open.deadline) {
            self.drain(now, DrainReason::TimedOut, actions);
        }
    }
}

impl Flight {
    /// What a turn comes to that ended before its time, by whoever made it, and by this result.
    fn cut_short<E>(&self, by: Option<E>) -> Settlement<E> {
        self.drain.map_or(Settlement::Interrupted, |(reason, _)| reason.settlement_by(by))
    }

    /// Has the transcript asked once the CLI has done with the turn and said no more.
    fn arm_read(&mut self, now: Instant, config: &super::Config) {
        if self.completed && self.idle && !self.reading {
            self.read_at = Some(now + config.settle_grace);
        }
    }
}

impl DrainReason {
    /// What a turn comes to that no result ended.
    pub(super) fn settlement<E>(self) -> Settlement<E> {
        self.settlement_by(None)
    }

    fn settlement_by<E>(self, by: Option<E>) -> Settlement<E> {
        match self {
            Self::Interrupted => Settlement::Interrupted,
            Self::TimedOut => Settlement::TimedOut(by),
            Self::CredentialsRefused => Settlement::CredentialsRefused(by),
        }
    }
}
