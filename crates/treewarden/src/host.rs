//! What the sessions of one program share: the store, the names, the limit of live CLIs, and the events.
//!
//! It is below the sessions, and never looks at one: who holds a name is a [`Holder`] here, and whatever a host tells of its
//! sessions is `session/directory.rs`'s.
//!
//! It is kept by its handles: the last that goes ends the readers of its events, and what removes old turns.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use treewarden_otp::registry::Registry;
pub use treewarden_process::ContainmentPolicy;
use treewarden_proto::{SessionName, TurnId};
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{Backend, Durability, Keep, Problem, StateDir, StoreError, StoredTurn};

use crate::binaries::Binaries;
use crate::clock::{Clock, SystemClock};
use crate::events::{Events, Happening, Publisher, Site};
use crate::guards::Guards;
pub use crate::guards::Missing;
use crate::limits::Limits;
pub use crate::names::Holder;
use crate::places::Places;
use crate::problems::Telling;
use crate::prune::Pruning;
use crate::scales::Scales;
pub use crate::warm::WarmStatus;
use crate::warm::{self, Warm};

/// How many transcripts are looked at at the same time.
pub(crate) const LOOKS: usize = 64;

pub(crate) struct Inner {
    pub(crate) state: StateDir,
    pub(crate) store: Arc<dyn Backend>,
    pub(crate) containment: ContainmentPolicy,
    pub(crate) names: Registry<SessionName, Holder>,
    pub(crate) events: Publisher,
    pub(crate) places: Places,
    pub(crate) warm: Arc<Warm>,
    pub(crate) binaries: Binaries,
    /// The usage limits of the accounts.
    pub(crate) limits: Limits,
    pub(crate) guards: Guards,
    pub(crate) scales: Scales,
    /// Looks at transcripts, one place each.
    pub(crate) looks: Arc<Semaphore>,
    /// Whoever ends the loss of a name that no session has: one after the other, so that of two the second sees what the first did.
    pub(crate) endings: Semaphore,
    /// Removes what is old as long as the host is there.
    pruning: OnceLock<Pruning>,
    /// Tells what the store finds as long as the host is there.
    telling: OnceLock<Telling>,
    /// What of it was told of last.
    pub(crate) problems: Mutex<Vec<Problem>>,
}

/// What the sessions of one program share; a cheap clone.
///
/// Most programs need none of their own: [`Host::shared`] keeps its state where
/// [`treewarden_store::default_state_dir`] says.
///
/// # Examples
///
/// ```no_run
/// use treewarden::{Durability, Host, Session, SessionOptions, SessionSpec};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let host = Host::options()
///     .state_dir("/var/lib/chat")
///     .durability(Durability::Power)
///     .max_live(64)
///     .open()?;
/// let options = SessionOptions::from(SessionSpec::new().name("assistant".parse()?));
/// let session = Session::start(options.host(&host)).await?;
/// println!("{}", session.query("Hello!").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("state_dir", &self.inner.state.path()).finish_non_exhaustive()
    }
}

/// The options of a [`Host`].
#[derive(Debug, Clone)]
#[must_use = "options do nothing until they open a host"]
pub struct HostOptions {
    state_dir: Option<PathBuf>,
    store: Option<Arc<dyn Backend>>,
    durability: Durability,
    max_live: Option<usize>,
    containment: ContainmentPolicy,
    warm_age: Duration,
    keep: Keep,
    clock: Arc<dyn Clock>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            state_dir: None,
            store: None,
            durability: Durability::Process,
            max_live: None,
            containment: ContainmentPolicy::Best,
            warm_age: warm::AGE,
            keep: Keep::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl HostOptions {
    /// Keeps records, journal and leases in `dir` instead of the user's state directory.
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(dir.into());
        self
    }

