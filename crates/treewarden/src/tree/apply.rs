//! Changes a tree that runs, as a diff says: first what goes, then what stays and what comes.
//!
//! A supervisor is changed in two places: in the plan of its branch, by which it is started next time, and in the
//! supervisor that runs. The plan comes first, so that one that is being restarted meanwhile has the change already; the
//! running one is asked for after that, and what it knows already is no fault.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::ChildId;
use treewarden_proto::SessionName;

use super::current::{Current, MadeOf};
use super::diff::{self, Change, KeyDiff, TreeDiff};
use super::dynamic;
use super::grow::{self, Branch, Grower, Handle, Handles, Path, below};
use super::names::{self, Members, NameConflict};
use super::settings::by_name;
use crate::config::{ChildDecl, ChildKind, Effect, SupervisorDecl, TreeSpec};
use crate::host::Host;
use crate::session::SessionOptions;
use crate::supervisor::{ChildSpec, ChildState, Supervisor, UpdateError};

/// How long a change waits for a session that is being made or removed, which takes no time as a rule.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a tree was not changed, or not wholly.
///
/// After [`Stale`](Self::Stale) and [`Partial`](Self::Partial) another diff has to be made, which shows what is left; after
/// [`Busy`](Self::Busy) as well, if the change that was under way changed anything.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Another change is under way; nothing was done.
    #[error("change the tree: another change is under way; try again when it is done")]
    Busy,
    /// The tree was changed since the diff was made; nothing was done.
    #[error("change the tree: it was changed since the diff was made; make another diff")]
    Stale,
    /// Two would have one name; nothing was done.
    #[error("change the tree: {}; nothing is changed", names::listed(.0))]
    Names(Vec<NameConflict>),
    /// The tree is stopping, or has ended.
    #[error("change the tree: it is stopping")]
    Stopping,
    /// Some children were not changed or started; everything else that the diff said was done.
    #[error("change the tree: {}", list(.0))]
    Partial(Vec<NotApplied>),
}

/// A child that was not changed or started.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NotApplied {
    /// Its place, as in the diff; a supervisor stands for everything below it as well.
    pub path: String,
    /// Why.
    pub reason: ExitReason,
}

fn list(failed: &[NotApplied]) -> String {
    let lines: Vec<String> =
        failed.iter().map(|failed| format!("{:?} failed: {}", failed.path, failed.reason)).collect();
    lines.join("; ")
}

pub(super) async fn apply(
    root: Supervisor,
    host: Host,
    current: Arc<Current>,
    diff: TreeDiff,
) -> Result<(), ApplyError> {
    // The right to change is claimed before the revision is looked at: another change could otherwise come
    // between the two.
    let changing = current.claim().ok_or(ApplyError::Busy)?;
    if current.is_stopping() || !root.is_alive() {
        return Err(ApplyError::Stopping);
    }
    if current.made_of().revision != diff.revision {
        return Err(ApplyError::Stale);
    }
    // The change runs in a task of its own: a caller that is dropped must not leave the tree half changed.
    let task = tokio::spawn(async move {
        let _changing = changing;
        // `changing` before `members`, as everywhere: whoever makes a session takes `members` alone.
        let _members = current.all_members(PATIENCE).await.ok_or(ApplyError::Busy)?;
        let before = current.made_of().clone();
        // Looked at again under `members`: a session may have been made since, which the diff does not know.
        still_holds(&diff, &before)?;
        let declared = diff.spec.names();
        let result = Work::new(host.clone(), before.handles, declared.clone())
            .change(&root, &before.spec, diff.spec, before.revision)
            .await;
        names::take_over(&host, &declared).await;
        let (made_of, failed) = result;
        // The tree ended meanwhile, and has let go of all that would start children; what is shown now nobody
        // would clear any more.
        if current.is_stopping() || !root.is_alive() {
            return Err(ApplyError::Stopping);
        }
        current.change(made_of);
        if failed.is_empty() { Ok(()) } else { Err(ApplyError::Partial(failed)) }
    });
    task.await.unwrap_or(Err(ApplyError::Stopping))
}

