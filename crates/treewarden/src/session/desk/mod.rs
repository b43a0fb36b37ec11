//! What all incarnations of a named session share: its queue, its callers, and its status.
//!
//! Handles put work on the desk; the engine of the moment takes it off. When a CLI or an actor dies, the desk stays,
//! with the open turns in order and their callers still waiting. The desk decides nothing: that is the machine's job.

mod identity;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ractor::{ActorRef, ActorStatus};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use treewarden_core::session::{Delivery, DrainReason, End, Item, OpenTurn, StopReason};
use treewarden_process::TreeGone;
use treewarden_proto::frame::Content;
use treewarden_proto::{SessionName, TurnId};
use treewarden_store::SessionRecord;

use super::error::{QueryError, QueryErrorKind};
use super::options::SessionOptions;
use super::outcome::{Failure, FailureKind, Outcome};
use super::sink::Sink;
use super::status::{Condition, SessionState, Status};
use super::turn::Ended;
use crate::host::{self, Happening, Host};
use crate::supervisor::Supervisor;

/// So many turns wait in a session's queue at most, unless the spec says otherwise.
pub(crate) const QUEUE: usize = 64;

/// Something in a session's queue.
#[derive(Debug)]
pub(crate) enum Entry {
    Turn(Box<TurnEntry>),
    Clear(Option<oneshot::Sender<()>>),
}

impl Entry {
    fn turn(&self) -> Option<TurnId> {
        match self {
            Self::Turn(entry) => Some(entry.open.turn),
            Self::Clear(_) => None,
        }
    }
}

/// An open turn, with whoever waits for it.
#[derive(Debug)]
pub(crate) struct TurnEntry {
    pub(crate) open: OpenTurn,
    pub(crate) prompt: Arc<Content>,
    pub(crate) interruptions: u32,
    /// It is in the CLI of the moment.
    pub(crate) in_flight: bool,
    pub(crate) sinks: Vec<Arc<Sink>>,
}

/// What a handle asks of the engine of the moment.
#[derive(Debug)]
pub(crate) enum Command {
    Cancel(TurnId, DrainReason),
    Interrupt,
    Stop(StopReason),
}

/// Where a session stands between its incarnations.
#[derive(Debug)]
enum Standing {
    /// An actor serves it, or one will.
    Served,
    /// Nobody will serve it any more, for this reason.
    Closed(String),
}

#[derive(Debug)]
pub(crate) struct Inner {
    standing: Standing,
    entries: VecDeque<Entry>,
    /// So many entries, from the front, are known to the engine of the moment.
    taken: usize,
    commands: VecDeque<Command>,
    /// Places in the queue that are taken by turns on their way to the journal.
    reserved: usize,
    engine_lives: bool,
    bell_rung: bool,
    doorbell: Option<ActorRef<()>>,
    supervisor: Option<Supervisor>,
    idle_since: Option<Instant>,
    pub(crate) record: Option<Box<SessionRecord>>,
    pub(crate) gone: Option<TreeGone>,
    pub(crate) condition: Condition,
}

/// What all incarnations of a session share; see the [module](self).
pub(crate) struct Desk {
    pub(crate) name: SessionName,
    pub(crate) options: Arc<SessionOptions>,
    pub(crate) host: Host,
    inner: Mutex<Inner>,
    engine: EngineSlot,
    /// Wakes the engine.
    pub(crate) engine_bell: Notify,
    /// Wakes whoever waits for the end of the engine.
    quiet: Notify,
}