    /// Keeps records and turns in this store instead of one of its own; leases and what is private stay in the state directory.
    ///
    /// [`durability`](Self::durability) is then the store's own matter.
    pub fn store(mut self, store: Arc<dyn Backend>) -> Self {
        self.store = Some(store);
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
        // With 0 no session could ever have a CLI, and every turn would wait for ever.
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

    /// What is kept of settled turns; 1,000 of each session, for three months, by default.
    ///
    /// What is older or more is removed a minute after the host was opened, each hour from then on, and sooner once a thousand turns
    /// were settled since, if it was opened on a runtime. A turn that is open is never removed, nor one of the last ten minutes.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// The clock by which usage limits are lifted; the system's, which goes on while the machine sleeps, by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the host.
    ///
    /// It reads and may write the disk, and waits for other programs that open, recover or close the same database, up to 30 s: on a
    /// runtime it belongs into `spawn_blocking`.
    ///
    /// # Errors
    ///
    /// [`HostError`] if the state directory cannot be made or its database cannot be opened.
    pub fn open(self) -> Result<Host, HostError> {
        let dir = self.state_dir.or_else(treewarden_store::default_state_dir).ok_or_else(|| HostError {
            message:
                "find a state directory: neither XDG_STATE_HOME nor HOME is an absolute path; choose one with `state_dir`"
                    .into(),
        })?;
        let unopened = |error: StoreError| HostError {
            message: format!("open the state directory {}: {error}", dir.display()),
        };
        let mut state = StateDir::prepare(&dir).map_err(unopened)?;
        let store = match self.store {
            Some(store) => store,
            None => {
                let options = SqliteOptions::default().durability(self.durability);
                let store: Arc<dyn Backend> = Arc::new(SqliteStore::open(&dir, options).map_err(unopened)?);
                store
            }
        };
        state.identify();
        let places = Places::new(self.max_live);
        let host = Host {
            inner: Arc::new(Inner {
                warm: Warm::new(self.warm_age, state.clone(), self.containment, places.clone()),
                state,
                store,
                containment: self.containment,
                names: Registry::unique().weigh(|name: &SessionName, _| name.as_str().len()).build(),
                events: Publisher::new(),
                places,
                binaries: Binaries::default(),
                limits: Limits::new(self.clock),
                guards: Guards::default(),
                scales: Scales::default(),
                looks: Arc::new(Semaphore::new(LOOKS)),
                endings: Semaphore::new(1),
                pruning: OnceLock::new(),
                telling: OnceLock::new(),
                problems: Mutex::default(),
            }),
        };
        // They know the host weakly, which exists first.
        host.inner.telling.get_or_init(|| Telling::begin(&host));
        host.inner.pruning.get_or_init(|| Pruning::begin(&host, self.keep));
        Ok(host)
    }
}

/// A host that could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("failed to {message}")]
pub struct HostError {
    message: String,
}

static SHARED: OnceLock<Host> = OnceLock::new();

/// Why the shared host was not opened when that was tried last. It is taken alone, for memory only.
static REFUSED: Mutex<Option<HostError>> = Mutex::new(None);

fn refused() -> MutexGuard<'static, Option<HostError>> {
    REFUSED.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(host) = SHARED.get() {
            return Ok(host.clone());
        }
        // The host is opened outside of the cell: a failure must leave that empty, so that the next call
        // tries again.
        let opened = HostOptions::default().open();
        // Whoever looks for a name later is told why nobody can hold it.
        *refused() = opened.as_ref().err().cloned();
        let host = opened?;
        Ok(SHARED.get_or_init(|| host).clone())
    }

    /// The shared host, if the program uses it already: to look for a name must not make a state directory.
    ///
    /// Otherwise the error with which it was not opened when that was tried last, if it was tried at all.
    pub(crate) fn opened() -> Result<Self, Option<HostError>> {
        SHARED.get().cloned().ok_or_else(|| refused().clone())
    }

    /// The folder that holds records, journal and leases.
    pub fn state_dir(&self) -> &Path {
        self.inner.state.path()
    }

    /// What outlives the host: records and turns.
    pub fn store(&self) -> &Arc<dyn Backend> {
        &self.inner.store
    }

    /// Tells whether a turn that the store does not hold is as old as those that were removed: if there was one of this id, it
    /// was settled, and nothing is known of it any more.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn has_expired(&self, turn: TurnId) -> Result<bool, StoreError> {
        Ok(matches!(self.inner.store.turn(turn).await?, Some(StoredTurn::Expired)))
    }

    /// Counts turns whose outcome was stored.
    pub(crate) fn note_settled(&self, turns: usize) {
        if let Some(pruning) = self.inner.pruning.get().filter(|_| turns > 0) {
            pruning.settled(turns);
        }
    }

    /// Writes a copy of the store, as it is at one moment, into a folder that is made; sessions go on meanwhile.
    ///
    /// The transcripts of the conversations are not in it: they are the CLI's, in its configuration folder.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(host: treewarden::Host) -> Result<(), Box<dyn std::error::Error>> {
    /// host.backup("/var/backups/chat-2026-12-01").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be written, the folder is there and not empty, or the store is one that cannot be copied.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped no copy is left.
    pub async fn backup(&self, to: impl Into<PathBuf>) -> Result<(), StoreError> {
        self.inner.store.backup(to.into()).await
    }

    /// The state directory.
    pub(crate) fn state(&self) -> &StateDir {
        &self.inner.state
    }

    /// The names of the host's sessions, each with whoever holds it; to look them up, and to [listen](Registry::listen) to names
    /// that are taken and freed.
    ///
    /// A session has its name over all its incarnations, until it is removed or the last who could start it again is gone.
    /// It [claims](Registry::claim) it, so that no actor is found by it; the actor of the moment is found by a name that
    /// [`SessionOptions::via`](crate::SessionOptions::via) gives it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(host: treewarden::Host) -> Result<(), Box<dyn std::error::Error>> {
    /// use treewarden::registry::RegistryEvent;
    ///
    /// let mut names = host.names().listen();
    /// while let Ok(event) = names.next().await {
    ///     match event {
    ///         RegistryEvent::Registered { key, .. } => println!("{key} is taken"),
    ///         RegistryEvent::Unregistered { key, .. } => println!("{key} is free"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn names(&self) -> &Registry<SessionName, Holder> {
        &self.inner.names
    }

    /// How many CLIs are kept for the next conversations, of all sessions together.
    pub fn warm(&self) -> WarmStatus {
        self.inner.warm.status()
    }

    /// Why the turns of all sessions are refused: the state directory, or its lock, was removed and cannot be had again.
    pub fn removed(&self) -> Option<String> {
        self.inner.guards.lost()
    }

    /// What happens to all sessions, and to the supervisors of the tree if the host is a tree's.
    ///
    /// The last events are kept, so that whoever comes late, or comes back, can read them; see [`Events`].
    pub fn events(&self) -> Events {
        self.inner.events.events().clone()
    }

    /// Says as an event that something was removed that the sessions have in common, such as a program's own socket.
    ///
    /// What is found by [`look_again`](Self::look_again) is said already. `mended` says that it is as it was.
    pub fn note_removed(&self, what: impl Into<String>, mended: bool) {
        self.inner.events.events().publish(
            Site::default(),
            None,
            Happening::Removed { what: what.into(), mended },
        );
    }
}
