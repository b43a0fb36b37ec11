//! How a CLI comes up, and what is done while none does: another try, the patience for that, and the time of the turns that wait.
//!
//! ```text
//!                ┌─────────── pause is over ──────────┐
//!                ▼                                    │
//!            Starting ── passing failure, shortage ─► Waiting ── five CLIs, or 30 s ─► Ended (failed)
//!                │                                    ▲
//!                ▼ Spawned                            │
//!          Initializing ── it ended, no answer ───────┘
//! ```
//!
//! A failure that passes is none of the session's supervisor's business: it spends nobody's budget. A shortage of the system is
//! waited for as a place is. The time of the foremost turn runs meanwhile, but for the waits for a place, which have
//! a deadline of their own (`place_wait`). Which failures pass is `start_failure.rs`'s.

use std::time::{Duration, Instant};

use treewarden_proto::TurnId;

use super::event::{Action, End, Item, Opening, Settlement, Start, StartFailure};
use super::exit_class::{CrashKind, ExitClass, Permanent, PermanentKind};
use super::leave::{Leave, Renew};
use super::machine::{Machine, Phase, Then};
use super::own_work::Own;
use super::start_failure::{Passing, has_no_room};

/// The longest pause between two starts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is known of the starts since a CLI was last up.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// When the first of the failures in a row came; moved on by waits for a place.
    failing_since: Option<Instant>,
    /// How many failures there were in a row, and of how many a CLI had been spawned.
    failures: u32,
    ended: u32,
    /// What the last of them said.
    said: Option<String>,
    /// What the CLI that is coming up has said on stderr so far.
    heard: String,
    /// The time of a turn is over that waited for the CLI that is coming up.
    overdue: bool,
    /// A CLI was ended for that, since one was last up.
    gave_way: bool,
    /// How long the CLI had that is being ended since it did not come up.
    hung_for: Duration,
    place: Option<Wait>,
    /// The wait for what the system was short of that ended with the spawn of the CLI that is coming up: it may find the same.
    ended_wait: Option<Wait>,
}

/// A wait for a place among the live CLIs.
#[derive(Debug)]
struct Wait {
    since: Instant,
    /// What the system is short of, if it is that and not a place.
    short: Option<String>,
    /// How often it was short.
    tries: u32,
    /// Since when each turn waits, in the order of the queue.
    asked: Vec<(TurnId, Instant)>,
}

impl Wait {
    /// Goes on where the wait before it ended: each turn has waited since it first asked.
    fn goes_on_from(&mut self, ended: &Self) {
        self.tries = ended.tries;
        for (turn, since) in &mut self.asked {
            if let Some((_, asked)) = ended.asked.iter().find(|(asked, _)| asked == turn) {
                *since = *asked;
            }
        }
    }
}

impl Starts {
    /// Something came behind what waits.
    pub(super) fn joined(&mut self, now: Instant, item: &Item) {
        // Counted from the asking: whoever comes late has the whole wait.
        if let (Some(wait), Item::Turn(turn)) = (&mut self.place, item) {
            wait.asked.push((turn.turn, now));
        }
    }

    fn unanswered(time: Duration) -> String {
        format!("no answer to initialize in {}", in_words(time))
    }

    fn pause(first: Duration, failures: u32) -> Duration {
        first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
    }
}

impl StartFailure {
    /// What the end of a CLI was that had not answered `initialize`, of which nothing more is known.
    pub(super) fn of(class: ExitClass) -> Self {
        match class {
            ExitClass::Permanent(permanent) => Self::Permanent(permanent),
            class => Self::passing(&class, ""),
        }
    }

    /// The end of a CLI that had not answered `initialize`, with its last words.
    ///
    /// To leave in good order before that is no clean end: taken for one, the session would be parked, and the turn that
    /// the CLI was started for would wait for nobody.
    pub fn passing(class: &ExitClass, words: &str) -> Self {
        let how = match class {
            ExitClass::Clean => CrashKind::Exit(0).to_string(),
            ExitClass::Crash(kind) => kind.to_string(),
            class => class.to_string(),
        };
        let words = words.trim();
        if has_no_room(words) {
            return Self::Shortage(with_words(&how, words));
        }
        Self::Passing(Passing { how, words: words.to_owned(), spawned: true })
    }
}

