//! What a changed file means to a tree: pure, from two specs.
//!
//! ```text
//! what differs                                       what it means to a tree that runs
//! a child is there no more ......................... it is stopped, and its name freed
//! a child is new ................................... it is started, in its place
//! another type, another conversation ............... both, in this order
//! options of a session's CLI ....................... its CLI is replaced between two turns; its actor stays
//! times of a session ............................... they hold at once
//! options of a turn ................................ they hold for turns that are opened from now on
//! options of a registered type ..................... the child is restarted
//! options of a template ............................ the same for each session that was made of it
//! how a child is supervised, a supervisor's flags .. they hold at once, and nothing is restarted
//! what concerns the state directory ................ nothing, until the tree is started again
//! ```

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use treewarden_otp_core::supervisor::Flags;
use treewarden_proto::SessionName;

use super::names::{self, Members, NameConflict};
use super::outline::NodeKind;
use super::settings;
use crate::config::forms::{of_flags, of_tree};
use crate::config::{ChildDecl, ChildKind, Effect, SupervisorDecl, TreeSpec};

/// What would become of a running tree.
///
/// Made by [`Tree::diff`](super::Tree::diff), or by [`between`](Self::between) for two specs; its `Display` is for
/// people, its fields are for programs.
///
/// # Examples
///
/// ```
/// use treewarden::config;
/// use treewarden::tree::{Change, TreeDiff};
///
/// let read = |text: &str| config::parse(text, "/etc/treewarden.toml".as_ref());
/// let old = read("[[child]]\nname = \"a\"")?;
/// let new = read("[[child]]\nname = \"a\"\nidle_timeout = \"15m\"\n\n[[child]]\nname = \"b\"")?;
/// let diff = TreeDiff::between(&old, &new);
/// let of = |name: &str| diff.nodes.iter().find(|node| node.name == name).map(|node| node.change);
/// assert_eq!((of("a"), of("b")), (Some(Change::Changed), Some(Change::Added)));
/// # Ok::<(), config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TreeDiff {
    /// Every node of either tree, the root first: below each supervisor those that go, then those that stay or come, in
    /// the order of the new spec.
    pub nodes: Vec<NodeDiff>,
    /// The names that two would have: while there are any, nothing of the diff can be applied.
    pub conflicts: Vec<NameConflict>,
    pub(super) spec: TreeSpec,
    pub(super) revision: u64,
}

/// What would become of one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeDiff {
    /// Its place, for people: the names from the root down, joined with `/`, which a name may hold as well; empty for the
    /// root.
    pub path: String,
    /// Its name, which is the last of those; empty for the root.
    pub name: String,
    /// What it is, or what it was if it goes.
    pub kind: NodeKind,
    /// What becomes of it.
    pub change: Change,
    /// What differs, where it stays or is replaced.
    pub keys: Vec<KeyDiff>,
}

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// It is not touched.
    Unchanged,
    /// It is started.
    Added,
    /// It is stopped and forgotten; a session's conversation is kept.
    Removed,
    /// It stays, with other settings; the effect of each says what that means.
    Changed,
    /// It is stopped, and another is started in its place.
    Replaced,
}

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeyDiff {
    /// The key, as the file has it.
    pub key: String,
    /// What the difference means.
    pub effect: Effect,
    /// The value so far; null if there was none, or it may be secret.
    pub from: Value,
    /// The value that is to be; null if there is none, or it may be secret.
    pub to: Value,
}

impl TreeDiff {
    /// Compares two specs.
    pub fn between(old: &TreeSpec, new: &TreeSpec) -> Self {
        Self::of(old, new.clone(), 0, &Members::new())
    }

    /// Compares a tree that has these sessions of templates with a spec.
    pub(super) fn of(old: &TreeSpec, new: TreeSpec, revision: u64, members: &Members) -> Self {
        let mut nodes = Vec::new();
        let mut keys = settings::differing(&of_tree(old), &of_tree(&new), settings::effect);
        keys.extend(supervisor_keys(&old.root, &new.root));
        let root = NodeDiff::new("", "", NodeKind::Supervisor, kept(&keys));
        nodes.push(NodeDiff { keys, ..root });
        children(&old.root, &new.root, "", &mut nodes);
        let conflicts = names::conflicts(old, &new, members);
        Self { nodes, conflicts, spec: new, revision }.with_members(members)
    }

