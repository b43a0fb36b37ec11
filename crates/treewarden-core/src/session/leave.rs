//! Before a CLI is ended for convenience: is its last answer on disk?
//!
//! A CLI that cannot write its transcript holds the only copy of the conversation. To park it, or to replace it for other
//! options or for its memory, would lose that. So the disk is looked at first, and the CLI stays while its last settled turn is not there.
//!
//! ```text
//!            idle, place wanted, other options, too large
//!   alive ──────────────────────────────────────► looking ──── saved ────► Stopping
//!     ▲ ▲                                          │  │ ▲
//!     │ └────────── a turn comes (parking) ────────┘  │ │ not there: once more after `settle_grace`,
//!     │                                               │ │ `transcript_reads` times in all
//!     └── unsaved: it stays, and the disk is looked ◄─┴─┘
//!         at again after the next turn and each `look_again`
//! ```
//!
//! After each turn it is looked at as well, `settle_grace` later and while nothing else is in the CLI, so that a conversation
//! that is on no disk is known of before somebody wants to end its CLI.

use std::time::{Duration, Instant};

use super::event::Action;
use super::machine::{Machine, Phase, Then};

/// How long one look at the disk may take. A turn may have to wait for the look, and goes on after this time.
const LOOK_TIME: Duration = Duration::from_secs(10);

/// Whether the conversation could be carried on from the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// The last settled turn is there, or there is none.
    Yes,
    /// It is not; which turn, and where it was looked for.
    No(String),
}

/// What follows if the last turn is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    See,
    Park,
    Renew,
}

/// Why another CLI is to take the place of that of the moment.
#[derive(Debug, Default)]
pub(super) struct Renew {
    /// It has options that no longer hold.
    pub(super) options: bool,
    /// It takes too much memory.
    too_large: bool,
    /// It was sent a turn.
    pub(super) has_worked: bool,
}

impl Renew {
    /// It is to be ended for its memory. Only after a turn: a CLI that is too large from its start on would be replaced for
    /// ever, and no turn would run.
    fn is_for_memory(&self) -> bool {
        self.too_large && self.has_worked
    }

    fn is_due(&self) -> bool {
        self.options || self.is_for_memory()
    }
}

#[derive(Debug)]
struct Look {
    purpose: Purpose,
    /// How often the turn was not there.
    misses: u32,
    /// The disk is being looked at, until this time at most; otherwise it will be at this time.
    asked: bool,
    at: Instant,
    /// A turn was settled since it was asked, which the answer may not know of.
    stale: bool,
}

/// What is known about ending the CLI for convenience; see the [module](self).
#[derive(Debug, Default)]
pub(super) struct Leave {
    look: Option<Look>,
    /// Which turn is not on disk, and where it was looked for.
    unsaved: Option<String>,
    /// When the disk is looked at again for it.
    again: Option<Instant>,
}

impl Leave {
    /// The CLI is being ended anyway.
    pub(super) fn call_off(&mut self) {
        self.look = None;
    }

    /// A turn begins: the CLI stays.
    pub(super) fn stay(&mut self) {
        if let Some(look) = &mut self.look {
            // The look goes on, so that it is known what is unsaved; only what was to follow is off. A CLI
            // that is ended now would take the turn with it.
            look.purpose = Purpose::See;
        }
    }

    /// Plans a look for a turn that was just settled, once the CLI had `grace` to write it; at once if an
    /// earlier turn was missing. Of turns that follow each other faster than `grace`, only the newest is
    /// looked for.
    pub(super) fn look_soon(&mut self, now: Instant, grace: Duration) {
        let later = now + grace;
        // What was missing may be on disk by now, and the CLI is kept only for that.
        let soon = if self.unsaved.is_some() { now } else { later };
        // A time that has passed is that of an earlier turn, whose look has not been made: it gives way to
        // this turn's, which sees both.
        self.again = Some(self.again.filter(|at| *at > now).map_or(soon, |at| at.min(soon)));
        if let Some(look) = &mut self.look {
            // How often another turn was not there says nothing of this one.
            look.misses = 0;
            // A disk that was read before this turn was written would say "saved", and the CLI with the only
            // copy would be ended.
            look.stale = look.asked;
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.look.is_none() && self.again.is_some_and(|at| at <= now)
    }

    /// When there is something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.look.as_ref().map(|look| look.at).or(self.again)
    }
}

impl<E> Machine<E> {
    /// What of the conversation is not on disk, as far as it was looked for: the CLI is kept for it.
    pub fn unsaved(&self) -> Option<&str> {
        self.leave.unsaved.as_deref()
    }

