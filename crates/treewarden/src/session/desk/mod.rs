//! What all incarnations of a named session share: its queue, its callers, and its status.
//!
//! Handles put work on the desk; the engine of the moment takes it off. When a CLI or an actor dies, the desk stays,
//! with the open turns in order and their callers still waiting. The desk decides nothing: that is the machine's job.

mod condition;
mod guard;
mod identity;
mod left;
mod restarts;
mod saved;
mod service;
mod transcript;

pub(crate) use self::left::Left;
pub(crate) use saved::Look;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ractor::ActorRef;
use tokio::sync::{Notify, oneshot};
use treewarden_core::session::{DrainReason, Item, OpenTurn, StopReason};
use treewarden_process::TreeGone;
use treewarden_proto::frame::Content;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{Lease, LeaseWatch, SessionRecord};

use self::restarts::Restarts;
use super::error::{QueryError, QueryErrorKind};
use super::handle::StartError;
use super::options::SessionOptions;
use super::outcome::{Failure, Outcome};
use super::sink::Sink;
use super::status::Condition;
use super::turn::Ended;
use crate::events::Happening;
use crate::host::Host;
use crate::supervisor::Supervisor;
use crate::warm::Want;

/// So many turns wait in a session's queue at most, unless the spec says otherwise.
pub(crate) const QUEUE: usize = 64;

/// So many consumers one turn has at most.
pub(crate) const CONSUMERS: usize = 64;

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

/// A place in a session's queue, for a turn on its way to the journal.
#[derive(Debug)]
pub(crate) struct Place {
    desk: Arc<Desk>,
    filled: bool,
}

impl Place {
    /// Gives the place up to what is put there under the same lock.
    fn fill(mut self, inner: &mut Inner) {
        inner.reserved -= 1;
        self.filled = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.filled {
            self.desk.lock().reserved -= 1;
        }
    }
}

/// An open turn, with whoever waits for it.
#[derive(Debug)]
pub(crate) struct TurnEntry {
    pub(crate) open: OpenTurn,
    /// The conversation in which it was asked.
    pub(crate) asked_in: SessionId,
    pub(crate) prompt: Arc<Content>,
    pub(crate) interruptions: u32,
    /// It is in the CLI of the moment.
    pub(crate) in_flight: bool,
    /// An earlier host opened it, or one that lives still.
    pub(crate) restored: bool,
    pub(crate) sinks: Vec<Arc<Sink>>,
}

/// What a crash leaves to the next incarnation: the proof that the old tree is gone, which holds for as long as nobody
/// else may have had the conversation, and so together with the lease.
#[derive(Debug)]
pub(crate) struct Legacy {
    pub(crate) id: SessionId,
    pub(crate) gone: TreeGone,
    pub(crate) lease: Lease,
}

/// What a handle asks of the engine of the moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Cancel(TurnId, DrainReason),
    Interrupt,
    Stop(StopReason),
    /// The options are others now; the CLI is to be replaced if they concern it.
    Configure {
        renew: bool,
    },
}

/// Where a session stands between its incarnations.
#[derive(Debug)]
enum Standing {
    /// An actor serves it, or one will.
    Served,
    /// It is down and holds its name until it is started again; its turns fail with this.
    GivenUp(Failure),
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
    /// A child spec owns the name, and says when nobody will serve it any more.
    owned: bool,
    /// The supervisor is there for this session alone.
    private: bool,
    suspended_until: Option<Instant>,
    pub(crate) record: Option<Box<SessionRecord>>,
    /// The store has the record, as it was or is.
    recorded: bool,
    /// The last turns that came to an answer in this conversation, newest first, as far as they are known without a look at
    /// the journal: they were settled here, under the lease that is held still.
    completed: Option<(SessionId, Vec<treewarden_transcript::Settled>)>,
    /// Where the CLI's file of the conversation lies.
    first_name: Option<std::path::PathBuf>,
    /// It was told that this is another file than what was kept of the conversation.
    told_another: bool,
    /// A look at the lease of the CLI of the moment, or of the last one.
    pub(crate) lease: Option<LeaseWatch>,
    /// What a dead CLI leaves to the next one.
    pub(crate) legacy: Option<Legacy>,
    /// The CLIs that are kept for its next conversation.
    pub(crate) want: Option<Box<Want>>,
    pub(crate) condition: Condition,
}