/// A time for people.
fn in_words(time: Duration) -> String {
    let millis = time.as_millis();
    let rounded = if millis < 1_000 { millis } else { millis / 100 * 100 };
    format!("{:?}", Duration::from_millis(u64::try_from(rounded).unwrap_or(u64::MAX)))
}

fn with_words(how: &str, words: &str) -> String {
    if words.is_empty() { how.to_owned() } else { format!("{how}: {words}") }
}

impl<E> Machine<E> {
    /// Why no CLI is up, for whoever looks; `None` while nothing is the matter.
    pub fn start_trouble(&self) -> Option<String> {
        if !matches!(self.phase, Phase::Starting | Phase::Initializing { .. } | Phase::Waiting { .. }) {
            return None;
        }
        match &self.starts.place {
            Some(Wait { short: Some(what), .. }) => {
                Some(format!("the system is short of what a CLI needs, and the start waits for it: {what}"))
            }
            Some(_) => Some("it waits for a place among the live CLIs (`max_live`)".to_owned()),
            None => self.start_failure(),
        }
    }

    /// How the last CLI failed to come up; `None` once one is up.
    pub fn start_failure(&self) -> Option<String> {
        self.starts.said.as_ref().map(|said| format!("its CLI did not come up: {said}"))
    }

    /// Why the CLI is being killed, if it is for a fault of its own.
    pub fn killed_for(&self) -> Option<CrashKind> {
        match self.phase {
            Phase::Stopping(Then::Crash(kind)) => Some(kind),
            Phase::Stopping(Then::Retry) => Some(CrashKind::StartTimeout),
            _ => None,
        }
    }

    /// Takes what the CLI that is coming up has said on stderr so far: a turn whose time is over is told.
    pub fn hear(&mut self, words: &str) {
        if matches!(self.phase, Phase::Initializing { .. }) {
            words.trim().clone_into(&mut self.starts.heard);
        }
    }

    /// The turns that wait and whose time has begun, with its end.
    ///
    /// While a usage limit holds, that end moves on with the clock: the machine that comes next does not know since when
    /// it holds, and would take the wait for the turn's own time.
    pub fn deadlines(&self, now: Instant) -> impl Iterator<Item = (TurnId, Instant)> {
        let held = self.held_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.queue.iter().filter_map(move |item| match item {
            Item::Turn(turn) => turn.deadline.map(|deadline| (turn.turn, deadline + held)),
            Item::Clear => None,
        })
    }

    pub(super) fn start(&mut self, opening: Option<Opening>, actions: &mut Vec<Action<E>>) {
        self.phase = Phase::Starting;
        // Whoever starts it asks for the limit once more.
        self.suspended_until = None;
        self.renew = Renew::default();
        self.opening = opening;
        // What the CLI before did by itself, and what was looked for on disk, ended with it.
        self.own = Own::default();
        self.leave = Leave::default();
        self.starts.heard.clear();
        self.starts.overdue = false;
        // Only for a turn that is open: told to run again what its transcript ends with, a CLI without one
        // would run a prompt that was settled long ago.
        self.rerunning = matches!(self.queue.front(), Some(Item::Turn(turn)) if turn.attempts > 0);
        actions.push(Action::Start(Start { opening, rerun: self.rerunning }));
    }

    pub(super) fn spawned(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        self.starts.ended_wait = self.place_is_there(now).filter(|wait| wait.short.is_some());
        // A stop that came during the spawn has changed the phase, and the CLI is being ended: it is asked
        // nothing.
        if self.phase == Phase::Starting {
            self.hold_over(now);
            self.phase = Phase::Initializing { since: now, until: now + self.config.start_timeout };
            actions.push(Action::Initialize);
        }
    }

