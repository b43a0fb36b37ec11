//! What the CLI does by itself, between the turns that it was given.
//!
//! ```text
//!            running, init, started (of no turn of ours)
//!   at rest ─────────────────────────────────────────────► at work
//!      ▲                                                     │  │ a turn of ours waits here,
//!      └────── idle; a CLI that reports no state: result ────┘  │ for `own_work_wait` at most
//!      ▲                                                        ▼
//!      └────────────────── its result ─────────────────── a turn of ours
//! ```
//!
//! A background task that ended, a wake-up and a scheduled prompt make it begin a turn that nobody sent. A prompt that is
//! sent into such a turn is not queued behind it but woven into it, so it waits. A CLI at work is not ended for
//! convenience either, nor one whose background tasks run: they would end with it. Each sign of such work counts for
//! `background_wait`, so that a CLI that never says that it is done is not kept for ever.

use std::time::Instant;

use treewarden_proto::TurnId;

use super::config::Config;
use super::event::{Fact, Item, Lifecycle, OpenTurn};
use super::machine::{Machine, Phase};

/// Why the CLI works though nobody asked it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnWork {
    /// A background task ended, and the CLI takes note of it.
    TaskEnded,
    /// A wake-up or a scheduled prompt is due.
    WakeUp,
    /// It does not say.
    Unknown,
}

/// The background tasks that the CLI says it has.
#[derive(Debug)]
struct Tasks {
    count: usize,
    changed: Instant,
    /// Whether their CLI is still kept alive for them: `background_wait` is not over.
    guard: bool,
}

/// Work of the CLI's own that ended with a prompt of ours, and the wait of that for it.
type GaveWay = ((OwnWork, Instant), Option<(TurnId, Instant)>);

/// What the CLI does by itself; see the [module](self).
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Why it works, and when it last gave a sign of that.
    doing: Option<(OwnWork, Instant)>,
    tasks: Option<Tasks>,
    /// A background task ended, and the turn about it may be yet to come.
    noticed: bool,
    /// It is in the middle of a turn that is not ours.
    amid: bool,
    /// The CLI says when it works and when it is idle.
    reports: bool,
    running: bool,
    /// The turn that waits for the end of this work, and since when.
    held: Option<(TurnId, Instant)>,
    /// What the last turn that was to be sent put an end to: the work, and the wait of that turn for it.
    gave_way: Option<GaveWay>,
}

impl Own {
    /// Takes a frame into account; `true` if something ended that kept the CLI busy.
    fn note<E>(&mut self, now: Instant, fact: &Fact<E>, turn_of_ours: bool) -> bool {
        let begin = match fact {
            Fact::Running => {
                (self.reports, self.running) = (true, true);
                Some(OwnWork::Unknown)
            }
            Fact::Idle => {
                (self.reports, self.running, self.noticed) = (true, false, false);
                return self.end();
            }
            Fact::TaskEnded => {
                self.noticed = true;
                // A task that was stopped by hand is told too, and no turn about it follows.
                self.doing.is_some().then_some(OwnWork::TaskEnded)
            }
            // A CLI that reports its state says `running` before each turn, so that its `init` alone is no
            // sign of work.
            Fact::TurnBegan => (self.running || !self.reports).then_some(OwnWork::Unknown),
            Fact::Lifecycle(_, Lifecycle::Started) => Some(OwnWork::WakeUp),
            // Of a CLI that reports no state, a result is the only end that shows.
            Fact::Result(_) if !self.reports && !turn_of_ours => return self.end(),
            Fact::BackgroundTasks(count) => return self.tasks(now, *count),
            _ => None,
        };
        match (&mut self.doing, begin) {
            // What the CLI does while a turn of ours is in it is that turn's: taken for its own work, it
            // would hold back the next turn.
            _ if turn_of_ours => {}
            (Some((why, sign)), begin) => {
                // Any frame is a sign of life, named or not: the wait counts from the last one.
                *sign = now;
                if *why == OwnWork::Unknown {
                    *why = begin.unwrap_or(*why);
                }
            }
            // The word that a task ended comes before the turn about it: now it is known why that begins.
            (None, Some(OwnWork::Unknown)) if self.noticed => self.doing = Some((OwnWork::TaskEnded, now)),
            (None, Some(why)) => self.doing = Some((why, now)),
            (None, None) => {}
        }
        false
    }

    /// Notes that the own work has ended, and with it the wait for it; `true` if there was such work.
    fn end(&mut self) -> bool {
        // The wait is over, and the next work has a wait of its own.
        self.held = None;
        self.doing.take().is_some()
    }

    fn tasks(&mut self, now: Instant, count: usize) -> bool {
        let before = self.tasks.take();
        if count > 0 {
            self.tasks = Some(Tasks { count, changed: now, guard: true });
        }
        count == 0 && before.is_some()
    }

