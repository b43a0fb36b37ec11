//! A tree that runs.
//!
//! It is the handle, and asks others for everything: `dynamic.rs` makes and removes sessions, `apply.rs` changes the tree. It must never keep
//! the tree alive: that is its root supervisor's.

use std::path::Path;
use std::sync::Arc;

use treewarden_otp_core::ExitReason;
use treewarden_proto::SessionName;
use treewarden_store::TreeLock;

use super::apply::{self, ApplyError};
use super::builder::TreeBuilder;
use super::current::Current;
use super::diff::TreeDiff;
use super::dynamic::{self, NewSessionError, Removal, RemoveSessionError};
use super::idle;
use super::names;
use super::outline::{self, Outline};
use super::restart::{self, RestartError};
use crate::config::{self, ChildTypes, ConfigError, TreeSpec};
use crate::events::Events;
use crate::host::Host;
use crate::session::{QueryError, Session};
use crate::supervisor::Supervisor;

/// A running tree; a cheap clone, and dropping it stops nothing.
///
/// It has its state directory for itself: a second tree on it is refused until the first has ended and its last CLI is gone. It ends by
/// [`stop`](Self::stop), or when its root supervisor gives up; [`Supervisor::wait`] on [`supervisor`](Self::supervisor) tells of either.
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
    current: Arc<Current>,
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
    ///
    /// Of a file that was read by [`config::load`], or of text by [`config::parse`].
    pub fn builder(spec: TreeSpec) -> TreeBuilder {
        TreeBuilder::new(spec)
    }

    pub(super) fn new(host: Host, root: Supervisor, lock: TreeLock, swept: usize, current: Current) -> Self {
        let current = Arc::new(current);
        let until_end = Arc::clone(&current);
        let lock = Arc::new(lock);
        host.inner.guards.set_tree(Some(Arc::clone(&lock)));
        let (free, is_free) = tokio::sync::watch::channel(false);
        let (supervisor, host_of_all) = (root.clone(), host.clone());
        // The directory is ours until the last child and the last CLI are gone, whoever keeps or drops a handle.
        tokio::spawn(async move {
            supervisor.wait().await;
            // The tree is cleared first: no change may start a child of a tree that has ended.
            until_end.clear();
            host_of_all.inner.warm.close().await;
            host_of_all.inner.guards.set_tree(None);
            lock.release();
            // Whoever waited may have gone.
            let _nobody = free.send(true);
        });
        tokio::spawn(idle::keep(root.clone(), host.clone(), Arc::clone(&current)));
        Self { host, root, swept, lock: is_free, current }
    }

    /// What the tree's sessions share: the store, the names, the events.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What happens in the tree, to its supervisors and its sessions, in one order: the events of its [`host`](Self::host).
    ///
    /// What its start did is in there too.
    pub fn events(&self) -> Events {
        self.host.events()
    }

    /// A handle for the session of this name, which may not exist.
    pub fn session(&self, name: &str) -> Session {
        Session::named_in(&self.host, name)
    }

    /// The session of this name.
    ///
    /// # Errors
    ///
    /// [`QueryError`] of the kind [`NoSuchSession`](crate::session::QueryErrorKind::NoSuchSession) if nobody holds the name: it
    /// says what has it instead, such as a supervisor, or which name is near.
    pub fn find_session(&self, name: &str) -> Result<Session, QueryError> {
        if self.host.find(name).is_some() {
            return Ok(self.session(name));
        }
        let what = SessionName::new(name).ok().and_then(|name| names::holder(&self.spec(), &name));
        Err(match what {
            Some(what) => QueryError::no_session(name, &what.instead(name)),
            None => QueryError::no_such_session(name, Some(&self.host)),
        })
    }

    /// Makes a session of a template, and starts it; no CLI is started before its first turn.
    ///
    /// The session exists until it is [removed](Self::remove_session), or has been idle for the template's `remove_idle`:
    /// also when its host starts again, and while the template is in no file. A session of this name that existed before
    /// goes on with its conversation, and with turns that a crash of the host left open.
    ///
    /// # Errors
    ///
    /// [`NewSessionError`]: no such template, a name that a session or another child has or that is not valid, as many sessions as may exist, a template
    /// whose supervisor is down, a change of the tree that takes too long; or it did not start.
    ///
    /// # Cancel safety
    ///
    /// The session is made although the future is dropped, unless it still waited for a change of the tree.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// // With a `[[template]]` whose name is "chat".
    /// let tree = treewarden::Tree::from_file("treewarden.toml")?.start().await?;
    /// let alice = tree.new_session("chat", "alice").await?;
    /// println!("{}", alice.query("Hello!").await?);
    /// tree.remove_session("alice").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn new_session(&self, template: &str, name: &str) -> Result<Session, NewSessionError> {
        let (root, host, current) = self.parts();
        dynamic::start(root, host, current, template.to_owned(), name).await
    }

    /// Removes a session that was made of a template: ends it as [`Session::stop`] does, and frees its name.
    ///
    /// The running turn is interrupted, those that wait are cancelled. The conversation is kept, and a session that is made
    /// under this name goes on with it. What only its CLI has of the conversation is lost, as with a stop: ask
    /// [`Session::unsaved`] first.
    ///
    /// # Errors
    ///
    /// [`RemoveSessionError`]: no session has this name, or the file declares it; a change of the tree takes too long; that
    /// it is removed cannot be stored; or processes of it live on that may not be ended.
    ///
    /// # Cancel safety
    ///
    /// The removal goes on when the future is dropped.
    pub async fn remove_session(&self, name: &str) -> Result<(), RemoveSessionError> {
        let (root, host, current) = self.parts();
        let removal = Removal { name: name.to_owned(), idle_since: None };
        dynamic::remove(root, host, current, removal).await.map(drop)
    }

    fn parts(&self) -> (Supervisor, Host, Arc<Current>) {
        (self.root.clone(), self.host.clone(), Arc::clone(&self.current))
    }

    /// The root supervisor.
    pub fn supervisor(&self) -> &Supervisor {
        &self.root
    }

    /// How many processes of dead hosts were ended when the tree was started.
    pub fn swept(&self) -> usize {
        self.swept
    }

    /// What the tree is made of: the spec it was started with, and what was applied since; empty when it has ended.
    pub fn spec(&self) -> Arc<TreeSpec> {
        Arc::clone(&self.current.made_of().spec)
    }

    /// Compares the tree with another spec, such as that of a file that was changed; nothing is done.
    ///
    /// What is compared is what the tree was made of. A session of a template whose name the spec declares makes room for the
    /// spec's, which goes on with its conversation; a name that two would have is in [`TreeDiff::conflicts`]. Children that the program added itself, through
    /// [`Supervisor::start_child`], are in no spec, and are never touched.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(tree: treewarden::Tree) -> Result<(), Box<dyn std::error::Error>> {
    /// let diff = tree.diff(treewarden::config::load("treewarden.toml")?);
    /// println!("{diff}");
    /// tree.apply(diff).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn diff(&self, spec: TreeSpec) -> TreeDiff {
        let current = self.current.made_of();
        let (old, revision) = (Arc::clone(&current.spec), current.revision);
        let members = dynamic::members(&current);
        drop(current);
        TreeDiff::of(&old, spec, revision, &members)
    }

    /// Changes the tree while it runs, as a diff says.
    ///
    /// Children that go are stopped first, newest first, each with its deadline; then, in the order of the spec, those
    /// that come are started and those that stay get their settings. What the diff calls unchanged is not touched: a
    /// session keeps its actor, its CLI and its turn. A session whose CLI is to be replaced goes on with its
    /// conversation: an idle CLI is ended at once, and the next turn starts another; a busy one ends its turn first.
    ///
    /// The open turns of a session that goes stay in the journal, and are carried on if a session of this name comes
    /// back. Its callers get [`QueryErrorKind::Stopped`](crate::session::QueryErrorKind::Stopped).
    ///
    /// # Errors
    ///
    /// [`ApplyError`]: another change is under way, the tree was changed since the diff was made, two would have one name,
    /// or it is stopping; then nothing was done. Or some children could not be changed or started, which says which; the rest of the diff
    /// was applied, and the next diff shows what is left.
    ///
    /// # Cancel safety
    ///
    /// The change goes on when the future is dropped.
    pub async fn apply(&self, diff: TreeDiff) -> Result<(), ApplyError> {
        apply::apply(self.root.clone(), self.host.clone(), Arc::clone(&self.current), diff).await
    }

    /// The shape of the tree at this moment.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(tree: treewarden::Tree) {
    /// use treewarden::tree::NodeState;
    ///
    /// let outline = tree.outline().await;
    /// for child in &outline.children {
    ///     match child.state {
    ///         NodeState::Parked => println!("{} spent its restarts, and waits to be started", child.name),
    ///         state => println!("{}: {state:?}, its start number {:?}", child.name, child.incarnation),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn outline(&self) -> Outline {
        outline::of(&self.root, &self.host).await
    }

    /// Restarts a supervisor below the root, by its name, and everything below it.
    ///
    /// One that runs is stopped with its whole branch, as `terminate_child` and `restart_child` of its own supervisor
    /// do; its sessions go on with their conversations and their open turns. One that is parked or stopped is started.
    /// Either way it has a fresh budget, in its own supervisor too.
    ///
    /// # Errors
    ///
    /// [`RestartError`]: no supervisor, or more than one, has this name; it is temporary; another change is under way;
    /// the tree is stopping; then nothing was done. Or it did not start again.
    ///
    /// # Cancel safety
    ///
    /// The restart goes on when the future is dropped.
    pub async fn restart_supervisor(&self, name: &str) -> Result<(), RestartError> {
        let (root, host, current) = self.parts();
        restart::restart(root, host, current, name.to_owned()).await
    }

    /// Stops the tree: its children newest first, each with its deadline. Ready when all are gone.
    ///
    /// Open turns stay in the journal, and are carried on when a tree is started on the directory again.
    ///
    /// # Cancel safety
    ///
    /// The stop goes on when the future is dropped.
    pub async fn stop(&self) -> ExitReason {
        // The flag is set before the root is told: a change that began in between would start children that
        // nobody stops.
        self.current.stop();
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

    /// Whether the tree has begun to stop, or has ended: no change of it is begun any more.
    pub fn is_stopping(&self) -> bool {
        self.current.is_stopping()
    }

    async fn freed(&self) {
        let mut lock = self.lock.clone();
        // An error says that the task is gone, and the lock with it.
        let _free = lock.wait_for(|free| *free).await.is_ok();
    }
}