    pub(super) fn initialized(&mut self, now: Instant, lifecycle: bool, actions: &mut Vec<Action<E>>) {
        if matches!(self.phase, Phase::Initializing { .. }) {
            self.phase = Phase::Open;
            self.starts = Starts::default();
            self.lifecycle = lifecycle;
            self.idle_since = now;
            self.dispatch(now, actions);
        }
    }

    pub(super) fn start_failed(&mut self, now: Instant, failure: StartFailure, actions: &mut Vec<Action<E>>) {
        if let Phase::Stopping(then) = &self.phase {
            let class = match failure {
                StartFailure::Passing(Passing { words, .. }) if *then == Then::Retry => {
                    return self.late(now, words, actions);
                }
                StartFailure::Permanent(permanent) => ExitClass::Permanent(permanent),
                // The CLI was being ended and so did not come up: that is what was wanted, and no failure. What
                // cannot be mended is kept, or a successor would be started for it to be met again.
                _ => ExitClass::Clean,
            };
            return self.exited(now, class, actions);
        }
        // A start was tried, so that the limit is lifted: from now on it is the start that takes the turns' time.
        if !matches!(failure, StartFailure::Limited(_)) {
            self.hold_over(now);
        }
        match failure {
            // The disk is the CLI's to judge: what it takes for there is resumed, and what it takes for
            // absent is begun. Once only, or a CLI that refuses both would be started for ever.
            StartFailure::IdInUse(_) if !self.reopened => self.reopen(Opening::Resume, actions),
            StartFailure::NoConversation(_) if !self.reopened => self.reopen(Opening::Fresh, actions),
            // Whoever starts it leaves the flag out from now on; once is enough, so that this cannot go round.
            StartFailure::UnknownFlag(_) if !self.without_flag => {
                self.without_flag = true;
                self.start(self.opening, actions);
            }
            // The CLI has something under the id, and no conversation in it: nothing is lost with the id.
            StartFailure::NoConversation(_) if !self.renamed => {
                self.renamed = true;
                self.reopened = false;
                actions.push(Action::Rename);
                self.start(None, actions);
            }
            StartFailure::IdInUse(permanent)
            | StartFailure::NoConversation(permanent)
            | StartFailure::UnknownFlag(permanent)
            | StartFailure::Permanent(permanent) => self.fail(permanent, actions),
            StartFailure::Passing(passing) => self.passing(now, &passing, actions),
            StartFailure::Shortage(what) => self.shortage(now, what, actions),
            StartFailure::Limited(left) => {
                drop(self.place_is_there(now));
                self.start_later(now, left, actions);
            }
        }
    }

    fn reopen(&mut self, opening: Opening, actions: &mut Vec<Action<E>>) {
        self.reopened = true;
        self.start(Some(opening), actions);
    }

    /// The CLI that did not come up in time is gone; these were its last words.
    pub(super) fn late(&mut self, now: Instant, words: String, actions: &mut Vec<Action<E>>) {
        let words = if words.is_empty() { std::mem::take(&mut self.starts.heard) } else { words };
        let how = Starts::unanswered(self.starts.hung_for);
        self.passing(now, &Passing { how, words, spawned: true }, actions);
        // The turn that waits has waited for that one.
        if let Phase::Waiting { until } = &mut self.phase
            && self.starts.overdue
        {
            *until = now;
        }
    }

    /// Tries once more after a pause, unless it was tried long enough.
    fn passing(&mut self, now: Instant, failure: &Passing, actions: &mut Vec<Action<E>>) {
        drop(self.place_is_there(now));
        let said = with_words(&failure.how, &failure.words);
        let since = *self.starts.failing_since.get_or_insert(now);
        self.starts.failures += 1;
        self.starts.ended += u32::from(failure.spawned);
        let long_enough = now.saturating_duration_since(since) >= self.config.start_patience;
        if long_enough || self.starts.ended >= self.config.start_attempts {
            let (times, time) = (self.starts.failures, in_words(now.saturating_duration_since(since)));
            let message = format!("no CLI came up in {times} starts within {time}; the last one: {said}");
            return self.fail(Permanent::new(PermanentKind::NeverUp, message), actions);
        }
        self.starts.said = Some(said);
        // It would come up for nobody.
        if self.queue.is_empty() {
            return self.end(End::Parked, actions);
        }
        let pause = Starts::pause(self.config.start_pause, self.starts.failures);
        // Not a moment beyond the patience: what passes just then is found.
        self.phase = Phase::Waiting { until: (now + pause).min(since + self.config.start_patience) };
    }

