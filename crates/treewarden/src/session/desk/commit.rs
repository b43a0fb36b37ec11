//! The task that stores what a desk has for the store, one commit after the other, and delivers outcomes.
//!
//! It lives while there is something to store. It holds the session's tenure, takes it again when another took it meanwhile, and
//! tries what has happened until it is stored, with pauses. Nobody waits in it: neither an engine nor an actor, and callers wait
//! for what they need at a channel with a deadline. What is to be stored in which order is the room's, `rooms/commits.rs`; the
//! desk's lock is never held over a call to the store.
//!
//! | what the store says | what follows |
//! |---|---|
//! | stored | whoever waits is told; outcomes are delivered |
//! | failed, may go well later | again, after a pause; after two seconds an outcome is delivered as not stored |
//! | failed | what nobody insists on is refused with the store's words; an outcome is delivered as not stored at once; again, after a pause |
//! | failed, of one outcome alone | that is told, and whoever waits behind it is refused; once somebody [lets go](Desk::let_go) of it, a note is tried in its place, and then nothing |
//! | unknown | the same commit again, until it is known |
//! | lease lost | the name is taken again, the record read anew, the changes made on that; after some tries as a failure |

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use treewarden_core::session::Outcome;
use treewarden_proto::TurnId;
use treewarden_store::{Change, CommitError, Committed, StoreError, Taken, Tenure, Told};

use super::Desk;
use super::rooms::{Due, Job, NotStored, NotTaken, Refused, Rooms, Shown, Stored};
use crate::events::Happening;
use crate::session::delivered::Delivered;
use crate::session::sink::Ended;

/// The pause after the first failure, and the longest one: each is twice as long as the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How long a store may take over one call before what became of that counts as unknown. A backend has a deadline of its own,
/// and should have said so by then.
const CALL: Duration = Duration::from_secs(30);

/// How often in a row the name is taken again before that counts as a failure: two hosts that take it from each other would go
/// round without a pause.
const TAKES: u32 = 5;

/// How a try ended that stored nothing, as far as is known.
enum Failed {
    /// Nothing is stored; it may go well later.
    Later(String),
    /// Nothing is stored.
    Now(String),
    /// The answer was lost.
    Unknown(String),
    /// Another has the name.
    Lost,
}

impl From<CommitError> for Failed {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Failed { error, retryable: true } => Self::Later(error.to_string()),
            CommitError::Failed { error, retryable: false } => Self::Now(error.to_string()),
            CommitError::Unknown(error) => Self::Unknown(error.to_string()),
            CommitError::LeaseLost { .. } => Self::Lost,
        }
    }
}

/// Says that nobody stores any more, should the task be dropped with its runtime.
struct Working(Option<Arc<Desk>>);

impl Drop for Working {
    fn drop(&mut self) {
        if let Some(desk) = &self.0 {
            desk.lock().commits.abandon();
        }
    }
}

