//! What is on its way to the store, in order; and what of it is in hand, since the store does not take it.
//!
//! It is the order and the deadlines. It must never store or deliver anything: what is due is handed out, and the desk's task
//! does it (`desk/commit.rs`).

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use treewarden_core::session::{Attached, CONSUMERS, Outcome};
use treewarden_proto::TurnId;
use treewarden_store::{Change, Committed, SessionRecord, Tenure};

use super::Identity;
use super::job::{Due, Job, NotStored, Settling, Stored};
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
    /// The turn of which it is stored that it may have been sent.
    noted: Option<TurnId>,
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

    /// Why the jobs are not stored, in the store's words.
    pub(crate) fn why(&self) -> String {
        self.failing.as_deref().unwrap_or("the store has not answered yet").to_owned()
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
        let n = match front.holds {
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
    ///
    /// Returns the outcomes that are delivered now, and whether the same commit is to be tried again.
    pub(crate) fn failed(&mut self, why: &str, again: bool, now: Instant) -> (Vec<Due>, bool) {
        self.failing = Some(why.into());
        // Where the name itself could not be taken, it is the first that is not stored.
        let begun = std::mem::take(&mut self.begun).max(1);
        let mut due = Vec::new();
        if !again {
            // Nobody needs to wait for what will not come.
            due.extend(self.jobs.iter_mut().take(begun).filter_map(|job| job.deliver(false)));
        }
        let mut stays = true;
        if let Some(front) = self.jobs.front_mut().filter(|front| !front.holds) {
            let late = front.until.is_some_and(|until| until <= now);
            if !again || late || front.is_given_up() {
                front.tell(Err(NotStored(why.into())));
                self.jobs.pop_front();
                stays = false;
            }
        }
        (due, stays)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use treewarden_core::session::Answer;
    use treewarden_proto::{SessionId, SessionName};

    use super::super::job::{IN_HAND, PATIENCE};
    use super::*;

    fn tenure(seq: u64) -> Tenure {
        Tenure { name: "a".parse().expect("a name"), epoch: 1, seq }
    }

    fn identity() -> Identity {
        let name: SessionName = "a".parse().expect("a name");
        Identity::new(Some(SessionRecord::new(name, SessionId::random())))
    }

    fn committed(seq: u64) -> Committed {
        Committed { next: tenure(seq), already: Vec::new(), unknown: Vec::new() }
    }

    fn answer(turn: TurnId, text: &str) -> Outcome {
        let json =
            format!(r#"{{"outcome":"completed","text":{text:?},"session_id":"{}"}}"#, SessionId::random());
        let record: treewarden_core::session::OutcomeRecord<'_> =
            serde_json::from_str(&json).expect("an outcome");
        record.into_outcome(turn, SessionId::random())
    }

    fn text(outcome: &Outcome) -> Option<&str> {
        outcome.answer().map(|Answer { text, .. }| text.as_str())
    }

    fn outcome(turn: TurnId, now: Instant) -> Job {
        Job::default().with_outcome((turn, answer(turn, "ours")), None, now, 1)
    }

    /// A queue that has its tenure.
    fn commits() -> Commits {
        let mut commits = Commits::default();
        assert!(!commits.take(tenure(0)), "nobody had it before");
        commits
    }

    #[test]
    fn what_has_happened_is_stored_together_and_what_is_wanted_alone_and_in_order() {
        let (mut commits, identity, now) = (commits(), identity(), Instant::now());
        let [first, second, third] = [TurnId::new(), TurnId::new(), TurnId::new()];
        assert!(commits.push(outcome(first, now)), "a task is to be started");
        assert!(!commits.push(outcome(second, now)), "it is there");
        let (done, mut wait) = oneshot::channel();
        commits.push(
            Job::wanted(Box::new(|record| {
                record.stopped = true;
                true
            }))
            .telling(done, None),
        );
        commits.push(outcome(third, now));
        let turns = |change: &Change| change.settle.iter().map(|settle| settle.turn).collect::<Vec<_>>();
        let (with, change) = commits.next(&identity).expect("there is something");
        assert_eq!((with, turns(&change), &change.record), (tenure(0), vec![first, second], &None));
        assert_eq!(commits.stored(committed(1), true).len(), 2);
        let (with, change) = commits.next(&identity).expect("there is something");
        assert!(change.settle.is_empty() && change.record.is_some_and(|record| record.stopped));
        assert_eq!(with, tenure(1));
        assert!(!identity.record().expect("it is there").stopped, "it is not shown before it is stored");
        let stored = commits.stored(committed(2), true);
        assert!(stored[0].edit.is_some() && stored[0].done.is_some());
        assert!(wait.try_recv().is_err(), "whoever stores it says so");
        assert_eq!(turns(&commits.next(&identity).expect("the last").1), [third]);
        commits.stored(committed(3), true);
        assert!(commits.is_done());
    }

    #[test]
    fn an_outcome_is_delivered_in_time_and_stays_in_hand_until_it_is_stored() {
        let (mut commits, identity, now) = (commits(), identity(), Instant::now());
        let turn = TurnId::new();
        commits.push(outcome(turn, now));
        assert_eq!(commits.untold(), [turn]);
        assert_eq!(commits.next_due(), Some(now + IN_HAND));
        assert!(commits.expire(now).is_empty());
        assert!(commits.next(&identity).is_some());
        assert!(commits.failed("locked", true, now).0.is_empty(), "it may go well in time");
        let due = commits.expire(now + IN_HAND);
        assert!(matches!(&due[..], [Due { stored: false, .. }]));
        assert!(commits.untold().is_empty() && commits.expire(now + IN_HAND).is_empty(), "once");
        assert_eq!((commits.in_hand(), commits.outcome(turn).is_some()), (1, true));
        assert!(commits.unstored().expect("it is said").contains("locked"));
        assert_eq!(commits.next(&identity).expect("it is tried on").1.settle.len(), 1);
        let stored = commits.stored(committed(1), true);
        assert!(stored[0].due.is_none(), "it was delivered");
        assert_eq!((commits.in_hand(), commits.unstored()), (0, None));
    }

    #[test]
    fn where_nothing_will_come_an_outcome_is_delivered_at_once_and_what_is_wanted_refused() {
        let (mut commits, identity, now) = (commits(), identity(), Instant::now());
        commits.push(outcome(TurnId::new(), now));
        assert!(commits.next(&identity).is_some());
        assert_eq!(commits.failed("read-only", false, now).0.len(), 1);
        commits.stored(committed(1), true);
        let mut commits = self::commits();
        let (done, mut wait) = oneshot::channel();
        commits.push(Job::wanted(Box::new(|_| true)).telling(done, None));
        assert!(commits.next(&identity).is_some());
        assert!(!commits.failed("read-only", false, now).1, "it is not tried again");
        let refused = wait.try_recv().expect("it is told").expect_err("it is refused");
        assert_eq!((refused.to_string().as_str(), commits.is_empty()), ("read-only", true));
    }

    #[test]
    fn whoever_waits_long_enough_is_told_the_stores_words_and_what_is_not_wanted_any_more_is_let_go() {
        let (mut commits, identity, now) = (commits(), identity(), Instant::now());
        commits.push(outcome(TurnId::new(), now));
        assert!(commits.next(&identity).is_some());
        let (done, mut wait) = oneshot::channel();
        commits.push(Job::wanted(Box::new(|_| true)).telling(done, Some(now + PATIENCE)));
        let (gone, _) = oneshot::channel();
        commits.push(Job::note(Some(TurnId::new()), None).telling(gone, None));
        commits.failed("locked", true, now);
        commits.expire(now + PATIENCE);
        assert_eq!(wait.try_recv().expect("told").expect_err("refused").to_string(), "locked");
        assert_eq!((commits.in_hand(), commits.jobs.len()), (1, 1), "the outcome alone is left");
    }

    #[test]
    fn an_outcome_that_stood_before_counts_unless_it_is_this_very_one() {
        let (mut commits, identity, now) = (commits(), identity(), Instant::now());
        let [first, second] = [TurnId::new(), TurnId::new()];
        commits.push(outcome(first, now));
        commits.push(outcome(second, now));
        let (_, change) = commits.next(&identity).expect("there is something");
        let ours = change.settle[0].outcome.clone();
        let theirs = answer(second, "theirs").to_json().expect("JSON").into_boxed_str();
        let already = vec![(first, ours), (second, theirs)];
        let stored = commits.stored(Committed { already, ..committed(1) }, true);
        let said: Vec<_> = stored
            .iter()
            .map(|stored| (stored.ours, stored.due.as_ref().and_then(|due| text(&due.outcome))))
            .collect();
        assert_eq!(said, [(true, Some("ours")), (false, Some("theirs"))]);
    }

    #[test]
    fn what_has_happened_is_made_on_a_record_that_another_wrote() {
        let (mut commits, identity) = (commits(), identity());
        let id = SessionId::random();
        commits.push(Job::held(Box::new(move |record| {
            record.follow(id);
            true
        })));
        assert!(commits.next(&identity).is_some());
        commits.lose();
        assert!(commits.tenure().is_none() && commits.take(tenure(7)), "the record may be another's");
        let mut theirs = SessionRecord::new("a".parse().expect("a name"), SessionId::random());
        theirs.stopped = true;
        commits.rebase(&mut theirs);
        assert_eq!((theirs.session_id, theirs.stopped), (id, true));
    }

    #[test]
    fn a_commit_without_anything_to_store_is_not_made() {
        let (mut commits, identity) = (commits(), identity());
        let (done, mut wait) = oneshot::channel();
        commits.push(Job::default().telling(done, Some(Instant::now() + Duration::from_secs(1))));
        assert!(commits.next(&identity).is_none());
        assert!(matches!(wait.try_recv(), Ok(Ok(false))));
        assert!(commits.is_done());
    }
}