/// Asks whether a diff still tells the truth: sessions of templates come and go without a change of the tree.
fn still_holds(diff: &TreeDiff, before: &MadeOf) -> Result<(), ApplyError> {
    let members = dynamic::members(before);
    let conflicts = names::conflicts(&before.spec, diff.spec(), &members);
    if !conflicts.is_empty() {
        return Err(ApplyError::Names(conflicts));
    }
    let (declared, shown) = (diff.spec().names(), diff.ended_sessions().collect::<HashSet<_>>());
    let mut ended = names::handed_over(&declared, members.values().flatten());
    // Whoever asked whether a conversation would be lost did not ask for one that the diff does not show.
    if ended.all(|name| shown.contains(name.as_str())) { Ok(()) } else { Err(ApplyError::Stale) }
}

type Step<'w, T> = Pin<Box<dyn Future<Output = T> + Send + 'w>>;

/// A change under way.
struct Work {
    host: Host,
    handles: Handles,
    /// The sessions that the new file declares.
    declared: HashSet<SessionName>,
    failed: Vec<NotApplied>,
}

/// A supervisor that is changed: what it runs as, if it does, and what it is started from next time, if it is no root.
struct Node<'n> {
    path: &'n Path,
    running: Option<Supervisor>,
    branch: Option<Arc<Branch>>,
}

impl Node<'_> {
    /// The supervisor below this one, as far as it is there.
    async fn child(&self, id: &ChildId) -> Option<Supervisor> {
        // A supervisor that is down is changed by its plan alone.
        let child = self.running.as_ref()?.child(id.clone()).await.ok()?;
        child.extension::<Supervisor>().cloned()
    }

    /// Which of the children that change were given up.
    async fn parked(&self, fates: &[Fate<'_>]) -> HashSet<ChildId> {
        let (Some(running), true) = (&self.running, fates.iter().any(|fate| fate.change == Change::Changed))
        else {
            return HashSet::new();
        };
        let children = running.which_children().await.unwrap_or_default();
        let parked = children.into_iter().filter(|child| matches!(child.state, ChildState::Parked));
        parked.map(|child| child.id).collect()
    }

    /// Forgets a child, in the plan and in the supervisor.
    async fn forget(&self, id: &ChildId) {
        // The plan is changed first: a supervisor that is restarted in between must not start the child
        // again.
        if let Some(branch) = &self.branch {
            branch.plan().children.retain(|spec| spec.id() != id);
        }
        if let Some(running) = &self.running {
            running.forget(id).await;
        }
    }
}

/// What becomes of a child that stays or comes.
struct Fate<'f> {
    old: Option<&'f ChildDecl>,
    new: &'f ChildDecl,
    change: Change,
    keys: Vec<KeyDiff>,
}

impl<'f> Fate<'f> {
    fn new(old: Option<&'f ChildDecl>, new: &'f ChildDecl) -> Self {
        let (change, keys) = old.map_or((Change::Added, Vec::new()), |old| diff::compare(old, new));
        Self { old, new, change, keys }
    }

    fn id(&self) -> ChildId {
        self.new.name.as_str().into()
    }

    fn is_new(&self) -> bool {
        matches!(self.change, Change::Added | Change::Replaced)
    }

    fn has(&self, effect: Effect) -> bool {
        self.keys.iter().any(|key| key.effect == effect)
    }

    /// Whether its supervisor needs another spec of it.
    fn needs_spec(&self) -> bool {
        let alike = self.old.is_some_and(|old| old.supervision == self.new.supervision);
        self.is_new() || !alike || self.has(Effect::Restart)
    }
}

