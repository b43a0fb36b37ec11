//! A tree that runs.

use std::path::Path;

use treewarden_core::ExitReason;
use treewarden_store::TreeLock;

use super::builder::TreeBuilder;
use super::outline::{self, Outline};
use crate::config::{self, ChildTypes, ConfigError, TreeSpec};
use crate::host::Host;
use crate::session::Session;
use crate::supervisor::Supervisor;

/// A running tree; a cheap clone, and dropping it stops nothing.
///
/// # Examples
///
/// ```no_run
/// use treewarden::tree::Tree;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let tree = Tree::from_file("treewarden.toml")?.start().await?;
/// println!("{}", tree.session("assistant").query("Hello!").await?);
/// tree.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tree {
    host: Host,
    root: Supervisor,
    swept: usize,
    lock: tokio::sync::watch::Receiver<bool>,
}

impl Tree {
    /// Reads a tree from a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with everything that is wrong with the file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<TreeBuilder, ConfigError> {
        config::load(path).map(TreeBuilder::new)
    }

    /// Reads a tree from a file that may have children of these types as well.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with everything that is wrong with the file.
    pub fn from_file_with(path: impl AsRef<Path>, types: &ChildTypes) -> Result<TreeBuilder, ConfigError> {
        config::load_with(path, types).map(TreeBuilder::new)
    }

    /// Makes a tree of a spec.
    pub fn builder(spec: TreeSpec) -> TreeBuilder {
        TreeBuilder::new(spec)
    }

    pub(super) fn new(host: Host, root: Supervisor, lock: TreeLock, swept: usize) -> Self {
        let (free, is_free) = tokio::sync::watch::channel(false);
        let supervisor = root.clone();
        // The directory is ours until the last child is gone, whoever keeps or drops a handle.
        tokio::spawn(async move {
            supervisor.wait().await;
            drop(lock);
            let _nobody = free.send(true);
        });
        Self { host, root, swept, lock: is_free }
    }

    /// What the tree's sessions share: the store, the names, the feed.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// A handle for the session of this name, which may not exist.
    pub fn session(&self, name: &str) -> Session {
        Session::named_in(&self.host, name)
    }

    /// The root supervisor.
    pub fn supervisor(&self) -> &Supervisor {
        &self.root
    }

    /// How many processes of dead hosts were ended when the tree was started.
    pub fn swept(&self) -> usize {
        self.swept
    }

    /// The shape of the tree at this moment.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn outline(&self) -> Outline {
        outline::of(&self.root, &self.host).await
    }

    /// Stops the tree: its children newest first, each with its deadline. Ready when all are gone.
    ///
    /// Open turns stay in the journal, and are carried on when a tree is started on the directory again.
    ///
    /// # Cancel safety
    ///
    /// The stop goes on when the future is dropped.
    pub async fn stop(&self) -> ExitReason {
        let reason = self.root.stop(ExitReason::Shutdown).await;
        self.freed().await;
        reason
    }

    /// Waits until the tree has ended, by a stop or because its root gave up, and says why it did.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn wait(&self) -> ExitReason {
        let reason = self.root.wait().await;
        self.freed().await;
        reason
    }

    async fn freed(&self) {
        let mut lock = self.lock.clone();
        // An error says that the task is gone, and the lock with it.
        let _free = lock.wait_for(|free| *free).await.is_ok();
    }
}
