//! A tree that is about to start.
//!
//! It is for what has to be there before the first child: the lock of the directory, the store, the end of what dead hosts left. A start
//! that fails, or is dropped, must never leave a child behind, nor the directory locked.

use std::path::PathBuf;
use std::sync::Arc;

use treewarden_process::ContainmentPolicy;
use treewarden_proto::SessionName;
use treewarden_store::{Backend, Holder, TreeLock};

use super::current::Current;
use super::dynamic;
use super::error::{TreeError, TreeErrorKind};
use super::grow::{self, Grower, Handles};
use super::names::{self, take_over};
use super::running::Tree;
use crate::config::TreeSpec;
use crate::events::{self, Site};
use crate::host::Host;
use crate::supervisor::SupervisionEvent;

/// A tree that is about to start.
///
/// It comes of [`Tree::from_file`] or [`Tree::builder`]. Unless it says otherwise, the state directory is the spec's, or else the
/// user's, and turns and records are kept in an SQLite database there.
///
/// # Examples
///
/// A tree without a file; with it, the same tables stand in `treewarden.toml`:
///
/// ```no_run
/// use treewarden::{Tree, config};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let spec = config::parse("[[child]]\nname = \"assistant\"", "treewarden.toml".as_ref())?;
/// let tree = Tree::builder(spec).state_dir("/var/lib/chat").max_live(8).start().await?;
/// println!("{}", tree.session("assistant").query("Hello!").await?);
/// tree.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct TreeBuilder {
    spec: TreeSpec,
    state_dir: Option<PathBuf>,
    store: Option<Arc<dyn Backend>>,
    containment: ContainmentPolicy,
    max_live: Option<usize>,
}

impl TreeBuilder {
    pub(super) fn new(spec: TreeSpec) -> Self {
        Self { spec, state_dir: None, store: None, containment: ContainmentPolicy::Best, max_live: None }
    }

    /// Keeps records, journal and leases in `dir`, whatever the spec says.
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(dir.into());
        self
    }

    /// Keeps records and turns in this store; see [`HostOptions::store`](crate::host::HostOptions::store).
    pub fn store(mut self, store: Arc<dyn Backend>) -> Self {
        self.store = Some(store);
        self
    }

    /// Chooses how the processes of a session are held together; the best way that the system offers by default.
    pub fn containment(mut self, policy: ContainmentPolicy) -> Self {
        self.containment = policy;
        self
    }

    /// How many CLIs may live at once at most, also where the spec lets more: without limit by default.
    pub fn max_live(mut self, max_live: usize) -> Self {
        self.max_live = Some(max_live);
        self
    }

    /// What the tree is made of.
    #[must_use]
    pub fn spec(&self) -> &TreeSpec {
        &self.spec
    }

    /// Starts the tree.
    ///
    /// What dead hosts left running is ended first. Sessions come back under their name and conversation; their open
    /// turns are carried on.
    ///
    /// # Errors
    ///
    /// [`TreeError`] if two of the spec have one name, another tree runs on the state directory, the directory cannot be
    /// used, leftovers cannot be ended, or a child does not start; what was started is stopped again.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, what was started is stopped.
    pub async fn start(self) -> Result<Tree, TreeError> {
        let Self { spec, state_dir, store, containment, max_live } = self;
        // A file was asked when it was read; a program may have put its spec together.
        let doubles = names::doubles(&spec);
        if !doubles.is_empty() {
            return Err(TreeError::new(TreeErrorKind::Names, names::listed(&doubles)));
        }
        let dir = state_dir
            .or_else(|| spec.state_dir.clone())
            .or_else(treewarden_store::default_state_dir)
            .ok_or_else(|| {
            let text = "neither XDG_STATE_HOME nor HOME is an absolute path: choose a state directory with `state_dir`";
            TreeError::state(text)
        })?;
        let name = SessionName::new("tree").expect("a plain word is a valid name");
        // The lock is taken before all else: what follows ends processes and removes files that belong to
        // whoever runs the directory's tree.
        let lock = TreeLock::acquire(&dir, &Holder::this_process(&name))
            .map_err(|held| TreeError::held(&dir, &held))?;
        let mut options = Host::options()
            .state_dir(&dir)
            .durability(spec.durability)
            .keep(spec.keep())
            .containment(containment);
        if let Some(max_live) = [spec.max_live, max_live].into_iter().flatten().min() {
            options = options.max_live(max_live);
        }
        if let Some(store) = store {
            options = options.store(store);
        }
        // Beside the runtime, which would see no signal meanwhile: an opening may wait for other programs. With the lock: whoever
        // drops the future leaves an opening behind, and nobody else may have the directory before that is over.
        let opening = tokio::task::spawn_blocking(move || (options.open(), lock));
        let (host, lock) = opening.await.map_err(TreeError::state)?;
        let host = host?;
        // The sweep comes before the first child: a CLI that a dead host left still writes its conversation.
        let swept = treewarden_process::sweep()
            .await
            .map_err(|error| TreeError::new(TreeErrorKind::Leftovers, error))?;
        if swept.processes > 0 {
            tracing::warn!(processes = swept.processes, "ended what dead hosts had left running");
        }
        // No CLI of an earlier tree is left that could read its files.
        crate::private_files::forget(&dir);
        // A store that cannot be read shows no conversation as ours, and nothing is removed.
        let records = host.store().records().await.unwrap_or_default();
        crate::second_door::sweep(records, host.state());
        let mut handles = Handles::new();
        let declared = spec.names();
        let members = grow::members(&host).await?;
        // Before the root is there: a caller who went while this waits for the disk would leave a root that runs and that
        // nobody knows.
        take_over(&host, names::handed_over(&declared, members.values().flatten())).await;
        let plan = Grower::new(&host, &mut handles, &declared, &members).plan(&spec.root, &Vec::new())?;
        let events = host.events();
        let report = move |event: &SupervisionEvent| {
            let (path, place) = (Arc::clone(&event.supervisor), Arc::clone(&event.place));
            events.publish(Site { path, place }, None, events::told(event));
        };
        let root = plan.builder().on_report(report).start().await?;
        let current = Current::new(spec, handles);
        warn_of_conflicts(&current);
        Ok(Tree::new(host, root, lock, swept.processes, current))
    }
}

/// Says which children cannot be reached by their names. A start refuses nobody's session for that.
fn warn_of_conflicts(current: &Current) {
    let made_of = current.made_of();
    for conflict in names::conflicts(&TreeSpec::default(), &made_of.spec, &dynamic::members(&made_of)) {
        tracing::warn!(%conflict, "what is asked of this name reaches the session alone");
    }
}