impl Work {
    fn new(host: Host, handles: Handles, declared: HashSet<SessionName>) -> Self {
        Self { host, handles, declared, failed: Vec::new() }
    }

    /// Makes a tree of one spec that of another; says what it is made of then, and what failed.
    async fn change(
        mut self,
        root: &Supervisor,
        old: &TreeSpec,
        new: TreeSpec,
        revision: u64,
    ) -> (MadeOf, Vec<NotApplied>) {
        let path = Path::new();
        let node = Node { path: &path, running: Some(root.clone()), branch: None };
        // All that goes before all that comes, over the whole tree: a name that moves from one branch to
        // another must be free.
        self.prune(&node, &old.root, &new.root).await;
        let made = self.fill(&node, &old.root, &new.root).await;
        // What concerns the state directory stays what it was until the tree is started again.
        let spec = TreeSpec { root: made, ..old.clone() };
        (MadeOf { spec: Arc::new(spec), revision: revision + 1, handles: self.handles }, self.failed)
    }

    fn branch(&self, path: &Path) -> Option<Arc<Branch>> {
        match self.handles.get(path) {
            Some(Handle::Branch(branch)) => branch.upgrade(),
            _ => None,
        }
    }

    fn drop_handles(&mut self, path: &Path, kind: &ChildKind) {
        match kind {
            ChildKind::Supervisor(_) | ChildKind::Template(_) => {
                self.handles.retain(|place, _| !place.starts_with(path))
            }
            _ => drop(self.handles.remove(path)),
        }
    }

    fn fail(&mut self, path: &Path, reason: ExitReason) {
        let names: Vec<&str> = path.iter().map(|name| name.as_str()).collect();
        self.failed.push(NotApplied { path: names.join("/"), reason });
    }