    /// Waits as for a place until the system has what a CLI needs.
    fn shortage(&mut self, now: Instant, what: String, actions: &mut Vec<Action<E>>) {
        if self.queue.is_empty() {
            return self.end(End::Parked, actions);
        }
        self.await_place(now);
        let ended = self.starts.ended_wait.take();
        let Some(wait) = &mut self.starts.place else { return };
        // A disk is full that the spawn did not need: counted from each CLI anew, the wait would have no end.
        if let Some(ended) = ended {
            wait.goes_on_from(&ended);
        }
        wait.short = Some(what);
        wait.tries += 1;
        self.phase = Phase::Waiting { until: now + Starts::pause(self.config.start_pause, wait.tries) };
    }

    /// The start procedure waits for a place, or has one.
    pub(super) fn awaits_place(&mut self, now: Instant, waits: bool) {
        // A place is there before it is known whether the system still is short: that wait ends with a spawn.
        let short = self.starts.place.as_ref().is_some_and(|wait| wait.short.is_some());
        match waits {
            true if self.phase == Phase::Starting => self.await_place(now),
            false if !short => drop(self.place_is_there(now)),
            _ => {}
        }
    }

    fn await_place(&mut self, now: Instant) {
        if self.starts.place.is_some() {
            return;
        }
        let turns = self.queue.iter().filter_map(|item| match item {
            Item::Turn(turn) => Some((turn.turn, now)),
            Item::Clear => None,
        });
        let asked = turns.collect();
        self.starts.place = Some(Wait { since: now, short: None, tries: 0, asked });
    }

    /// The wait is over: what stood still meanwhile goes on.
    fn place_is_there(&mut self, now: Instant) -> Option<Wait> {
        let wait = self.starts.place.take()?;
        let waited = now.saturating_duration_since(wait.since);
        for item in &mut self.queue {
            if let Item::Turn(turn) = item {
                turn.deadline = turn.deadline.map(|deadline| deadline + waited);
            }
        }
        self.starts.failing_since = self.starts.failing_since.map(|since| since + waited);
        Some(wait)
    }

    /// Has the time of the foremost turn run while a CLI is on its way to it.
    ///
    /// Not that of a turn behind: the turns before it take their time first.
    pub(super) fn run_clock(&mut self, now: Instant) {
        let waits = self.starts.place.is_some() || self.held_since.is_some();
        let stands_still = waits || matches!(self.phase, Phase::Open | Phase::Ended);
        // One that was in the CLI goes back to the front when that has ended.
        if stands_still || self.flight.is_some() {
            return;
        }
        if let Some(Item::Turn(turn)) = self.queue.front_mut() {
            turn.deadline = turn.deadline.or_else(|| turn.timeout.map(|timeout| now + timeout));
        }
    }

    /// When the foremost turn is told that its time is over, or that to wait for a place.
    fn turn_timeout(&self) -> Option<Instant> {
        // Its time stands still while a usage limit holds: it is moved on by as much when that is lifted.
        let is_free = self.flight.is_none() && self.held_since.is_none();
        let Some(Item::Turn(turn)) = self.queue.front().filter(|_| is_free) else {
            return None;
        };
        match &self.starts.place {
            None => turn.deadline,
            Some(wait) => {
                let asked =
                    wait.asked.iter().find(|(id, _)| *id == turn.turn).map_or(wait.since, |(_, at)| *at);
                Some(asked + self.config.place_wait)
            }
        }
    }

