//! What the sessions of one program share: the store, the names, the limit of live CLIs, and the feed of events.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::{Semaphore, broadcast};
use treewarden_process::ContainmentPolicy;
use treewarden_proto::frame::Frame;
use treewarden_proto::spec::SessionSpec;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{Durability, Store, StoreOptions};

use crate::binaries::Binaries;
use crate::guards::Guards;
pub use crate::guards::Missing;
use crate::places::Places;
use crate::session::{Desk, Outcome, Session, SessionState, Status};
pub use crate::warm::WarmStatus;
use crate::warm::{self, Warm};

/// So many events wait for a slow subscriber; the oldest are dropped, and the subscriber is told how many.
const FEED: usize = 1024;

/// So many transcripts are looked at at once.
const LOOKS: usize = 64;

/// Something that happened to a session.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SessionEvent {
    /// The session.
    pub name: SessionName,
    /// When, in milliseconds of the Unix epoch.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What can happen to a session.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Happening {
    /// It does something else now.
    State {
        /// What it does.
        state: SessionState,
        /// Its CLI.
        pid: Option<u32>,
    },
    /// A turn joined its queue.
    TurnOpened {
        /// The turn.
        turn: TurnId,
    },
    /// A turn came to its outcome.
    TurnSettled {
        /// The turn.
        turn: TurnId,
        /// The outcome in one word.
        outcome: &'static str,
    },
    /// Its CLI died under a turn, which stays open.
    TurnInterrupted {
        /// The turn.
        turn: TurnId,
        /// How often that has happened to it.
        interruptions: u32,
    },
    /// Its CLI ended.
    Exited {
        /// How.
        class: String,
    },
    /// Its conversation has another id now.
    Conversation {
        /// The id.
        session_id: SessionId,
    },
    /// Its CLI printed a frame that belongs to no turn of ours.
    Unsolicited {
        /// The frame's type.
        kind: String,
        /// The frame as it came.
        frame: Frame,
    },
    /// Its CLI printed a line that is no frame.
    Garbage {
        /// Its length.
        bytes: u64,
    },
    /// Its last answer, or the beginning of its conversation, is not on disk, so that its CLI, which has the only copy, is kept.
    Unsaved {
        /// Which turn, and where it was looked for.
        why: String,
    },
    /// What was not on disk is there now.
    Saved,
    /// A part of its conversation was never written to disk: the CLI that resumes it knows all but that.
    Incomplete {
        /// In so many places.
        gaps: usize,
    },
    /// What it needs was removed or emptied under it: the file of its lease, or its transcript.
    Removed {
        /// What, and what follows.
        what: String,
        /// It is as it was; otherwise the session's turns are refused.
        mended: bool,
    },
    /// Another process sent its CLI a message, which the CLI keeps back.
    PeerMessageHeld {
        /// What the CLI says of it, as it came.
        frame: Frame,
    },
    /// Processes of it live on although its CLI was ended, as they may not be ended: it does not start while they live.
    NotGone {
        /// Which, and why.
        why: String,
    },
    /// Processes that may be its own were left alone when its CLI was ended, as nothing says so.
    MayBeLeft {
        /// Which.
        what: String,
    },
    /// Its CLI could not write its transcript: a resume may miss what follows.
    WritesLost,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) containment: ContainmentPolicy,
    names: RwLock<HashMap<SessionName, Arc<Desk>>>,
    feed: broadcast::Sender<SessionEvent>,
    pub(crate) places: Places,
    pub(crate) warm: Warm,
    pub(crate) binaries: Binaries,
    pub(crate) guards: Guards,
    /// Looks at transcripts, one place each.
    pub(crate) looks: Arc<Semaphore>,
}

/// What the sessions of one program share; a cheap clone.
///
/// Most programs need none of their own: [`Host::shared`] keeps its state where
/// [`treewarden_store::default_state_dir`] says.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("state_dir", &self.inner.store.dir()).finish_non_exhaustive()
    }
}

/// The options of a [`Host`].
#[derive(Debug, Clone)]
#[must_use = "options do nothing until they open a host"]
pub struct HostOptions {
    state_dir: Option<PathBuf>,
    durability: Durability,
    max_live: Option<usize>,
    containment: ContainmentPolicy,
    warm_age: Duration,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            state_dir: None,
            durability: Durability::Process,
            max_live: None,
            containment: ContainmentPolicy::Best,
            warm_age: warm::AGE,
        }
    }
}