/// Stores what the desk has, until there is nothing left.
async fn work(desk: Arc<Desk>) {
    let mut working = Working(Some(Arc::clone(&desk)));
    let (mut pause, mut takes) = (PAUSES.0, 0);
    let mut same: Option<(Tenure, Change)> = None;
    loop {
        if desk.is_all_stored() {
            // It is said already, and another task may be there by now.
            working.0 = None;
            return;
        }
        let failed = match desk.step(&mut same).await {
            Ok(()) => {
                (pause, takes) = (PAUSES.0, 0);
                continue;
            }
            Err(Failed::Lost) if takes < TAKES => {
                takes += 1;
                desk.lease_lost();
                same = None;
                continue;
            }
            Err(failed) => failed,
        };
        takes = 0;
        desk.failed(failed, &mut same);
        desk.meanwhile(desk.pause(pause)).await;
        pause = if desk.lock().commits.lets_go() { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
    }
}

impl Desk {
    /// Has this stored, behind what waits.
    pub(super) fn push(&self, job: Job) {
        let starts = self.lock().commits.push(job);
        self.see_to(starts);
    }

    /// Sees to it that what was put into the room is stored; the desk's lock is free.
    pub(super) fn see_to(&self, starts: bool) {
        if !starts {
            // The task may sleep for longer than the new job may wait.
            return self.store_bell.notify_one();
        }
        match (tokio::runtime::Handle::try_current(), self.me.upgrade()) {
            (Ok(runtime), Some(desk)) => drop(runtime.spawn(work(desk))),
            // Outside of a runtime nothing can be waited for: whoever waits gets what there is, and the next who comes
            // has it stored.
            _ => {
                let due = self.lock().commits.give_out("the program's runtime has ended");
                self.deliver(due);
            }
        }
    }

    /// Has this stored, and waits for it.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be stored all the same.
    pub(super) async fn stored(&self, job: Job, within: Duration) -> Result<bool, NotStored> {
        self.stored_by(job, Some(Instant::now() + within)).await
    }

    /// The same until a time; without one as long as that takes.
    pub(super) async fn stored_by(&self, job: Job, until: Option<Instant>) -> Result<bool, NotStored> {
        let (done, wait) = oneshot::channel();
        self.push(job.telling(done, until));
        told(wait).await
    }

    /// Waits until all is stored that is on its way, for so long at most; says why it is not.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub(crate) async fn all_stored(&self, within: Duration) -> Result<(), NotStored> {
        if self.lock().commits.is_empty() {
            return Ok(());
        }
        self.stored(Job::default(), within).await.map(drop)
    }

    /// An outcome that this host has and the store has not, with how often its turn was interrupted.
    pub(crate) fn outcome_in_hand(&self, turn: TurnId) -> Option<(Outcome, u32)> {
        self.lock().commits.outcome(turn)
    }

    /// Why what waits for the store is not stored, in its words.
    pub(crate) fn why_unstored(&self) -> String {
        self.lock().commits.why()
    }

    /// Lets go of what the store refuses for good, so that what is behind it is stored: of an outcome a note is stored, if the store
    /// takes that, and else the turn stays open, for the next host.
    pub(crate) fn let_go(&self) {
        if self.lock().commits.let_go() {
            tracing::warn!(session = %self.name, "what the store refuses of a session is let go");
            self.store_again.notify_one();
        }
    }

    /// The pause before the next try, which ends where that should not wait.
    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.store_again.notified() => {}
        }
    }

    fn is_all_stored(&self) -> bool {
        let mut rooms = self.lock();
        let is_done = rooms.commits.is_done();
        // A session that was retired keeps its name until then: whoever opens it next would run turns again whose outcome
        // is here.
        let retired = is_done && rooms.service.is_retired();
        drop(rooms);
        if retired {
            self.host.disclaim(self);
        }
        is_done
    }

    /// Takes the name if that is to be done, or makes one commit.
    async fn step(&self, same: &mut Option<(Tenure, Change)>) -> Result<(), Failed> {
        if self.lock().commits.tenure().is_none() {
            let Taken { tenure, told } = self.taken().await?;
            let mut rooms = self.lock();
            let Rooms { commits, identity, .. } = &mut *rooms;
            if commits.take(tenure)
                && let Told::Record(mut record) = told
            {
                commits.rebase(&mut record);
                identity.show(*record);
            }
        }
        if same.is_none() {
            let mut rooms = self.lock();
            let Rooms { commits, identity, .. } = &mut *rooms;
            *same = commits.next(identity);
        }
        let Some((tenure, change)) = same.clone() else { return Ok(()) };
        let call = self.host.store().commit(tenure, change);
        let committed = self.meanwhile(tokio::time::timeout(CALL, call)).await;
        let committed = committed.unwrap_or_else(|_| Err(no_answer().into()))?;
        *same = None;
        self.committed(committed);
        Ok(())
    }

    async fn taken(&self) -> Result<Taken, Failed> {
        let call = self.host.store().take(self.name.clone());
        let taken = self.meanwhile(tokio::time::timeout(CALL, call)).await;
        // To take it once more does no harm, so that what became of a take need not be known.
        let taken = taken.unwrap_or_else(|_| Err(no_answer()));
        taken.map_err(|error| match Failed::from(CommitError::from(error)) {
            Failed::Unknown(why) => Failed::Later(why),
            failed => failed,
        })
    }

    /// Another has written the name: what is there now counts, with what has happened here since.
    fn lease_lost(&self) {
        tracing::warn!(session = %self.name, "another wrote the record of the session; it is read anew");
        let mut rooms = self.lock();
        rooms.commits.lose();
        rooms.identity.forget_completed();
    }

    /// Does something that takes time, and delivers meanwhile what is due.
    async fn meanwhile<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let due = self.lock().commits.next_due();
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.store_bell.notified() => {}
                () = until(due) => {
                    let due = self.lock().commits.expire(Instant::now());
                    self.deliver(due);
                }
            }
        }
    }

    fn committed(&self, committed: Committed) {
        let keeps_turns = self.host.store().keeps_turns();
        let mut rooms = self.lock();
        let stored = rooms.commits.stored(committed, keeps_turns);
        let (mut due, mut release, mut done) = (Vec::new(), Vec::new(), Vec::new());
        let mut turns = 0;
        for Stored { due: outcome, ours, settled, edit, recorded, release: left, done: waits } in stored {
            if recorded {
                rooms.identity.note_recorded();
            }
            if let (Some(mut edit), Some(mut record)) = (edit, rooms.identity.record().cloned()) {
                let _shown_only_now = edit(&mut record);
                rooms.identity.show(record);
            }
            turns += usize::from(settled.is_some());
            match settled {
                Some((turn, outcome)) if ours => self.note_completed(&mut rooms, turn, &outcome),
                // Whoever settled it first had the conversation, and may have gone on with it: the journal has to be
                // asked for its last turn.
                Some(_) if !ours => rooms.identity.forget_completed(),
                _ => {}
            }
            due.extend(outcome);
            release.extend(left);
            done.extend(waits);
        }
        drop(rooms);
        self.host.note_settled(turns);
        // Only when the record names the other one: until then a start would carry on what is left here, and a CLI's
        // clean-up may take it once its second name is gone.
        for (config_dir, left) in release {
            self.release_transcript(config_dir, left);
        }
        self.deliver(due);
        for done in done {
            // Whoever asked may have gone.
            let _gone = done.send(Ok(true));
        }
    }

    fn failed(&self, failed: Failed, same: &mut Option<(Tenure, Change)>) {
        let (why, again, unknown) = match failed {
            Failed::Later(why) => (why, true, false),
            Failed::Now(why) => (why, false, false),
            Failed::Unknown(why) => (why, true, true),
            Failed::Lost => ("another host writes the session at the same time".to_owned(), true, false),
        };
        tracing::error!(session = %self.name, error = why, "failed to store what happened to a session");
        let mut rooms = self.lock();
        let begun = rooms.commits.begun();
        let NotTaken { due, stays, refused } = rooms.commits.failed(&why, again, Instant::now());
        let in_words = rooms.commits.why();
        if unknown && stays && same.is_some() {
            rooms.commits.begin_again(begun);
        } else {
            *same = None;
            if unknown {
                // What was given up may be stored still: under another tenure it can not be any more.
                rooms.commits.lose();
            }
        }
        drop(rooms);
        self.deliver(due);
        if let Some(refused) = refused {
            self.tell(refused, if refused.let_go { why } else { in_words });
        }
    }

    /// Says that the store refuses something for good, or that it is let go.
    fn tell(&self, Refused { turn, let_go }: Refused, why: String) {
        let (kind, key, what) = match turn {
            Some(turn) => {
                ("outcome", turn.to_string(), "the outcome of the turn is in the host's memory alone")
            }
            None => (
                "record",
                self.name.to_string(),
                "what happened to the session is in the host's memory alone",
            ),
        };
        let why = match (let_go, turn) {
            (false, _) => format!("{what}: {why}"),
            (true, Some(_)) => {
                format!("its outcome is let go, and the next start asks the turn again: {why}")
            }
            (true, None) => {
                format!("what happened to the session is let go, and the next start does not know it: {why}")
            }
        };
        tracing::error!(session = %self.name, kind, key, "{why}");
        self.publish(Happening::StoreProblem { kind, key, why });
    }

    /// Delivers outcomes to everybody who waits for them, and says so to the engine.
    fn deliver(&self, all: Vec<Due>) {
        let keeps_turns = self.host.store().keeps_turns();
        for Due { turn, outcome, entry, interruptions, stored: taken } in all {
            // With `durability = "nothing"` there is nothing to be taken, and what was not stored is not said to be.
            let stored = taken && keeps_turns;
            if !taken {
                tracing::error!(session = %self.name, %turn, "the outcome of a turn is not stored, and is delivered so");
            }
            let denied = outcome.denied();
            if !denied.is_empty() {
                self.publish(Happening::tools_denied(turn, denied));
            }
            self.publish(Happening::TurnSettled { turn, outcome: outcome.word(), stored });
            let mut rooms = self.lock();
            if !taken {
                // It counts as long as the host lives: a CLI whose transcript has it not must not be ended for convenience.
                self.note_completed(&mut rooms, turn, &outcome);
            }
            rooms.shown.note(Shown::Settled);
            rooms.service.used(Instant::now());
            let wakes = rooms.service.engine_lives();
            if wakes {
                rooms.settled.push(turn);
            }
            // Delivered when the lock is free: a consumer that wakes may ask the desk at once.
            drop(rooms);
            let delivered = Delivered::new(outcome, stored, interruptions);
            for sink in entry.iter().flat_map(|entry| &entry.sinks) {
                sink.finish(Ended::Settled(delivered.clone()));
            }
            if wakes {
                self.engine_bell.notify_one();
            }
        }
    }
}

/// What whoever waits is told; a task that ended with its runtime tells nothing.
pub(super) async fn told(wait: oneshot::Receiver<Result<bool, NotStored>>) -> Result<bool, NotStored> {
    wait.await.unwrap_or_else(|_| Err(NotStored("nobody stores it any more".into())))
}

fn no_answer() -> StoreError {
    let kind = treewarden_store::StoreErrorKind::Unknown;
    StoreError::new(kind, format!("the store has not answered within {} s", CALL.as_secs()))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