    /// Shows the sessions of templates that go, below the template: no spec has them. They go with it, or make room for a
    /// session of the file's that has their name.
    fn with_members(mut self, members: &Members) -> Self {
        let declared = self.spec.names();
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for node in self.nodes {
            let all = SessionName::new(&node.path).ok().filter(|name| name.as_str() == node.name);
            let all = all.and_then(|template| members.get(&template)).map_or(&[][..], Vec::as_slice);
            let goes = matches!(node.change, Change::Removed | Change::Replaced);
            let gone = all.iter().filter(|name| goes || declared.contains(*name));
            let gone = gone
                .map(|name| NodeDiff::new(&node.path, name.as_str(), NodeKind::Session, Change::Removed))
                .collect::<Vec<_>>();
            nodes.push(node);
            nodes.extend(gone);
        }
        self.nodes = nodes;
        self
    }

    /// What the tree would be made of.
    pub fn spec(&self) -> &TreeSpec {
        &self.spec
    }

    /// The sessions whose CLIs would be ended at once, and not only once their conversations are on disk: those that go, and
    /// those that make room for another conversation.
    pub fn ended_sessions(&self) -> impl Iterator<Item = &str> {
        let ended = |node: &&NodeDiff| {
            node.kind == NodeKind::Session && matches!(node.change, Change::Removed | Change::Replaced)
        };
        self.nodes.iter().filter(ended).map(|node| node.name.as_str())
    }

    /// Says whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.nodes.iter().all(|node| node.change == Change::Unchanged)
    }
}

impl NodeDiff {
    /// A node below that of this path.
    fn new(parent: &str, name: &str, kind: NodeKind, change: Change) -> Self {
        Self { path: join(parent, name), kind, change, keys: Vec::new(), name: name.to_owned() }
    }
}

/// Says what becomes of a child that is in both specs.
pub(super) fn compare(old: &ChildDecl, new: &ChildDecl) -> (Change, Vec<KeyDiff>) {
    let same_type = match (&old.kind, &new.kind) {
        (ChildKind::Session(_), ChildKind::Session(_))
        | (ChildKind::Supervisor(_), ChildKind::Supervisor(_))
        | (ChildKind::Template(_), ChildKind::Template(_)) => true,
        (ChildKind::Custom { type_name: old, .. }, ChildKind::Custom { type_name: new, .. }) => old == new,
        _ => false,
    };
    if !same_type {
        let (from, to) = (type_of(old).into(), type_of(new).into());
        let key = KeyDiff { key: "type".into(), effect: settings::effect("type"), from, to };
        return (Change::Replaced, vec![key]);
    }
    let custom = matches!(new.kind, ChildKind::Custom { .. });
    let effect = |key: &str| settings::effect_in(new, key);
    let mut keys = settings::differing(&settings::of_child(old), &settings::of_child(new), effect);
    if custom {
        // Only the type knows which of its options are secret.
        for key in keys.iter_mut().filter(|key| key.effect == Effect::Restart) {
            (key.from, key.to) = (Value::Null, Value::Null);
        }
    }
    if let (ChildKind::Custom { start: old, .. }, ChildKind::Custom { start: new, .. }) =
        (&old.kind, &new.kind)
        // A type that gives no fingerprint is told apart by its options alone.
        && let (Some(old), Some(new)) = (old.fingerprint(), new.fingerprint())
        && old != new
    {
        let key = "fingerprint".to_owned();
        keys.push(KeyDiff { key, effect: Effect::Restart, from: Value::Null, to: Value::Null });
    }
    if let (ChildKind::Supervisor(old), ChildKind::Supervisor(new)) = (&old.kind, &new.kind) {
        keys.extend(supervisor_keys(old, new));
    }
    if let (ChildKind::Template(old), ChildKind::Template(new)) = (&old.kind, &new.kind) {
        keys.extend(flags_of(&old.flags, &new.flags));
    }
    let replaced = keys.iter().any(|key| key.effect == Effect::Replace);
    (if replaced { Change::Replaced } else { kept(&keys) }, keys)
}

fn kept(keys: &[KeyDiff]) -> Change {
    if keys.is_empty() { Change::Unchanged } else { Change::Changed }
}

fn flags_of(old: &Flags, new: &Flags) -> Vec<KeyDiff> {
    settings::differing(&of_flags(old), &of_flags(new), settings::effect)
}

