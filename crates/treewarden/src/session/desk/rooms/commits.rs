//! What is on its way to the store, in order; and what of it is in hand, since the store does not take it.
//!
//! It is the order and the deadlines. It must never store or deliver anything: what is due is handed out, and the desk's task
//! does it (`desk/commit.rs`).

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use treewarden_core::session::{Attached, CONSUMERS, Outcome};
use treewarden_proto::TurnId;
use treewarden_store::{Change, Committed, SessionRecord, Tenure};

use super::Identity;
use super::job::{Due, Job, NotStored, Refused, Settling, Stored};
use crate::session::sink::Sink;

/// How many jobs are stored by one commit.
const MOST: usize = 64;

/// What is on its way to the store; see the [module](self).
#[derive(Default)]
pub(crate) struct Commits {
    jobs: VecDeque<Job>,
    /// How many of them, from the front, are in the commit that is under way.
    begun: usize,
    /// A task sees to them.
    working: bool,
    tenure: Option<Tenure>,
    /// It was held, and another may have written the record since.
    is_lost: bool,
    /// Why the last try failed, until one goes well.
    failing: Option<Box<str>>,
    /// So many, from the front, are stored one by one: among them is one that the store refused, and the others with it.
    singly: usize,
    /// The turn of which it is stored that it may have been sent.
    noted: Option<TurnId>,
}

/// What follows from a commit that is not stored.
pub(crate) struct NotTaken {
    /// The outcomes that are delivered now.
    pub(crate) due: Vec<Due>,
    /// The same commit is to be tried again.
    pub(crate) stays: bool,
    /// What the store refuses for good.
    pub(crate) refused: Option<Refused>,
}

impl fmt::Debug for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commits")
            .field("jobs", &self.jobs.len())
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