    /// Stops and forgets what goes, newest first, at every depth: a name that moves is free before it is taken again.
    fn prune<'w>(
        &'w mut self,
        node: &'w Node<'w>,
        old: &'w SupervisorDecl,
        new: &'w SupervisorDecl,
    ) -> Step<'w, ()> {
        Box::pin(async move {
            let after = by_name(new);
            for child in old.children.iter().rev() {
                let (path, id) = (below(node.path, &child.name), ChildId::from(child.name.as_str()));
                let stays = after.get(child.name.as_str()).copied();
                let stays = stays.filter(|new| diff::compare(child, new).0 != Change::Replaced);
                match (stays.map(|new| &new.kind), &child.kind) {
                    (None, kind) => {
                        node.forget(&id).await;
                        self.drop_handles(&path, kind);
                    }
                    (Some(ChildKind::Supervisor(new)), ChildKind::Supervisor(old)) => {
                        let (running, branch) = (node.child(&id).await, self.branch(&path));
                        self.prune(&Node { path: &path, running, branch }, old, new).await;
                    }
                    (Some(ChildKind::Template(_)), ChildKind::Template(_)) => {
                        let (running, branch) = (node.child(&id).await, self.branch(&path));
                        self.make_room(&Node { path: &path, running, branch }).await;
                    }
                    _ => {}
                }
            }
        })
    }

    /// Stops and forgets the sessions of a template whose names the new file declares.
    async fn make_room(&mut self, node: &Node<'_>) {
        let members = node.branch.as_deref().map(dynamic::names_in).unwrap_or_default();
        for name in names::handed_over(&self.declared, &members) {
            node.forget(&name.as_str().into()).await;
            self.handles.remove(&below(node.path, name));
        }
    }

    /// Gives a supervisor its flags and its children their settings, starts what is new, and goes down from there, in
    /// the order of the children. Returns what the supervisor is made of then.
    fn fill<'w>(
        &'w mut self,
        node: &'w Node<'w>,
        old: &'w SupervisorDecl,
        new: &'w SupervisorDecl,
    ) -> Step<'w, SupervisorDecl> {
        Box::pin(async move {
            let before = by_name(old);
            let fates: Vec<Fate<'_>> = new
                .children
                .iter()
                .map(|child| Fate::new(before.get(child.name.as_str()).copied(), child))
                .collect();
            if let Err(reason) = self.update(node, &fates, new).await {
                self.fail(node.path, reason);
                return rest_of(old, &fates);
            }
            let parked = node.parked(&fates).await;
            let mut made = SupervisorDecl { flags: new.flags.clone(), children: Vec::new() };
            for fate in &fates {
                made.children.extend(self.settle(node, fate).await);
                if parked.contains(&fate.id()) && fate.change == Change::Changed {
                    self.try_again(node, fate).await;
                }
            }
            made
        })
    }

    /// Changes flags, specs and order, in the plan and in the supervisor; nothing is started or stopped.
    async fn update(
        &mut self,
        node: &Node<'_>,
        fates: &[Fate<'_>],
        new: &SupervisorDecl,
    ) -> Result<(), ExitReason> {
        let members = match fates.iter().any(Fate::needs_spec) {
            true => grow::members(&self.host).await.map_err(ExitReason::error)?,
            false => Members::new(),
        };
        let specs = self.specs(node, fates, &members)?;
        let before = node.branch.as_ref().map(|branch| branch.plan().clone());
        // The plan's lock ends with this block. A supervisor that starts reads the plan, and whoever held the
        // lock while it asks that supervisor would wait for itself.
        if let Some(branch) = &node.branch {
            let mut plan = branch.plan();
            let mut known: HashMap<ChildId, ChildSpec> =
                plan.children.drain(..).map(|spec| (spec.id().clone(), spec)).collect();
            plan.flags = new.flags.clone();
            plan.children.extend(fates.iter().filter_map(|fate| match specs.get(&fate.id()) {
                Some(spec) => Some(spec.clone()),
                None => known.remove(&fate.id()),
            }));
        }
        let Some(running) = &node.running else { return Ok(()) };
        let order = fates.iter().map(Fate::id).collect();
        match running.update(Some(new.flags.clone()), order, specs).await {
            // It has ended since; the next one is started from the plan.
            Err(UpdateError::NoProc) if node.branch.is_some() => Ok(()),
            Err(error) => {
                // The plan is put back: the supervisor goes on as it was, and the next one must not be
                // started from what this one refused.
                if let (Some(branch), Some(before)) = (&node.branch, before) {
                    *branch.plan() = before;
                }
                for fate in fates.iter().filter(|fate| fate.is_new()) {
                    self.drop_handles(&below(node.path, &fate.new.name), &fate.new.kind);
                }
                Err(ExitReason::error(error))
            }
            Ok(()) => Ok(()),
        }
    }

    /// The specs that the supervisor of these children has to take.
    fn specs(
        &mut self,
        node: &Node<'_>,
        fates: &[Fate<'_>],
        members: &Members,
    ) -> Result<HashMap<ChildId, ChildSpec>, ExitReason> {
        let mut specs = HashMap::new();
        for fate in fates.iter().filter(|fate| fate.needs_spec()) {
            let place = below(node.path, &fate.new.name);
            let spec = match self.handles.get(&place) {
                // One that stays goes on as the same session or branch; one that ran once and has ended stays gone.
                Some(handle) if !fate.is_new() => handle.spec(fate.new),
                _ => {
                    let mut grower = Grower::new(&self.host, &mut self.handles, &self.declared, members);
                    Some(grower.spec(fate.new, node.path).map_err(ExitReason::error)?)
                }
            };
            specs.extend(spec.map(|spec| (fate.id(), spec)));
        }
        Ok(specs)
    }

    /// Carries out what becomes of one child; returns what it is then, unless it is not there.
    async fn settle(&mut self, node: &Node<'_>, fate: &Fate<'_>) -> Option<ChildDecl> {
        let (path, id) = (below(node.path, &fate.new.name), fate.id());
        if fate.is_new() {
            let begun = match &node.running {
                Some(running) => begin(running, &id, node.branch.is_some()).await,
                None => Ok(()),
            };
            if let Err(reason) = begun {
                self.fail(&path, reason);
                node.forget(&id).await;
                self.drop_handles(&path, &fate.new.kind);
                return None;
            }
            return Some(fate.new.clone());
        }
        match (fate.old.map(|old| &old.kind), &fate.new.kind) {
            (Some(ChildKind::Supervisor(old)), ChildKind::Supervisor(new)) => {
                let (running, branch) = (node.child(&id).await, self.branch(&path));
                let made = self.fill(&Node { path: &path, running, branch }, old, new).await;
                Some(ChildDecl { kind: ChildKind::Supervisor(made), ..fate.new.clone() })
            }
            (Some(ChildKind::Template(old)), ChildKind::Template(new)) => {
                let (running, branch) = (node.child(&id).await, self.branch(&path));
                let names = branch.as_deref().map(dynamic::names_in).unwrap_or_default();
                let failed = self.failed.len();
                let (before, after) = (old.with(&names), new.with(&names));
                self.fill(&Node { path: &path, running, branch }, &before, &after).await;
                // As it was if anything failed, so that the next diff shows it again.
                if self.failed.len() > failed { fate.old.cloned() } else { Some(fate.new.clone()) }
            }
            (_, ChildKind::Session(session)) if fate.change == Change::Changed => {
                // A session that can never start again has nobody to tell.
                if let Some(Handle::Session(owner)) = self.handles.get(&path)
                    && let Some(owner) = owner.upgrade()
                {
                    owner.reconfigure(SessionOptions::clone(session), fate.has(Effect::NextCli));
                }
                Some(fate.new.clone())
            }
            (_, ChildKind::Custom { .. }) if fate.has(Effect::Restart) => {
                self.restart(node, fate, &path).await
            }
            _ => Some(fate.new.clone()),
        }
    }

    /// Starts a child that was given up: what it is now may do better.
    async fn try_again(&mut self, node: &Node<'_>, fate: &Fate<'_>) {
        if let Some(running) = &node.running
            && let Err(reason) = begin(running, &fate.id(), node.branch.is_some()).await
        {
            self.fail(&below(node.path, &fate.new.name), reason);
        }
    }

    /// Restarts a child of a registered type, unless somebody stopped it.
    async fn restart(&mut self, node: &Node<'_>, fate: &Fate<'_>, path: &Path) -> Option<ChildDecl> {
        let (id, Some(running)) = (fate.id(), &node.running) else { return Some(fate.new.clone()) };
        if running.is_up(&id).await {
            // A child that has ended by itself meanwhile is stopped, which is all that is wanted here.
            let _gone = running.terminate_child(id.clone()).await;
            if let Err(reason) = begin(running, &id, node.branch.is_some()).await {
                self.fail(path, reason);
                // As it was, so that the next diff shows it again.
                return fate.old.cloned();
            }
        }
        Some(fate.new.clone())
    }
}

/// Starts a child; one whose supervisor has ended is started with the next one, if there will be one.
async fn begin(running: &Supervisor, id: &ChildId, comes_back: bool) -> Result<(), ExitReason> {
    match running.begin(id).await {
        Err(_) if comes_back && !running.is_alive() => Ok(()),
        result => result,
    }
}

/// What a supervisor is made of that refused its update: what it was, without what was stopped.
fn rest_of(old: &SupervisorDecl, fates: &[Fate<'_>]) -> SupervisorDecl {
    let stays: HashSet<&str> =
        fates.iter().filter(|fate| !fate.is_new()).map(|fate| fate.new.name.as_str()).collect();
    let children = old.children.iter().filter(|child| stays.contains(child.name.as_str())).cloned().collect();
    SupervisorDecl { flags: old.flags.clone(), children }
}