/// What all incarnations of a session share; see the [module](self).
pub(crate) struct Desk {
    pub(crate) name: SessionName,
    /// Where the session is in the tree; its name until a supervisor starts it. Nothing else is locked under this.
    path: RwLock<Arc<str>>,
    options: RwLock<Arc<SessionOptions>>,
    pub(crate) host: Host,
    inner: Mutex<Inner>,
    /// Wakes the engine.
    pub(crate) engine_bell: Notify,
    /// Wakes whoever waits for the end of the engine.
    quiet: Notify,
    pub(super) restarts: Restarts<StartError>,
}

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
            path: RwLock::new(name.as_str().into()),
            name,
            options: RwLock::new(options),
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
                owned: false,
                private: false,
                suspended_until: None,
                recorded: record.is_some(),
                record: record.map(Box::new),
                completed: None,
                first_name: None,
                told_another: false,
                lease: None,
                legacy: None,
                want: None,
                condition: Condition::default(),
            }),
            engine_bell: Notify::new(),
            quiet: Notify::new(),
            restarts: Restarts::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where the supervisor that starts the session has it.
    pub(crate) fn set_path(&self, path: String) {
        *self.path.write().unwrap_or_else(PoisonError::into_inner) = path.into();
    }

    /// Tells whoever reads the host's events what happened to the session.
    pub(crate) fn publish(&self, what: Happening) {
        let path = Arc::clone(&self.path.read().unwrap_or_else(PoisonError::into_inner));
        self.host.inner.events.events().publish(path, Some(self.name.clone()), what);
    }

    /// What the session is started with; others from one moment to the next when the tree is changed.
    pub(crate) fn options(&self) -> Arc<SessionOptions> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives the session other options: its times hold at once, a CLI with the old ones is replaced between two turns if
    /// `renew` says so, and turns that are opened from now on have the new ones.
    pub(crate) fn reconfigure(&self, options: Arc<SessionOptions>, renew: bool) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = options;
        // Without an engine there is no CLI, and the next one has them.
        self.command(Command::Configure { renew });
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.options().spec.timeout)
    }

    /// Reserves a place in the queue; it is given back when it is dropped.
    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Place, QueryError> {
        let mut inner = self.lock();
        match &inner.standing {
            Standing::Served => {}
            Standing::GivenUp(failure) => return Err(QueryError::refused(failure.clone())),
            Standing::Closed(why) => {
                return Err(QueryError::new(QueryErrorKind::NoSuchSession, None, why.clone()));
            }
        }
        if inner.entries.len() + inner.reserved >= QUEUE {
            let message = format!(
                "the queue of session {:?} is full ({QUEUE} turns wait); wait for one to end, or use another session",
                self.name
            );
            return Err(QueryError::new(QueryErrorKind::QueueFull, None, message));
        }
        inner.reserved += 1;
        Ok(Place { desk: Arc::clone(self), filled: false })
    }

    /// Fills a reserved place with a turn that the journal holds now.
    pub(crate) fn enqueue(&self, place: Place, turn: TurnId, prompt: Content, sink: Arc<Sink>) {
        let (timeout, delivery) = (self.timeout(), self.options().delivery);
        let open = OpenTurn { turn, attempts: 0, delivery, timeout, deadline: None };
        let prompt = Arc::new(prompt);
        let entry = TurnEntry {
            open,
            asked_in: self.session_id(),
            prompt,
            interruptions: 0,
            in_flight: false,
            restored: false,
            sinks: vec![sink],
        };
        let mut inner = self.lock();
        place.fill(&mut inner);
        if let Standing::GivenUp(failure) = &inner.standing {
            let outcome = Outcome::Failed(failure.clone());
            inner.entries.push_back(Entry::Turn(Box::new(entry)));
            drop(inner);
            return self.settle(turn, outcome);
        }
        if let Standing::Closed(why) = &inner.standing {
            let end = Ended::Left(why.clone());
            entry.sinks.iter().for_each(|sink| sink.finish(end.clone()));
            return;
        }
        inner.entries.push_back(Entry::Turn(Box::new(entry)));
        self.publish(Happening::TurnOpened { turn });
        self.ring(inner);
    }

    /// Queues a request for a new conversation behind what waits.
    pub(crate) fn enqueue_clear(self: &Arc<Self>) -> Result<oneshot::Receiver<()>, QueryError> {
        let place = self.reserve()?;
        let (done, wait) = oneshot::channel();
        let mut inner = self.lock();
        place.fill(&mut inner);
        inner.entries.push_back(Entry::Clear(Some(done)));
        self.ring(inner);
        Ok(wait)
    }

    /// Lets another consumer wait for an open turn; `false` if it is not open.
    pub(crate) fn attach(&self, turn: TurnId, sink: &Arc<Sink>) -> Result<bool, QueryError> {
        let mut inner = self.lock();
        let Some(entry) = inner.turn_mut(turn) else { return Ok(false) };
        // One who has left holds no place.
        entry.sinks.retain(|sink| Arc::strong_count(sink) > 1);
        if entry.sinks.len() >= CONSUMERS {
            let message = format!(
                "turn {turn} of session {:?} has {CONSUMERS} consumers already; wait for one to leave, or share a consumer",
                self.name
            );
            return Err(QueryError::new(QueryErrorKind::TooManyConsumers, Some(turn), message));
        }
        entry.sinks.push(Arc::clone(sink));
        Ok(true)
    }

    pub(crate) fn cancel(&self, turn: TurnId, reason: DrainReason) {
        let mut inner = self.lock();
        if inner.turn_mut(turn).is_some() {
            inner.command(Command::Cancel(turn, reason));
            self.ring(inner);
        }
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

    /// Stores the outcome of a turn, then delivers the one that counts to everybody who waits for it.
    pub(crate) fn settle(&self, turn: TurnId, outcome: Outcome) {
        let outcome = self.store_outcome(turn, outcome);
        self.publish(Happening::TurnSettled { turn, outcome: outcome.word() });
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

    /// Leaves a turn of the journal to another host, which holds the conversation; `false` if it was opened here.
    pub(crate) fn leave(&self, turn: TurnId, why: &str) -> bool {
        let mut inner = self.lock();
        if inner.turn_mut(turn).is_none_or(|entry| !entry.restored) {
            return false;
        }
        let removed = inner.remove(turn);
        drop(inner);
        for sink in removed.iter().flat_map(|entry| &entry.sinks) {
            sink.finish(Ended::Left(why.to_owned()));
        }
        true
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
    pub(crate) fn close(&self, why: &str) {
        let mut inner = self.lock();
        inner.standing = Standing::Closed(why.to_owned());
        inner.doorbell = None;
        inner.legacy = None;
        inner.want = None;
        inner.commands.clear();
        inner.taken = 0;
        for entry in inner.entries.drain(..) {
            if let Entry::Turn(entry) = entry {
                entry.sinks.iter().for_each(|sink| sink.finish(Ended::Left(why.to_owned())));
            }
        }
    }

    /// Takes no more turns; those that wait are still served.
    pub(crate) fn refuse(&self, why: &str) {
        self.lock().standing = Standing::Closed(why.to_owned());
    }

    /// Settles whatever waits, without an engine.
    pub(crate) fn settle_all(&self, outcome: &Outcome) {
        let turns: Vec<TurnId> = self.lock().entries.iter().filter_map(Entry::turn).collect();
        for turn in turns {
            self.settle(turn, outcome.clone());
        }
    }

    /// An actor serves the session, or is about to.
    pub(crate) fn is_served(&self) -> bool {
        matches!(self.lock().standing, Standing::Served)
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.lock().standing, Standing::Closed(_))
    }
}

impl Inner {
    /// Notes a command, unless it is noted already: so there are no more of them than turns, and six.
    fn command(&mut self, command: Command) {
        if !self.commands.contains(&command) {
            self.commands.push_back(command);
        }
    }

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