impl Commits {
    /// Puts a job behind the others; `true` if a task has to be started for it.
    pub(crate) fn push(&mut self, job: Job) -> bool {
        self.jobs.push_back(job);
        !std::mem::replace(&mut self.working, true)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// A change of the record is among them.
    pub(crate) fn has_edits(&self) -> bool {
        self.jobs.iter().any(|job| job.edit.is_some())
    }

    /// Lets the task go if there is nothing left; `false` if there is.
    pub(crate) fn is_done(&mut self) -> bool {
        self.working = !self.jobs.is_empty();
        !self.working
    }

    /// The task is gone, whatever there is to do.
    pub(crate) fn abandon(&mut self) {
        (self.working, self.begun) = (false, 0);
    }

    pub(crate) fn tenure(&self) -> Option<Tenure> {
        self.tenure.clone()
    }

    /// The name was taken; `true` if it had been lost, so that the record may be another's.
    pub(crate) fn take(&mut self, tenure: Tenure) -> bool {
        self.tenure = Some(tenure);
        std::mem::take(&mut self.is_lost)
    }

    /// Another has the name, or may have it.
    pub(crate) fn lose(&mut self) {
        (self.tenure, self.is_lost, self.begun) = (None, true, 0);
    }

    /// How many outcomes are in memory alone, and were delivered as such: each has a place of the session's queue.
    pub(crate) fn in_hand(&self) -> usize {
        let unstored = |job: &&Job| job.settle.as_ref().is_some_and(|settle| settle.delivered);
        self.jobs.iter().filter(unstored).count()
    }

    /// What the store does not take, and why, in words.
    pub(crate) fn unstored(&self) -> Option<String> {
        let why = self.why();
        match self.in_hand() {
            0 => self.failing.is_some().then_some(why),
            n => Some(format!("{n} outcomes of turns are in the host's memory alone: {why}")),
        }
    }

    /// Why the jobs are not stored, in the store's words, and what is to be done where waiting does not help.
    pub(crate) fn why(&self) -> String {
        let why = self.failing.as_deref().unwrap_or("the store has not answered yet");
        if self.jobs.front().is_some_and(|front| front.refused && !front.let_go) {
            return format!(
                "the store refuses it for good, and nothing of the session is stored behind it: {why}; mend that, or `restart` the \
                 session, which lets go of what cannot be stored"
            );
        }
        why.to_owned()
    }

    /// Has what the store refuses be let go; `false` if it refuses nothing.
    pub(crate) fn let_go(&mut self) -> bool {
        if !self.jobs.front().is_some_and(|front| front.refused) {
            return false;
        }
        // Also what is behind it: of that nobody knows yet whether the store takes it.
        self.jobs.iter_mut().filter(|job| job.holds).for_each(|job| job.let_go = true);
        true
    }

    /// What is at the front may be let go, so that nobody waits with the next try.
    pub(crate) fn lets_go(&self) -> bool {
        self.jobs.front().is_some_and(|front| front.let_go)
    }

    /// The turns whose outcome nobody was told yet.
    pub(crate) fn untold(&self) -> Vec<TurnId> {
        let untold =
            |job: &Job| job.settle.as_ref().filter(|settle| !settle.delivered).map(|settle| settle.turn);
        self.jobs.iter().filter_map(untold).collect()
    }

    /// An outcome that the store does not have yet, with how often its turn was interrupted.
    pub(crate) fn outcome(&self, turn: TurnId) -> Option<(Outcome, u32)> {
        let settle =
            self.jobs.iter().filter_map(|job| job.settle.as_ref()).find(|settle| settle.turn == turn)?;
        settle.delivered.then(|| (settle.outcome.clone(), settle.interruptions))
    }

    /// Lets another consumer wait for a turn whose outcome is on its way; `NotOpen` if it is none such.
    pub(crate) fn attach(&mut self, turn: TurnId, sink: &Arc<Sink>) -> Attached {
        let mut all = self.jobs.iter_mut().filter_map(|job| job.settle.as_mut());
        let entry = all.find(|settle| settle.turn == turn).and_then(|settle| settle.entry.as_mut());
        let Some(entry) = entry else { return Attached::NotOpen };
        if entry.sinks.len() >= CONSUMERS {
            return Attached::TooMany;
        }
        entry.sinks.push(Arc::clone(sink));
        Attached::Yes
    }

    /// The turn's note is stored.
    pub(crate) fn is_noted(&self, turn: TurnId) -> bool {
        self.noted == Some(turn)
    }

    /// When the next outcome is to be delivered, or the next who waits is to be told that it is not stored.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let due = |job: &Job| {
            let outcome = job.settle.as_ref().filter(|settle| !settle.delivered).map(|settle| settle.due);
            [outcome, job.until.filter(|_| job.done.is_some())].into_iter().flatten().min()
        };
        self.jobs.iter().filter_map(due).min()
    }

    /// Tells those who have waited long enough, and hands out the outcomes that are delivered though they are not stored.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Due> {
        let why = self.why();
        let begun = self.begun;
        let mut due = Vec::new();
        for job in &mut self.jobs {
            if job.settle.as_ref().is_some_and(|settle| settle.due <= now) {
                due.extend(job.deliver(false));
            }
            if job.until.is_some_and(|until| until <= now) {
                job.tell(Err(NotStored(why.as_str().into())));
            }
        }
        let mut at = 0;
        // What is in the commit under way may be stored still: it is let go when that is known.
        self.jobs.retain(|job| {
            at += 1;
            at <= begun || !job.is_given_up()
        });
        due
    }

    /// The next change; `None` if what was at the front had nothing to store, or nothing is left.
    pub(crate) fn next(&mut self, identity: &Identity) -> Option<(Tenure, Change)> {
        let tenure = self.tenure.clone()?;
        let front = self.jobs.front()?;
        // What holds is stored together as far as it waits; what may be refused is stored alone, so that it takes
        // nothing with it.
        let n = match front.holds && self.singly == 0 {
            true => self.jobs.iter().take(MOST).take_while(|job| job.holds).count(),
            false => 1,
        };
        let (mut change, mut record) = (Change::default(), None);
        for job in self.jobs.iter_mut().take(n) {
            change.settle.extend(job.settle.as_ref().map(Settling::settle));
            change.sent.extend(job.sent);
            change.interrupted.extend(&job.interrupted);
            let Some(edit) = &mut job.edit else { continue };
            let mut shown = identity.record().cloned();
            // What holds is in it already.
            if let Some(shown) = &mut shown
                && (job.holds || edit(shown))
            {
                record = Some(shown.clone());
            }
        }
        change.record = record;
        if change == Change::default() {
            self.singly = self.singly.saturating_sub(n);
            for mut job in self.jobs.drain(..n) {
                job.tell(Ok(false));
            }
            return None;
        }
        self.begun = n;
        Some((tenure, change))
    }

    /// The commit under way is stored.
    pub(crate) fn stored(&mut self, committed: Committed, keeps_turns: bool) -> Vec<Stored> {
        let Committed { next, already, unknown } = committed;
        (self.tenure, self.failing) = (Some(next), None);
        let begun = std::mem::take(&mut self.begun).min(self.jobs.len());
        self.singly = self.singly.saturating_sub(begun);
        let jobs: Vec<Job> = self.jobs.drain(..begun).collect();
        jobs.into_iter()
            .map(|mut job| {
                self.noted = job.sent.or(self.noted);
                let ours = job.settle.as_mut().is_none_or(|settle| settle.is_ours(&already));
                let is_lost =
                    keeps_turns && job.settle.as_ref().is_some_and(|settle| unknown.contains(&settle.turn));
                let settled =
                    job.settle.as_ref().filter(|_| !is_lost).map(|it| (it.turn, it.outcome.clone()));
                Stored {
                    // A turn that the store does not know of has its outcome from here alone.
                    due: job.deliver(!is_lost),
                    ours,
                    settled,
                    recorded: job.edit.is_some(),
                    edit: job.edit.take().filter(|_| !job.holds),
                    release: job.release.take(),
                    done: job.done.take(),
                }
            })
            .collect()
    }

    /// The commit under way is not stored, or is not known to be. `again` says that it may go well later.
    pub(crate) fn failed(&mut self, why: &str, again: bool, now: Instant) -> NotTaken {
        self.failing = Some(why.into());
        // Where the name itself could not be taken, it is the first that is not stored.
        let begun = std::mem::take(&mut self.begun).max(1);
        let (mut due, mut refused) = (Vec::new(), None);
        let is_wanted = self.jobs.front().is_some_and(|front| !front.holds);
        if !again {
            // Nobody needs to wait for what will not come.
            due.extend(self.jobs.iter_mut().take(begun).filter_map(|job| job.deliver(false)));
            match begun {
                1 => refused = self.refused(why),
                many => self.singly = many,
            }
        }
        let mut stays = true;
        if let Some(front) = self.jobs.front_mut().filter(|_| is_wanted) {
            let late = front.until.is_some_and(|until| until <= now);
            if !again || late || front.is_given_up() {
                front.tell(Err(NotStored(why.into())));
                self.jobs.pop_front();
                stays = false;
            }
        }
        NotTaken { due, stays, refused }
    }

    /// The store has said of the front alone that it does not take it: whoever waits behind it is told so, unless it may be let
    /// go. Returns what is news of it.
    fn refused(&mut self, why: &str) -> Option<Refused> {
        let front = self.jobs.front_mut().filter(|front| front.holds)?;
        let turn = front.settle.as_ref().map(|settle| settle.turn);
        let is_news = !std::mem::replace(&mut front.refused, true);
        // Alone as long as it is there: those behind it would be refused with it.
        self.singly = self.singly.max(1);
        if front.let_go {
            if let Some(settle) = front.settle.as_mut().filter(|settle| !settle.is_note) {
                settle.note_instead(why);
                return None;
            }
            front.tell(Err(NotStored(why.into())));
            self.jobs.pop_front();
            self.singly = self.singly.saturating_sub(1);
            return Some(Refused { turn, let_go: true });
        }
        let why = self.why();
        for job in self.jobs.iter_mut().filter(|job| !job.holds) {
            job.tell(Err(NotStored(why.as_str().into())));
        }
        self.jobs.retain(|job| !job.is_given_up());
        is_news.then_some(Refused { turn, let_go: false })
    }

    /// The commit is tried again as it was.
    pub(crate) fn begin_again(&mut self, begun: usize) {
        self.begun = begun;
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun
    }

    /// Makes the changes that hold on a record that another wrote.
    pub(crate) fn rebase(&mut self, record: &mut SessionRecord) {
        for job in self.jobs.iter_mut().filter(|job| job.holds) {
            if let Some(edit) = &mut job.edit {
                let _was_there_already = edit(record);
            }
        }
    }

    /// Hands out all that nobody was told yet: there is nothing that could store it.
    pub(crate) fn give_out(&mut self, why: &str) -> Vec<Due> {
        self.failing = Some(why.into());
        self.abandon();
        let due = self.jobs.iter_mut().filter_map(|job| job.deliver(false)).collect();
        for job in &mut self.jobs {
            job.tell(Err(NotStored(why.into())));
        }
        self.jobs.retain(|job| job.holds);
        due
    }
}
