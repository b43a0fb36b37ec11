//! What the journal is told of a turn: that it is open, sent, interrupted, and how it came out.
//!
//! The journal comes first: what is stored here is stored before anybody is told, or is told as not stored. It is not for the order of
//! turns, which is the queue's, nor for what a turn comes to, which is the machine's.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use treewarden_core::session::{Delivery, Outcome, Prompt};
use treewarden_proto::TurnId;
use treewarden_store::{Backend, NewTurn, OpenError, StoreErrorKind, now};

use super::Desk;
use super::commit::told;
use super::record::Change;
use super::rooms::{Edit, Job, NotStored, PATIENCE};
use crate::session::sink::Sink;

/// The pause before a turn is opened again, of which it is not known whether it is.
const AGAIN: Duration = Duration::from_millis(50);

/// How long it is tried to find out whether a turn was opened: longer than a caller waits, who is told by then that it was not.
const LOST: Duration = Duration::from_secs(60);

/// What is to be done with a turn that is to be sent.
pub(crate) enum Sending {
    /// Nobody has it any more.
    Gone,
    /// Everything is stored that has to be: it may be written.
    Now,
    /// Something has to be stored before.
    After(Pin<Box<dyn Future<Output = Result<(), NotStored>> + Send>>),
}

impl Desk {
    /// Makes a new turn durable, within ten seconds.
    pub(crate) async fn open_turn(self: &Arc<Self>, turn: TurnId, prompt: &Prompt) -> Result<(), NotStored> {
        let store = Arc::clone(self.host.store());
        if !store.keeps_turns() {
            return Ok(());
        }
        let new = NewTurn {
            turn,
            name: self.name.clone(),
            session_id: self.session_id(),
            prompt: serde_json::to_string(prompt)
                .map_err(|error| NotStored(error.to_string().into()))?
                .into(),
            at_most_once: self.options().delivery == Delivery::AtMostOnce,
            opened_at: now(),
        };
        // The next host looks for open turns under the names that have a record; a first turn may wait long for a CLI.
        self.see_that_it_is_recorded().await?;
        // A caller who gives up leaves a row behind that nobody waits for, and that the next host would run.
        let call = Some(Box::pin(open(store, new)) as Call);
        Opening { desk: Arc::clone(self), turn, call }.opened().await
    }

    /// Takes the outcome of a turn, with a change that belongs to it; it is stored, and then delivered to everybody who waits.
    pub(crate) fn settle(&self, turn: TurnId, outcome: Outcome, with: Option<Change>) {
        let mut rooms = self.lock();
        // Out of the queue at once: the engine that comes next must not run it again.
        let entry = rooms.queue.remove(turn);
        let job = with.map_or_else(Job::default, Change::into_job);
        let job = job.with_outcome((turn, outcome), entry, Instant::now(), now());
        let starts = rooms.commits.push(job);
        drop(rooms);
        self.see_to(starts);
    }

    /// Counts a crash against the turns that it interrupted, and says which.
    pub(crate) fn interrupted(&self) -> Vec<(TurnId, u32)> {
        let hit = self.lock().queue.interrupted();
        let tell = |(turn, interruptions, sinks): (TurnId, u32, Vec<Arc<Sink>>)| {
            sinks.iter().for_each(|sink| sink.resumed(interruptions));
            (turn, interruptions)
        };
        let hit: Vec<_> = hit.into_iter().map(tell).collect();
        if !hit.is_empty() {
            self.push(Job::interrupted(hit.iter().map(|(turn, _)| *turn).collect()));
        }
        hit
    }

    /// Notes that the CLI carries the turn on by itself: if it dies now, it dies under that turn.
    pub(crate) fn carried_on(&self, turn: TurnId) {
        self.lock().queue.in_flight(turn);
    }

    /// What has to be stored before a turn is sent: that it may have been, if it may run once at most; that its conversation may
    /// exist, if it is the first; and whatever came before it.
    pub(crate) fn sending(&self, turn: TurnId) -> Sending {
        let mut rooms = self.lock();
        let Some(entry) = rooms.queue.turn(turn) else { return Sending::Gone };
        // What is sent once more does no harm, unless it may run once at most: only such a turn has to say that it was
        // sent. Sent without that, it would run again in the next host, which finds it queued.
        let at_most_once = entry.open.delivery == Delivery::AtMostOnce && !rooms.commits.is_noted(turn);
        // One that a CLI had before waits for nothing that came later.
        let waits = entry.open.attempts == 0 && !rooms.commits.is_empty();
        let first = rooms.identity.record().is_none_or(|record| !record.persisted);
        if !at_most_once && !first && !waits {
            return Sending::Now;
        }
        // Both in one commit: the record of a conversation whose first turn is not sent must not ask for a transcript.
        let persisted: Edit = Box::new(|record| !std::mem::replace(&mut record.persisted, true));
        let (done, wait) = oneshot::channel();
        // Behind what is in hand it waits as long as the turn may, and whoever waits is gone when that has passed. Where
        // nothing else is the matter, its caller is told within seconds.
        let until = (rooms.commits.in_hand() == 0).then(|| Instant::now() + PATIENCE);
        let job = Job::note(at_most_once.then_some(turn), first.then_some(persisted)).telling(done, until);
        let starts = rooms.commits.push(job);
        drop(rooms);
        self.see_to(starts);
        Sending::After(Box::pin(async move { told(wait).await.map(drop) }))
    }

    /// Notes that a turn is being written to a CLI, and returns its prompt, unless nobody has the turn any more.
    pub(crate) fn sent(&self, turn: TurnId, deadline: Option<Instant>) -> Option<Arc<Prompt>> {
        let mut rooms = self.lock();
        let entry = rooms.queue.in_flight(turn)?;
        entry.open.deadline = deadline;
        Some(Arc::clone(&entry.prompt))
    }
}

/// Opens a turn; where the answer is lost it is asked again, which says whether the turn is there.
async fn open(store: Arc<dyn Backend>, new: NewTurn) -> Result<(), OpenError> {
    let mut lost = false;
    let until = Instant::now() + LOST;
    loop {
        match store.open(new.clone()).await {
            // The id is new, so that a turn of it can only be this one.
            Err(OpenError::Exists) if lost => return Ok(()),
            Err(OpenError::Failed(error))
                if error.kind() == StoreErrorKind::Unknown && Instant::now() < until =>
            {
                lost = true;
            }
            opened => return opened,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// A turn on its way to the journal: if its caller gives up meanwhile, it must not run at the next start.
struct Opening {
    desk: Arc<Desk>,
    turn: TurnId,
    /// Until it is known what became of it.
    call: Option<Call>,
}

type Call = Pin<Box<dyn Future<Output = Result<(), OpenError>> + Send>>;

impl Opening {
    async fn opened(mut self) -> Result<(), NotStored> {
        let Some(call) = &mut self.call else { return Ok(()) };
        let Ok(opened) = tokio::time::timeout(PATIENCE, call).await else {
            let why = format!("the store has not answered within {} s", PATIENCE.as_secs());
            return Err(NotStored(why.into()));
        };
        self.call = None;
        opened.map_err(|error| NotStored(error.to_string().into()))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        let (desk, turn) = (Arc::clone(&self.desk), self.turn);
        // It is waited for on: only a row that is there can be settled.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if call.await.is_ok() {
                    let given_up = (turn, Outcome::Cancelled);
                    let job = Job::default().with_outcome(given_up, None, Instant::now(), now());
                    desk.push(job.undelivered());
                }
            });
        }
    }
}