/// The flags of a supervisor, and the order of the children that stay.
fn supervisor_keys(old: &SupervisorDecl, new: &SupervisorDecl) -> Vec<KeyDiff> {
    let mut keys = flags_of(&old.flags, &new.flags);
    // The order is compared of those that are in both: a child that comes or goes has a line of its own.
    let both = |a: &SupervisorDecl, b: &SupervisorDecl| -> Vec<Value> {
        let there = settings::by_name(b);
        let names =
            a.children.iter().map(|child| child.name.as_str()).filter(|name| there.contains_key(name));
        names.map(Value::from).collect()
    };
    let (from, to) = (both(old, new), both(new, old));
    if from != to {
        let (from, to) = (Value::Array(from), Value::Array(to));
        keys.push(KeyDiff { key: "child".into(), effect: settings::effect("child"), from, to });
    }
    keys
}

fn children(old: &SupervisorDecl, new: &SupervisorDecl, path: &str, nodes: &mut Vec<NodeDiff>) {
    let (before, after) = (settings::by_name(old), settings::by_name(new));
    for child in old.children.iter().filter(|child| !after.contains_key(child.name.as_str())) {
        whole(child, path, Change::Removed, nodes);
    }
    for child in &new.children {
        let Some(old) = before.get(child.name.as_str()) else {
            whole(child, path, Change::Added, nodes);
            continue;
        };
        let (change, keys) = compare(old, child);
        let node = NodeDiff::new(path, child.name.as_str(), kind(child), change);
        let path = node.path.clone();
        nodes.push(NodeDiff { keys, ..node });
        match (&old.kind, &child.kind) {
            (ChildKind::Supervisor(old), ChildKind::Supervisor(new)) => children(old, new, &path, nodes),
            (ChildKind::Supervisor(old), _) => all(old, &path, Change::Removed, nodes),
            (_, ChildKind::Supervisor(new)) => all(new, &path, Change::Added, nodes),
            _ => {}
        }
    }
}

/// A child that comes or goes, with everything below it.
fn whole(child: &ChildDecl, path: &str, change: Change, nodes: &mut Vec<NodeDiff>) {
    let node = NodeDiff::new(path, child.name.as_str(), kind(child), change);
    let path = node.path.clone();
    nodes.push(node);
    if let ChildKind::Supervisor(below) = &child.kind {
        all(below, &path, change, nodes);
    }
}

fn all(decl: &SupervisorDecl, path: &str, change: Change, nodes: &mut Vec<NodeDiff>) {
    decl.children.iter().for_each(|child| whole(child, path, change, nodes));
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

fn kind(child: &ChildDecl) -> NodeKind {
    match child.kind {
        ChildKind::Session(_) => NodeKind::Session,
        ChildKind::Supervisor(_) | ChildKind::Template(_) => NodeKind::Supervisor,
        ChildKind::Custom { .. } => NodeKind::Worker,
    }
}

fn type_of(child: &ChildDecl) -> &str {
    match &child.kind {
        ChildKind::Session(_) => "session",
        ChildKind::Supervisor(_) => "supervisor",
        ChildKind::Template(_) => "template",
        ChildKind::Custom { type_name, .. } => type_name,
    }
}

impl fmt::Display for TreeDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for conflict in &self.conflicts {
            writeln!(f, "! {conflict}")?;
        }
        for node in &self.nodes {
            fmt::Display::fmt(node, f)?;
        }
        let same = self.nodes.iter().skip(1).filter(|node| node.change == Change::Unchanged).count();
        let (word, verb) = if same == 1 { ("child", "is") } else { ("children", "are") };
        writeln!(f, "{same} {word} {verb} unchanged")
    }
}

impl fmt::Display for NodeDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.path.is_empty() { "(the tree)" } else { &self.path };
        let kept = if self.kind == NodeKind::Session { "; its conversation is kept" } else { "" };
        match self.change {
            Change::Unchanged => return Ok(()),
            Change::Added => writeln!(f, "+ {name}: is started")?,
            Change::Removed => writeln!(f, "- {name}: is stopped{kept}")?,
            Change::Changed => writeln!(f, "~ {name}")?,
            Change::Replaced => writeln!(f, "± {name}: is stopped, and another is started in its place")?,
        }
        self.keys.iter().try_for_each(|key| writeln!(f, "    {key}"))
    }
}

impl fmt::Display for KeyDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, effect) = (&self.key, self.effect.said());
        if self.from.is_null() && self.to.is_null() {
            return write!(f, "{key} ({effect})");
        }
        write!(f, "{key}: {} → {} ({effect})", short(&self.from), short(&self.to))
    }
}

/// A value on one line that is not too long.
fn short(value: &Value) -> String {
    const MOST: usize = 60;
    if value.is_null() {
        return "unset".to_owned();
    }
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST).chain(['…']).collect()
}