impl HostOptions {
    /// Keeps records, journal and leases in `dir` instead of the user's state directory.
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(dir.into());
        self
    }

    /// What a stored turn survives: the death of the host (default), or of the machine.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Lets at most so many CLIs live at once; without a limit by default.
    ///
    /// An idle session is parked to make room, the one that was used longest ago first; a turn that finds every CLI
    /// busy waits, first come first served. A [pinned](crate::session::SessionOptions::pinned) session is never parked:
    /// while pinned sessions have every place, the turns of others fail with
    /// [`NoPlace`](crate::session::FailureKind::NoPlace).
    pub fn max_live(mut self, max_live: usize) -> Self {
        self.max_live = Some(max_live.max(1));
        self
    }

    /// Chooses how the processes of a session are held together; the best way that the system offers by default.
    pub fn containment(mut self, policy: ContainmentPolicy) -> Self {
        self.containment = policy;
        self
    }

    /// How long a CLI that was started ahead waits for a session before it is replaced; 10 minutes.
    ///
    /// What it read when it started, such as settings and MCP servers, may have changed since. Which sessions have CLIs
    /// started ahead is said by [`SessionOptions::warm`](crate::SessionOptions::warm).
    pub fn warm_age(mut self, age: Duration) -> Self {
        self.warm_age = age;
        self
    }

    /// Opens the host.
    ///
    /// # Errors
    ///
    /// [`HostError`] if the state directory cannot be made or its database cannot be opened.
    pub fn open(self) -> Result<Host, HostError> {
        let dir = self.state_dir.or_else(treewarden_store::default_state_dir).ok_or_else(|| HostError {
            message:
                "find a state directory: neither XDG_STATE_HOME nor HOME is set; choose one with `state_dir`"
                    .into(),
        })?;
        let options = StoreOptions::default().durability(self.durability);
        let store = Store::open(&dir, options).map_err(|error| HostError {
            message: format!("open the state directory {}: {error}", dir.display()),
        })?;
        report(&store);
        Ok(Host {
            inner: Arc::new(Inner {
                store,
                containment: self.containment,
                names: RwLock::new(HashMap::new()),
                feed: broadcast::Sender::new(FEED),
                places: Places::new(self.max_live),
                warm: Warm::new(self.warm_age),
                binaries: Binaries::default(),
                guards: Guards::default(),
                looks: Arc::new(Semaphore::new(LOOKS)),
            }),
        })
    }
}

/// Says what the store set aside: a session whose record is lost would begin anew under its old name.
fn report(store: &Store) {
    match store.problems() {
        Ok(problems) => {
            for problem in problems {
                tracing::error!(kind = ?problem.kind, key = %problem.key, reason = %problem.reason, "set aside in the store");
            }
        }
        Err(error) => tracing::error!(%error, "failed to ask the store for what it set aside"),
    }
}

/// A host that could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("failed to {message}")]
pub struct HostError {
    message: String,
}

impl Host {
    /// The options of a host, with their defaults.
    pub fn options() -> HostOptions {
        HostOptions::default()
    }

    /// The host that the program's sessions use unless they are given another.
    ///
    /// # Errors
    ///
    /// [`HostError`] if it is used for the first time and cannot be opened.
    pub fn shared() -> Result<Self, HostError> {
        static SHARED: OnceLock<Host> = OnceLock::new();
        if let Some(host) = SHARED.get() {
            return Ok(host.clone());
        }
        let host = HostOptions::default().open()?;
        Ok(SHARED.get_or_init(|| host).clone())
    }

    /// The folder that holds records, journal and leases.
    pub fn state_dir(&self) -> &Path {
        self.inner.store.dir()
    }

    /// What outlives the host.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The session that holds `name`, if one does.
    pub fn session(&self, name: &str) -> Option<Session> {
        self.find(name).map(Session::of_desk)
    }

