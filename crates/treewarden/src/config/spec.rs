//! A whole tree, resolved: nothing in it can be refused later.
//!
//! It is what a file, or a program, says. It is not what runs, which is [`Tree`](crate::Tree)'s.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use treewarden_otp_core::supervisor::Flags;
use treewarden_proto::SessionName;
use treewarden_proto::spec::duration;
use treewarden_store::{Durability, Keep};

use crate::session::SessionOptions;
use crate::supervision::Supervision;
use crate::supervisor::StartChild;

/// A whole tree as a file describes it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TreeSpec {
    /// Where records, journal and leases are kept; unset is the user's state directory.
    pub state_dir: Option<PathBuf>,
    /// What an accepted turn survives.
    /// The death of the host, unless it says otherwise.
    pub durability: Durability,
    /// How many CLIs may live at once; unset is no limit.
    pub max_live: Option<usize>,
    /// How many settled turns of each session are kept.
    /// 1,000 by default.
    pub keep_turns: usize,
    /// How long settled turns are kept.
    /// Three months by default.
    pub keep_turns_for: Duration,
    /// How long the ids of removed turns are known.
    /// A year by default.
    pub keep_ids: Duration,
    /// The root supervisor.
    pub root: SupervisorDecl,
}

impl Default for TreeSpec {
    fn default() -> Self {
        let Keep { turns, age, ids } = Keep::default();
        Self {
            state_dir: None,
            durability: Durability::default(),
            max_live: None,
            keep_turns: turns.unwrap_or(usize::MAX),
            keep_turns_for: age.unwrap_or(Duration::MAX),
            keep_ids: ids,
            root: SupervisorDecl::default(),
        }
    }
}

impl TreeSpec {
    /// What the store of the tree is to keep.
    pub fn keep(&self) -> Keep {
        Keep { turns: Some(self.keep_turns), age: Some(self.keep_turns_for), ids: self.keep_ids }
    }

    /// Every session that the file declares, in the order of their starts; those that are made of templates are not in it.
    pub fn sessions(&self) -> Vec<&SessionOptions> {
        let mut found = Vec::new();
        self.root.collect(&mut found);
        found
    }

    /// Tells whether this is so of any session, those that are made of templates included.
    pub fn any_session(&self, is_so: impl Fn(&SessionOptions) -> bool) -> bool {
        let of_template = |(_, template): (&SessionName, &TemplateDecl)| match &template.session.kind {
            ChildKind::Session(session) => is_so(session),
            _ => false,
        };
        self.sessions().into_iter().any(&is_so) || self.templates().any(of_template)
    }

    /// Every template that the file declares, by its name.
    pub fn templates(&self) -> impl Iterator<Item = (&SessionName, &TemplateDecl)> {
        self.root.children.iter().filter_map(|child| match &child.kind {
            ChildKind::Template(template) => Some((&child.name, &**template)),
            _ => None,
        })
    }

    /// The names of the sessions that the file declares.
    pub(crate) fn names(&self) -> HashSet<SessionName> {
        self.sessions().into_iter().filter_map(|session| session.spec.name.clone()).collect()
    }
}

/// A supervisor of the tree.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SupervisorDecl {
    /// Its strategy, budget and the like.
    pub flags: Flags,
    /// Its children, in the order in which they are started.
    pub children: Vec<ChildDecl>,
}

impl SupervisorDecl {
    fn collect<'a>(&'a self, found: &mut Vec<&'a SessionOptions>) {
        for child in &self.children {
            match &child.kind {
                ChildKind::Session(session) => found.push(session),
                ChildKind::Supervisor(supervisor) => supervisor.collect(found),
                ChildKind::Custom { .. } | ChildKind::Template(_) => {}
            }
        }
    }
}

/// A child of the tree.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildDecl {
    /// Its name, unique among its siblings.
    pub name: SessionName,
    /// How it is supervised.
    pub supervision: Supervision,
    /// What it is.
    pub kind: ChildKind,
}

/// What a child is.
#[derive(Clone)]
#[non_exhaustive]
pub enum ChildKind {
    /// A session; its options agree with each other, and its name is set.
    ///
    /// What only a program can set of them, such as their host, is the tree's, or is not compared by a diff.
    Session(Box<SessionOptions>),
    /// A supervisor with children of its own.
    Supervisor(SupervisorDecl),
    /// A supervisor whose sessions are made and removed while the tree runs.
    Template(Box<TemplateDecl>),
    /// Something that the embedding program knows how to start.
    Custom {
        /// The name of the type.
        type_name: String,
        /// Its own options, as the file has them.
        options: Map<String, Value>,
        /// What starts it.
        start: Arc<dyn StartChild>,
    },
}

impl fmt::Debug for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => f.debug_tuple("Session").field(session).finish(),
            Self::Supervisor(supervisor) => f.debug_tuple("Supervisor").field(supervisor).finish(),
            Self::Template(template) => f.debug_tuple("Template").field(template).finish(),
            Self::Custom { type_name, .. } => f.debug_tuple("Custom").field(type_name).finish(),
        }
    }
}

/// A template: what its sessions are made of, and how many there may be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TemplateDecl {
    /// The budget of its supervisor, and the like.
    pub flags: Flags,
    /// How many sessions there may be, and for how long.
    pub limits: TemplateLimits,
    /// The session that each of them is but for its name, under the template's.
    pub session: ChildDecl,
}

/// How many sessions of a template there may be, and for how long.
///
/// This is the one form of a template's own options: a file's table is read into it, unknown keys refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TemplateLimits {
    /// How many may exist at once; unset is no limit.
    pub max_sessions: Option<usize>,
    /// How long one may be idle before it is removed; unset is for ever.
    #[serde(with = "duration::option")]
    pub remove_idle: Option<Duration>,
}

impl TemplateDecl {
    /// The session of this name.
    pub(crate) fn child(&self, name: &SessionName) -> ChildDecl {
        let mut child = ChildDecl { name: name.clone(), ..self.session.clone() };
        if let ChildKind::Session(session) = &mut child.kind {
            session.spec.name = Some(name.clone());
        }
        child
    }

    /// The supervisor that has sessions of these names.
    pub(crate) fn with<'n>(&self, names: impl IntoIterator<Item = &'n SessionName>) -> SupervisorDecl {
        let children = names.into_iter().map(|name| self.child(name)).collect();
        SupervisorDecl { flags: self.flags.clone(), children }
    }
}