/// The task of the engine of the moment.
pub(crate) type EngineSlot = Arc<Mutex<Option<JoinHandle<End>>>>;

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Desk {
    pub(crate) fn new(
        host: Host,
        options: Arc<SessionOptions>,
        name: SessionName,
        record: Option<SessionRecord>,
    ) -> Self {
        Self {
            name,
            options,
            host,
            inner: Mutex::new(Inner {
                standing: Standing::Served,
                entries: VecDeque::new(),
                taken: 0,
                commands: VecDeque::new(),
                reserved: 0,
                engine_lives: false,
                bell_rung: false,
                doorbell: None,
                supervisor: None,
                idle_since: None,
                record: record.map(Box::new),
                gone: None,
                condition: Condition::default(),
            }),
            engine: EngineSlot::default(),
            engine_bell: Notify::new(),
            quiet: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts back a turn that the journal holds open, before anything else is queued.
    fn restore(&self, turn: TurnId, prompt: Content, delivery: Delivery, interruptions: u32) {
        let first = self.lock().entries.is_empty();
        let open = OpenTurn {
            turn,
            // Only the first can have been written to a CLI; whether it was is not known, and resending is safe.
            attempts: u32::from(first).max(interruptions),
            delivery,
            timeout: self.timeout(),
            deadline: None,
        };
        let entry =
            TurnEntry { open, prompt: Arc::new(prompt), interruptions, in_flight: false, sinks: Vec::new() };
        self.lock().entries.push_back(Entry::Turn(Box::new(entry)));
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.options.spec.timeout)
    }

    /// Reserves a place in the queue.
    pub(crate) fn reserve(&self) -> Result<(), QueryError> {
        let mut inner = self.lock();
        if let Standing::Closed(why) = &inner.standing {
            return Err(QueryError::new(QueryErrorKind::NoSuchSession, None, why.clone()));
        }
        if inner.entries.len() + inner.reserved >= QUEUE {
            let message = format!(
                "the queue of session {:?} is full ({QUEUE} turns wait); wait for one to end, or use another session",
                self.name
            );
            return Err(QueryError::new(QueryErrorKind::QueueFull, None, message));
        }
        inner.reserved += 1;
        Ok(())
    }

    /// Gives a reserved place back.
    pub(crate) fn release(&self) {
        self.lock().reserved -= 1;
    }

    /// Fills a reserved place with a turn that the journal holds now.
    pub(crate) fn enqueue(&self, turn: TurnId, prompt: Content, sink: Arc<Sink>) {
        let (timeout, delivery) = (self.timeout(), self.options.delivery);
        let open = OpenTurn { turn, attempts: 0, delivery, timeout, deadline: None };
        let prompt = Arc::new(prompt);
        let entry = TurnEntry { open, prompt, interruptions: 0, in_flight: false, sinks: vec![sink] };
        let mut inner = self.lock();
        inner.reserved -= 1;
        if let Standing::Closed(why) = &inner.standing {
            let end = Ended::Left(why.clone());
            entry.sinks.iter().for_each(|sink| sink.finish(end.clone()));
            return;
        }
        inner.entries.push_back(Entry::Turn(Box::new(entry)));
        self.ring(inner);
        self.host.publish(&self.name, || Happening::TurnOpened { turn });
    }

    /// Queues a request for a new conversation behind what waits.
    pub(crate) fn enqueue_clear(&self) -> Result<oneshot::Receiver<()>, QueryError> {
        self.reserve()?;
        let (done, wait) = oneshot::channel();
        let mut inner = self.lock();
        inner.reserved -= 1;
        inner.entries.push_back(Entry::Clear(Some(done)));
        self.ring(inner);
        Ok(wait)
    }

    /// Lets another consumer wait for an open turn.
    pub(crate) fn attach(&self, turn: TurnId, sink: &Arc<Sink>) -> bool {
        let mut inner = self.lock();
        match inner.turn_mut(turn) {
            Some(entry) => {
                entry.sinks.push(Arc::clone(sink));
                true
            }
            None => false,
        }
    }

    pub(crate) fn cancel(&self, turn: TurnId, reason: DrainReason) {
        let mut inner = self.lock();
        if inner.turn_mut(turn).is_some() {
            inner.commands.push_back(Command::Cancel(turn, reason));
            self.ring(inner);
        }
    }

    /// Gives a command to the engine; `false` if none lives.
    pub(crate) fn command(&self, command: Command) -> bool {
        let mut inner = self.lock();
        if !inner.engine_lives {
            return false;
        }
        inner.commands.push_back(command);
        self.ring(inner);
        true
    }

    /// Wakes whoever serves the session: the engine, or else the actor that starts one.
    fn ring(&self, mut inner: MutexGuard<'_, Inner>) {
        if inner.engine_lives {
            drop(inner);
            self.engine_bell.notify_one();
        } else if !inner.bell_rung
            && let Some(doorbell) = &inner.doorbell
        {
            // At most one ring is under way, so that the actor's mailbox holds one message of ours at most.
            let rung = doorbell.send_message(()).is_ok();
            inner.bell_rung = rung;
        }
    }

    /// Gives the session to a new incarnation of its actor.
    pub(crate) fn serve(&self, doorbell: ActorRef<()>) {
        let mut inner = self.lock();
        inner.standing = Standing::Served;
        inner.doorbell = Some(doorbell);
        inner.bell_rung = false;
        if inner.has_work() {
            self.ring(inner);
        }
    }

    /// Answers a ring: `true` if an engine is to be started now.
    pub(crate) fn answer(&self) -> bool {
        let mut inner = self.lock();
        inner.bell_rung = false;
        let start = !inner.engine_lives && inner.has_work();
        inner.engine_lives |= start;
        start
    }

    /// Ends the engine unless there is more to do; `false` if there is.
    pub(crate) fn engine_may_end(&self) -> bool {
        let mut inner = self.lock();
        inner.engine_lives = inner.has_work();
        let may_end = !inner.engine_lives;
        drop(inner);
        if may_end {
            self.quiet.notify_waiters();
        }
        may_end
    }

    /// Ends the engine whatever there is to do, and wakes the actor.
    pub(crate) fn engine_ended(&self) {
        let mut inner = self.lock();
        inner.engine_lives = false;
        inner.commands.clear();
        inner.taken = 0;
        inner.bell_rung = true;
        if let Some(doorbell) = &inner.doorbell {
            let _closed = doorbell.send_message(());
        }
        drop(inner);
        self.quiet.notify_waiters();
    }

    /// Takes the whole queue for a new machine.
    pub(crate) fn take_all(&self) -> Vec<Item> {
        let mut inner = self.lock();
        inner.taken = 0;
        inner.take_new()
    }

    /// Takes what is new since the last call.
    pub(crate) fn take_new(&self) -> (Vec<Item>, VecDeque<Command>) {
        let mut inner = self.lock();
        let items = inner.take_new();
        (items, std::mem::take(&mut inner.commands))
    }

    /// Removes a turn and delivers its outcome to everybody who waits for it.
    pub(crate) fn settle(&self, turn: TurnId, outcome: &Outcome) {
        let removed = {
            let mut inner = self.lock();
            inner.condition.turns += 1;
            inner.remove(turn)
        };
        if let Some(entry) = removed {
            for sink in &entry.sinks {
                sink.finish(Ended::Settled(outcome.clone()));
            }
        }
    }

    /// Notes that the session's conversation is a new one, as the foremost clear asked.
    pub(crate) fn cleared(&self) {
        let mut inner = self.lock();
        let at = inner.entries.iter().position(|entry| matches!(entry, Entry::Clear(_)));
        if let Some(at) = at
            && let Some(Entry::Clear(Some(done))) = inner.entries.remove(at)
        {
            inner.taken = inner.taken.saturating_sub(1);
            let _gone = done.send(());
        }
    }

    /// Closes the session for good: whoever waits is told, and its turns stay open in the journal.
    pub(crate) fn close(&self, why: &str) -> Vec<TurnId> {
        let mut inner = self.lock();
        inner.standing = Standing::Closed(why.to_owned());
        inner.doorbell = None;
        inner.commands.clear();
        inner.taken = 0;
        let mut left = Vec::new();
        for entry in inner.entries.drain(..) {
            if let Entry::Turn(entry) = entry {
                left.push(entry.open.turn);
                entry.sinks.iter().for_each(|sink| sink.finish(Ended::Left(why.to_owned())));
            }
        }
        left
    }

    /// Takes no more turns; those that wait are still served.
    pub(crate) fn refuse(&self, why: &str) {
        self.lock().standing = Standing::Closed(why.to_owned());
    }

    /// Cancels whatever waits without an engine.
    pub(crate) fn cancel_all(&self) {
        let turns: Vec<TurnId> = self.lock().entries.iter().filter_map(Entry::turn).collect();
        for turn in turns {
            let outcome = self.store_outcome(turn, Outcome::Cancelled);
            self.host.publish(&self.name, || host::settled(turn, &outcome));
            self.settle(turn, &outcome);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.lock().standing, Standing::Closed(_))
    }

    pub(crate) fn engine_lives(&self) -> bool {
        self.lock().engine_lives
    }

    pub(crate) fn engine_slot(&self) -> EngineSlot {
        Arc::clone(&self.engine)
    }

    /// Waits until no engine lives.
    pub(crate) async fn quiet(&self) {
        loop {
            let quiet = self.quiet.notified();
            if !self.engine_lives() {
                return;
            }
            quiet.await;
        }
    }

    /// The actor that serves the session, if one does.
    pub(crate) fn doorbell(&self) -> Option<ActorRef<()>> {
        let served = |actor: &ActorRef<()>| (actor.get_status() as u8) < (ActorStatus::Stopping as u8);
        self.lock().doorbell.clone().filter(served)
    }

    /// Notes that the actor is gone; another may come.
    pub(crate) fn unserve(&self) {
        let mut inner = self.lock();
        inner.doorbell = None;
        inner.engine_lives = false;
        inner.commands.clear();
        inner.taken = 0;
        drop(inner);
        self.quiet.notify_waiters();
    }

    pub(crate) fn supervisor(&self) -> Option<Supervisor> {
        self.lock().supervisor.clone()
    }

    pub(crate) fn set_supervisor(&self, supervisor: Supervisor) {
        self.lock().supervisor = Some(supervisor);
    }

    /// Ends the session for good: nobody will start it again.
    ///
    /// After a crash its turns fail, since the session was given up; otherwise they stay open in the journal.
    pub(crate) fn retire(self: &Arc<Self>) {
        let crashed = self.lock().condition.state == SessionState::Restarting;
        if crashed {
            self.give_up();
        }
        self.close(if crashed {
            "the session crashed too often and was given up"
        } else {
            "the session was stopped"
        });
        self.set_state(SessionState::Stopped, None, None);
        self.host.disclaim(self);
    }

    fn give_up(&self) {
        let turns: Vec<TurnId> = self.lock().entries.iter().filter_map(Entry::turn).collect();
        let last = self.lock().condition.last_exit.clone().unwrap_or_default();
        for turn in turns {
            let message =
                format!("the session crashed too often and its supervisor gave it up; last: {last}");
            let failure = Failure { kind: FailureKind::GivenUp, message, result: None };
            let outcome = self.store_outcome(turn, Outcome::Failed(failure));
            self.host.publish(&self.name, || host::settled(turn, &outcome));
            self.settle(turn, &outcome);
        }
    }

    /// Since when the CLI is idle, for whoever needs its place.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.lock().idle_since
    }

    /// Shows what the session does.
    pub(crate) fn set_state(&self, state: SessionState, pid: Option<u32>, turn: Option<TurnId>) {
        let mut inner = self.lock();
        let changed = inner.condition.state != state || inner.condition.pid != pid;
        inner.idle_since = (state == SessionState::Ready).then(Instant::now);
        inner.condition.state = state;
        inner.condition.pid = pid;
        inner.condition.turn = turn;
        drop(inner);
        if changed {
            tracing::debug!(session = %self.name, ?state, pid, "session");
            self.host.publish(&self.name, || Happening::State { state, pid });
        }
    }

    pub(crate) fn interruptions(&self, turn: TurnId) -> u32 {
        self.lock().turn_mut(turn).map_or(0, |entry| entry.interruptions)
    }

    /// The turn that is under way, or next.
    pub(crate) fn first_open(&self) -> Option<TurnId> {
        self.lock().entries.iter().find_map(Entry::turn)
    }

    /// Whoever consumes the frames of a turn.
    pub(crate) fn sinks_of(&self, turn: TurnId) -> Vec<Arc<Sink>> {
        let mut inner = self.lock();
        let all = inner.turn_mut(turn).map(|entry| entry.sinks.clone()).unwrap_or_default();
        drop(inner);
        all.into_iter().filter(|sink| sink.wants_frames()).collect()
    }

    /// The session's status, at once, whatever it is doing.
    pub(crate) fn status(&self) -> Status {
        let inner = self.lock();
        let record = inner.record.as_deref();
        let queued = inner.entries.len();
        Status::new(self.name.clone(), record, queued, &inner.condition)
    }
}

impl Inner {
    pub(crate) fn has_work(&self) -> bool {
        !self.entries.is_empty() || !self.commands.is_empty()
    }

    fn take_new(&mut self) -> Vec<Item> {
        let from = std::mem::replace(&mut self.taken, self.entries.len());
        let item = |entry: &Entry| match entry {
            Entry::Turn(entry) => Item::Turn(entry.open.clone()),
            Entry::Clear(_) => Item::Clear,
        };
        self.entries.range(from..).map(item).collect()
    }

    pub(crate) fn turn_mut(&mut self, turn: TurnId) -> Option<&mut TurnEntry> {
        self.entries.iter_mut().find_map(|entry| match entry {
            Entry::Turn(entry) if entry.open.turn == turn => Some(&mut **entry),
            _ => None,
        })
    }

    fn remove(&mut self, turn: TurnId) -> Option<Box<TurnEntry>> {
        let is = |entry: &Entry| matches!(entry, Entry::Turn(entry) if entry.open.turn == turn);
        let at = self.entries.iter().position(is)?;
        if at < self.taken {
            self.taken -= 1;
        }
        match self.entries.remove(at) {
            Some(Entry::Turn(entry)) => Some(entry),
            _ => None,
        }
    }
}