    /// Notes that a turn of ours goes into the CLI: what the CLI does from now on is taken for that turn's.
    pub(super) fn give_way(&mut self) {
        self.gave_way = self.doing.map(|doing| (doing, self.held));
        self.end();
        (self.noticed, self.amid) = (false, false);
    }

    /// Notes that the turn was not sent after all: the CLI is at work by itself as it was.
    pub(super) fn take_back(&mut self) {
        if let Some((doing, held)) = self.gave_way.take() {
            (self.doing, self.held) = (Some(doing), held);
        }
    }

    /// Notes that a turn of ours was refused in the middle of one of the CLI's own, with which the CLI goes
    /// on.
    pub(super) fn goes_on(&mut self) {
        self.amid = true;
    }

    /// A turn of ours is settled: if a task ended meanwhile, the CLI's own turn about it may be the next.
    ///
    /// A CLI with tasks that run still may say that it is at work until they end, which no turn is to wait for.
    pub(super) fn resume(&mut self, now: Instant) {
        let (noticed, amid) = (std::mem::take(&mut self.noticed), std::mem::take(&mut self.amid));
        if noticed && self.running && self.tasks.is_none() {
            self.doing = Some((OwnWork::TaskEnded, now));
        } else if amid && (self.running || !self.reports) {
            self.doing = Some((OwnWork::Unknown, now));
        }
    }

    /// Tells whether this turn is to wait, and notes since when it does.
    ///
    /// One that the CLI may be running again by itself is not held back: it is in the CLI already.
    pub(super) fn holds(&mut self, now: Instant, turn: &OpenTurn, config: &Config) -> bool {
        // The turn that is run again may be what the CLI is at work with: held back, it would wait for
        // itself.
        if self.doing.is_none() || turn.attempts > 0 {
            return false;
        }
        // Since when this turn waits, and not since the last frame: a CLI that is always at work would keep
        // it for ever.
        let since = self.held.filter(|(held, _)| *held == turn.turn).map_or(now, |(_, since)| since);
        self.held = Some((turn.turn, since));
        now < since + config.own_work_wait
    }

    /// Forgets what has given no sign for too long; `true` if there was such a thing.
    fn expire(&mut self, now: Instant, config: &Config) -> bool {
        let over = |sign: Instant| sign + config.background_wait <= now;
        // `guard` is taken from the tasks, and not their number: the CLI still has them, and the status says
        // so.
        let work = self.doing.is_some_and(|(_, sign)| over(sign)) && self.end();
        let tasks = self.tasks.as_mut().filter(|tasks| tasks.guard && over(tasks.changed));
        work | tasks.map(|tasks| tasks.guard = false).is_some()
    }
}

impl<E> Machine<E> {
    /// What the CLI does by itself while no turn is in it.
    pub fn own_work(&self) -> Option<OwnWork> {
        let open = self.phase == Phase::Open && self.flight.is_none();
        self.own.doing.map(|(why, _)| why).filter(|_| open)
    }

    /// How many background tasks the CLI says it has.
    pub fn background_tasks(&self) -> usize {
        self.own.tasks.as_ref().map_or(0, |tasks| tasks.count)
    }

    /// Tells whether the CLI would lose work of its own if it were ended now.
    pub(super) fn works_by_itself(&self) -> bool {
        self.own.doing.is_some() || self.own.tasks.as_ref().is_some_and(|tasks| tasks.guard)
    }

    /// Takes a frame as a sign of the CLI's own work; `true` if such work has ended.
    pub(super) fn note_own_work(&mut self, now: Instant, fact: &Fact<E>) -> bool {
        let ended = self.own.note(now, fact, self.flight.is_some());
        if ended {
            self.idle_since = now;
        }
        ended
    }

    /// Forgets own work that has given no sign for too long; `true` if there was such.
    pub(super) fn expire_own_work(&mut self, now: Instant) -> bool {
        let expired = self.own.expire(now, &self.config);
        if expired {
            self.idle_since = now;
        }
        expired
    }

    /// Until when the next turn waits for the end of the CLI's own work.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let Some(Item::Turn(next)) = self.queue.front() else { return None };
        let held = self.own.held.filter(|(turn, _)| *turn == next.turn && self.own.doing.is_some());
        held.map(|(_, since)| since + self.config.own_work_wait)
    }

    /// When the CLI's own work has been without a sign for too long.
    pub(super) fn own_work_until(&self) -> Option<Instant> {
        let work = self.own.doing.map(|(_, sign)| sign);
        let tasks = self.own.tasks.as_ref().filter(|tasks| tasks.guard).map(|tasks| tasks.changed);
        [work, tasks].into_iter().flatten().min().map(|sign| sign + self.config.background_wait)
    }
}