    /// Has the disk looked at, unless that is under way.
    pub(super) fn look(&mut self, now: Instant, purpose: Purpose, actions: &mut Vec<Action<E>>) {
        if let Some(look) = &mut self.leave.look {
            // The greater wish stays: a place that is wanted is not forgotten for a look that only wants to
            // know.
            look.purpose = look.purpose.max(purpose);
            return;
        }
        self.leave.look = Some(Look { purpose, misses: 0, asked: true, at: now + LOOK_TIME, stale: false });
        actions.push(Action::LookOnDisk);
    }

    /// Looks for a turn that was missing, if it is time to; another turn may be in the CLI meanwhile.
    pub(super) fn look_again(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        if self.leave.is_due(now) {
            self.look(now, Purpose::See, actions);
        }
    }

    /// Has the CLI replaced, if its last turn is on disk; `false` if the next turn is not to wait for that.
    pub(super) fn replace_soon(&mut self, now: Instant, actions: &mut Vec<Action<E>>) -> bool {
        if !self.renew.is_due() || !self.may_renew() || self.works_by_itself() {
            return false;
        }
        // A CLI known to be unsaved stays, and its turns go on: to look before each of them would make each
        // wait for the disk.
        let may_look = self.leave.unsaved.is_none() || self.leave.look.is_some();
        if may_look {
            self.look(now, Purpose::Renew, actions);
        }
        may_look
    }

    /// Has another CLI take the place of one that takes too much memory, as soon as that can be.
    pub(super) fn too_large(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        // One that is being ended needs nothing, and the next one begins anew.
        self.renew.too_large |= !matches!(self.phase, Phase::Stopping(_));
        self.go_on(now, actions);
    }

    /// Takes what a look at the disk has found.
    pub(super) fn looked(&mut self, now: Instant, saved: Saved, actions: &mut Vec<Action<E>>) {
        // An answer that nobody waits for any more: the look was called off, or took too long.
        let Some(look) = self.leave.look.as_mut().filter(|look| look.asked) else { return };
        if std::mem::take(&mut look.stale) {
            look.at = now + LOOK_TIME;
            return actions.push(Action::LookOnDisk);
        }
        if let Saved::No(why) = saved {
            look.misses += 1;
            if look.misses < self.config.transcript_reads {
                // The CLI prints a result before it has written it.
                (look.asked, look.at) = (false, now + self.config.settle_grace);
                return;
            }
            return self.missing(now, why, actions);
        }
        let purpose = look.purpose;
        self.leave = Leave::default();
        // Asked anew, since the disk took its time: the CLI may have begun something of its own meanwhile.
        let is_between = self.phase == Phase::Open && self.flight.is_none() && self.settling.is_empty();
        let free = is_between && !self.works_by_itself();
        match purpose {
            Purpose::Park if free && self.queue.is_empty() => {
                self.begin_stop(Then::Park, Action::Stop, actions);
            }
            Purpose::Renew if free && self.renew.is_due() && self.may_renew() => {
                if self.renew.is_for_memory() {
                    actions.push(Action::Recycle);
                }
                self.begin_stop(Then::Reopen, Action::Stop, actions);
            }
            // A turn that waited for the look is begun here: no other event would begin it.
            _ => self.go_on(now, actions),
        }
    }

    fn missing(&mut self, now: Instant, why: String, actions: &mut Vec<Action<E>>) {
        // Nothing tells when a full disk has room again, so that it is looked at from time to time.
        let again = Some(now + self.config.look_again);
        self.leave = Leave { look: None, unsaved: Some(why), again };
        self.dispatch(now, actions);
    }

    /// Does what waited for the look. A look is nothing that the CLI does, so that its idle time is not begun
    /// anew.
    fn go_on(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        let idle_since = self.idle_since;
        self.dispatch(now, actions);
        self.idle_since = idle_since;
    }

    /// Does what is due about the look at the disk.
    pub(super) fn look_due(&mut self, now: Instant, actions: &mut Vec<Action<E>>) {
        let due = self.leave.is_due(now);
        match &mut self.leave.look {
            Some(look) if look.at > now => {}
            // A disk that does not answer counts as one without the turn: the turn that waits goes on in the
            // CLI that has the conversation in memory.
            Some(look) if look.asked => {
                let why = format!("the transcript could not be read within {} s", LOOK_TIME.as_secs());
                self.missing(now, why, actions);
            }
            Some(look) => {
                (look.asked, look.at) = (true, now + LOOK_TIME);
                actions.push(Action::LookOnDisk);
            }
            None if due => self.go_on(now, actions),
            None => {}
        }
    }
}
