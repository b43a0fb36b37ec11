//! What the sessions of one program share: the store, the names, the limit of live CLIs, and the events.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::Semaphore;
use treewarden_process::ContainmentPolicy;
use treewarden_proto::spec::SessionSpec;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{Durability, Store, StoreOptions};

use crate::binaries::Binaries;
use crate::events::{Events, Happening, Publisher};
use crate::guards::Guards;
pub use crate::guards::Missing;
use crate::places::Places;
use crate::session::{Desk, Outcome, Session, Status};
pub use crate::warm::WarmStatus;
use crate::warm::{self, Warm};

/// So many transcripts are looked at at once.
const LOOKS: usize = 64;

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) containment: ContainmentPolicy,
    names: RwLock<HashMap<SessionName, Arc<Desk>>>,
    pub(crate) events: Publisher,
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
                events: Publisher::new(),
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

static SHARED: OnceLock<Host> = OnceLock::new();

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
        let host = HostOptions::default().open()?;
        Ok(SHARED.get_or_init(|| host).clone())
    }

    /// The shared host, if the program uses it already: to look for a name must not make a state directory.
    pub(crate) fn opened() -> Option<Self> {
        SHARED.get().cloned()
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

    /// The status of the session that holds `name`, if one does.
    pub(crate) fn status_of(&self, name: &str) -> Option<Status> {
        self.find(name).map(|desk| desk.status())
    }

    /// How many CLIs are kept for the next conversations, of all sessions together.
    pub fn warm(&self) -> WarmStatus {
        self.inner.warm.status()
    }

    /// Looks whether what keeps others away is still there: leases, the tree's lock, the state directory. Returns what was
    /// found of the host as a whole since the last look. All that is found is an event too.
    ///
    /// Each turn is preceded by such a look. Whoever wants to know, and to mend, without a turn calls it from time to time,
    /// as the `treewarden` command does. It asks the file system some questions for each live session.
    pub fn look_again(&self) -> Vec<Missing> {
        for desk in self.desks() {
            let _shown_in_its_status = desk.look_at_lease();
            desk.look_at_transcript();
        }
        let _kept = self.inner.guards.look(&self.inner.store);
        let news = self.inner.guards.take_news();
        for missing in &news {
            self.note_removed(missing.what.as_str(), missing.mended);
        }
        news
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
        self.inner.events.events().publish("".into(), None, Happening::Removed { what: what.into(), mended });
    }

    /// Says as an event that a conversation is on no disk, for a program that is about to end its CLI all the same.
    ///
    /// A session that nobody holds any more is passed over.
    pub fn note_unsaved(&self, unsaved: &Unsaved) {
        if let Some(desk) = self.find(unsaved.name.as_str()) {
            desk.publish(Happening::Unsaved { why: unsaved.why.clone() });
        }
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