    /// When something is due while no CLI is up.
    pub(super) fn start_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Initializing { until, .. } | Phase::Waiting { until } => Some(*until),
            Phase::Starting => self.suspended_until,
            _ => None,
        };
        [phase, self.turn_timeout()].into_iter().flatten().min()
    }

    /// Does what is due while no CLI is up.
    pub(super) fn start_due(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        while self.turn_timeout().is_some_and(|until| until <= now) {
            self.turn_due(now, actions);
            // That of the next one begins now.
            self.run_clock(now);
        }
        match self.phase {
            Phase::Initializing { since, until } if until <= now => self.hangs(until - since, actions),
            Phase::Waiting { until } if until <= now => {
                // Another CLI, another try, as after a crash: what the one before left is looked at anew.
                self.reopened = false;
                self.clear_or_start(actions);
            }
            Phase::Starting => self.limit_due(now, actions),
            _ => {}
        }
    }

    /// Ends a CLI that is coming up and does not.
    fn hangs(&mut self, hung_for: Duration, actions: &mut Vec<Action<E>>) {
        self.starts.hung_for = hung_for;
        self.begin_stop(Then::Retry, Action::Kill, actions);
    }

    /// Has another CLI come up for the next turn, where one took the whole time of the turn before it.
    ///
    /// Once until one is up: where starts are slow, and the turns have little time, none of many that give way would ever come up.
    /// While no turn waits it goes on coming up.
    pub(super) fn give_way(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        let Phase::Initializing { since, .. } = self.phase else { return };
        let waits = matches!(self.queue.front(), Some(Item::Turn(_)));
        if waits && self.starts.overdue && !std::mem::replace(&mut self.starts.gave_way, true) {
            self.hangs(now.saturating_duration_since(since), actions);
        }
    }

    /// Tells the foremost turn that its time is over, and why no CLI was up.
    fn turn_due(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        let Some(Item::Turn(turn)) = self.queue.pop_front() else { return };
        let settlement = match &self.starts.place {
            None => Settlement::NotInTime(self.why_late(now)),
            Some(wait) => {
                let time = in_words(self.config.place_wait);
                let why = match &wait.short {
                    Some(what) => {
                        format!("the system was short of what a CLI needs for {time} (`place_wait`): {what}")
                    }
                    None => format!(
                        "no place among the live CLIs became free in {time} (`place_wait`); raise `max_live`, or ask later"
                    ),
                };
                let permanent = Permanent::new(PermanentKind::NoPlace, why);
                if turn.attempts > 0 {
                    Settlement::LeftOff(permanent)
                } else {
                    Settlement::NotStarted(permanent)
                }
            }
        };
        self.starts.overdue |= matches!(self.phase, Phase::Initializing { .. });
        self.outcome(turn.turn, settlement, false, actions);
        self.left_the_queue(turn.attempts > 0, actions);
        self.give_way(now, actions);
    }

    fn why_late(&self, now: Instant) -> String {
        match (&self.starts.said, &self.phase) {
            (Some(said), _) => said.clone(),
            (None, Phase::Initializing { since, .. }) => {
                let time = now.saturating_duration_since(*since);
                with_words(&Starts::unanswered(time), &self.starts.heard)
            }
            // The one that comes next is for this turn, which has not seen it.
            (None, Phase::Stopping(Then::Retry)) => {
                with_words(&Starts::unanswered(self.starts.hung_for), &self.starts.heard)
            }
            (None, _) => "it was still being started".to_owned(),
        }
    }

    /// A turn that waited was settled: a CLI that comes up for it alone, or would run it again, is not to.
    pub(super) fn left_the_queue(&mut self, was_sent: bool, actions: &mut Vec<Action<E>>) {
        match &self.phase {
            Phase::Stopping(_) | Phase::Ended => {}
            _ if self.is_put_off() => self.go_without_cli(actions),
            Phase::Starting | Phase::Initializing { .. } if self.is_clear_next() => {
                self.go_without_cli(actions)
            }
            // Nobody is to wait for a place that nobody needs.
            Phase::Starting if self.queue.is_empty() && self.starts.place.is_some() => {
                self.begin_stop(Then::Park, Action::Kill, actions);
            }
            // The CLI that is coming up would run it again by itself.
            _ if was_sent => self.begin_stop(Then::Reopen, Action::Kill, actions),
            _ => {}
        }
    }
}