    /// The status of every session, by name.
    pub fn sessions(&self) -> Vec<Status> {
        let mut all: Vec<Status> = self.desks().iter().map(|desk| desk.status()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// How many CLIs are kept for the next conversations, of all sessions together.
    pub fn warm(&self) -> WarmStatus {
        self.inner.warm.status()
    }

    /// Looks whether what keeps others away is still there: leases, the tree's lock, the state directory. Returns what was
    /// found of the host as a whole since the last look; what concerns a session is an event of its own.
    ///
    /// Each turn is preceded by such a look. Whoever wants to know, and to mend, without a turn calls it from time to time,
    /// as the `treewarden` command does. It asks the file system some questions for each live session.
    pub fn look_again(&self) -> Vec<Missing> {
        for desk in self.desks() {
            let _shown_in_its_status = desk.look_at_lease();
            desk.look_at_transcript();
        }
        let _kept = self.inner.guards.look(&self.inner.store);
        self.inner.guards.take_news()
    }

    /// Why the turns of all sessions are refused: the state directory, or its lock, was removed and cannot be had again.
    pub fn removed(&self) -> Option<String> {
        self.inner.guards.lost()
    }

    /// Which of these sessions have a conversation that would be lost if their CLIs were ended now, by name; see
    /// [`Session::unsaved`].
    ///
    /// To be asked before many are stopped or restarted. Names that nobody holds are left out.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn unsaved(&self, names: impl IntoIterator<Item = SessionName>) -> Vec<Unsaved> {
        let looks = futures_util::stream::iter(names.into_iter().filter_map(|name| self.find(name.as_str())));
        let looks = looks.map(|desk| async move {
            let why = desk.unsaved().await?;
            Some(Unsaved { name: desk.name.clone(), why })
        });
        let mut all: Vec<Unsaved> =
            looks.buffer_unordered(LOOKS).filter_map(std::future::ready).collect().await;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Subscribes to what happens to all sessions from now on.
    ///
    /// The feed keeps 1,024 events for a slow subscriber, then drops the oldest and says how many it dropped.
    pub fn subscribe(&self) -> broadcast::Receiver<SessionEvent> {
        self.inner.feed.subscribe()
    }

    /// The outcome of a turn, as far as it has one: also of a turn that an earlier host settled.
    ///
    /// # Errors
    ///
    /// [`treewarden_store::StoreError`] if the journal cannot be read.
    pub fn turn(&self, turn: TurnId) -> Result<Option<TurnReport>, treewarden_store::StoreError> {
        Ok(self.inner.store.turn(turn)?.map(TurnReport::new))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Desk>> {
        let name = SessionName::new(name).ok()?;
        self.names().get(&name).cloned()
    }

    fn names(&self) -> std::sync::RwLockReadGuard<'_, HashMap<SessionName, Arc<Desk>>> {
        self.inner.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn desks(&self) -> Vec<Arc<Desk>> {
        self.names().values().cloned().collect()
    }

    /// Registers a desk under its name, or returns the one that holds the name.
    pub(crate) fn claim(&self, desk: Arc<Desk>) -> Result<Arc<Desk>, Arc<Desk>> {
        let mut names = self.inner.names.write().unwrap_or_else(PoisonError::into_inner);
        match names.get(&desk.name) {
            Some(holder) if !holder.is_closed() => Err(Arc::clone(holder)),
            _ => {
                names.insert(desk.name.clone(), Arc::clone(&desk));
                Ok(desk)
            }
        }
    }

    /// Frees the name of this desk, unless another took it over.
    pub(crate) fn disclaim(&self, desk: &Arc<Desk>) {
        let mut names = self.inner.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.get(&desk.name).is_some_and(|holder| Arc::ptr_eq(holder, desk)) {
            names.remove(&desk.name);
        }
    }

    pub(crate) fn publish(&self, name: &SessionName, what: impl FnOnce() -> Happening) {
        if self.inner.feed.receiver_count() > 0 {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            let _nobody = self.inner.feed.send(SessionEvent { name: name.clone(), at, what: what() });
        }
    }
}

/// A session whose conversation is on no disk, so that its CLI has the only copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Unsaved {
    /// The session.
    pub name: SessionName,
    /// Which turn is missing, and where it was looked for.
    pub why: String,
}

/// A turn as the journal holds it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TurnReport {
    /// The turn.
    pub turn: TurnId,
    /// Its session.
    pub name: SessionName,
    /// How many CLIs died while they worked at it.
    pub interruptions: u32,
    /// Its outcome; `None` while it is open.
    pub outcome: Option<serde_json::Value>,
}

impl TurnReport {
    /// The report of an outcome that was delivered, as the journal would hold it: a host that stores no turns has no other.
    pub fn of_outcome(turn: TurnId, name: SessionName, outcome: &Outcome) -> Self {
        let interruptions = outcome.answer().map_or(0, |answer| answer.interruptions);
        Self { turn, name, interruptions, outcome: outcome.to_value() }
    }

    fn new(row: treewarden_store::TurnRow) -> Self {
        Self { turn: row.turn, name: row.name, interruptions: row.interruptions, outcome: row.outcome }
    }
}

/// The spec's name, or a new one for a session without.
pub(crate) fn name_of(spec: &SessionSpec) -> SessionName {
    spec.name.clone().unwrap_or_else(|| {
        SessionName::new(&format!("session-{}", SessionId::random())).expect("a UUID is a valid segment")
    })
}

/// What the outcome means to the feed.
pub(crate) fn settled(turn: TurnId, outcome: &Outcome) -> Happening {
    Happening::TurnSettled { turn, outcome: outcome.word() }
}
