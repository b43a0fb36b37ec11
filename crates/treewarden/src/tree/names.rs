//! Whose the names of a tree are: what a file declares and the sessions of templates share one table.
//!
//! It says which names two would have, and which pass from a template to the file. It is not for the names of sessions
//! that run, which are the host's registry's. A name that the file declares must never stay a template's on disk: the
//! session would come back beside the file's own at some later start.

use std::collections::{HashMap, HashSet};
use std::fmt;

use treewarden_proto::SessionName;
use treewarden_store::{Change, SessionRecord, Told};

use super::grow::Path;
use crate::config::{ChildDecl, ChildKind, SupervisorDecl, TreeSpec};
use crate::host::Host;

/// The sessions that exist of each template.
pub(super) type Members = HashMap<SessionName, Vec<SessionName>>;

/// A name that two would have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameConflict {
    /// Two children of one supervisor have it.
    #[error("two children of one supervisor are at {path:?}: give them different names")]
    Siblings {
        /// The place of both.
        path: String,
    },
    /// Two sessions of the tree have it.
    #[error("two sessions are named {name}, {first:?} and {second:?}: give them different names")]
    Sessions {
        /// The name.
        name: SessionName,
        /// The place of the one that has it first.
        first: String,
        /// The place of the other.
        second: String,
    },
    /// A child that comes has it, and is no session that could take the place of the template's.
    #[error(
        "{what} cannot be named {name}, as a session of the template {template} has that name: remove that one (treewarden \
         remove {name}), or choose another name"
    )]
    OfTemplate {
        /// The name.
        name: SessionName,
        /// The template of the session.
        template: SessionName,
        /// What the file declares under it.
        what: Named,
    },
}

/// What has a name in a tree, where that is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Named {
    /// A supervisor.
    Supervisor,
    /// A template.
    Template,
    /// A child of this registered type.
    Type(String),
}

impl Named {
    fn of(child: &ChildDecl) -> Option<Self> {
        match &child.kind {
            ChildKind::Session(_) => None,
            ChildKind::Supervisor(_) => Some(Self::Supervisor),
            ChildKind::Template(_) => Some(Self::Template),
            ChildKind::Custom { type_name, .. } => Some(Self::Type(type_name.clone())),
        }
    }
}

impl Named {
    /// What is said of something of this name to whoever took it for a session.
    pub(super) fn instead(&self, name: &str) -> String {
        match self {
            Self::Supervisor => format!(
                "that is a supervisor, which `treewarden restart {name}` starts anew with all below it; `treewarden tree` shows its \
                 sessions"
            ),
            Self::Template => {
                format!("that is a template, of which `treewarden new {name} NAME` makes a session")
            }
            Self::Type(_) => format!("that is {self}"),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervisor => f.write_str("a supervisor"),
            Self::Template => f.write_str("a template"),
            Self::Type(name) => write!(f, "a child of the type {name:?}"),
        }
    }
}

/// All conflicts in one text.
pub(super) fn listed(conflicts: &[NameConflict]) -> String {
    conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The names that two of a spec have: a file that says so is refused when it is read, and a spec that a program made here.
pub(super) fn doubles(spec: &TreeSpec) -> Vec<NameConflict> {
    let (mut children, mut sessions) = (HashSet::new(), HashMap::new());
    let mut found = Vec::new();
    walk(&spec.root, &mut Path::new(), &mut |child, place| {
        // By its place: a name may hold a `/`, and so two children one path.
        let path = joined(place);
        if !children.insert(place.to_vec()) {
            found.push(NameConflict::Siblings { path });
        } else if let ChildKind::Session(session) = &child.kind {
            let name = session.spec.name.as_ref().unwrap_or(&child.name);
            match sessions.get(name) {
                None => drop(sessions.insert(name.clone(), path)),
                Some(first) => found.push(NameConflict::Sessions {
                    name: name.clone(),
                    first: String::clone(first),
                    second: path,
                }),
            }
        }
    });
    found
}

/// The names that keep a tree with these sessions of templates from becoming what the new spec says.
///
/// A name that a session of a template has and another child had before is none of them: it would refuse changes that have
/// nothing to do with it.
pub(super) fn conflicts(old: &TreeSpec, new: &TreeSpec, members: &Members) -> Vec<NameConflict> {
    let mut found = doubles(new);
    let (before, after, declared) = (named(old), named(new), new.names());
    for (template, _) in new.templates() {
        for name in members.get(template).into_iter().flatten().filter(|name| !declared.contains(*name)) {
            let what = after.get(name).filter(|_| !before.contains_key(name));
            found.extend(what.map(|what| NameConflict::OfTemplate {
                name: name.clone(),
                template: template.clone(),
                what: what.clone(),
            }));
        }
    }
    found
}

/// What has this name in a tree, where that is no session.
pub(super) fn holder(spec: &TreeSpec, name: &SessionName) -> Option<Named> {
    named(spec).remove(name)
}

/// The sessions of templates whose names a file declares as sessions of its own, which take their place.
pub(super) fn handed_over<'m>(
    declared: &HashSet<SessionName>,
    members: impl IntoIterator<Item = &'m SessionName>,
) -> impl Iterator<Item = &'m SessionName> {
    members.into_iter().filter(|name| declared.contains(*name))
}

/// Notes durably, of sessions that the file declares, that they are the file's and no template's.
///
/// A failure is said, and stops nothing.
///
/// # Cancel safety
///
/// When the future is dropped, some may be noted.
pub(super) async fn take_over<'n>(host: &Host, names: impl IntoIterator<Item = &'n SessionName>) {
    for name in names {
        // Whoever holds the name has its record in memory, and would write back what was changed beside that.
        let noted = match host.find(name.as_str()).filter(|desk| desk.is_recorded()) {
            Some(desk) => desk.leave_template().await.map_err(|error| error.to_string()),
            None => leave_template(host, name).await,
        };
        // The session goes on: all that is wrong is what comes back once the file gives the name back.
        if let Err(error) = noted {
            tracing::error!(session = %name, error, "a session that the file declares is still a template's on disk");
        }
    }
}

/// The same of a record that no session has in memory, such as one of another conversation than the file names; it stays as
/// it is but for that.
async fn leave_template(host: &Host, name: &SessionName) -> Result<(), String> {
    let told = host.store().record(name.clone()).await.map_err(|error| error.to_string())?;
    if !matches!(told, Told::Record(record) if record.template.is_some()) {
        return Ok(());
    }
    let taken = host.store().take(name.clone()).await.map_err(|error| error.to_string())?;
    let Told::Record(record) = taken.told else { return Ok(()) };
    let change = Change { record: Some(SessionRecord { template: None, ..*record }), ..Change::default() };
    host.store().commit(taken.tenure, change).await.map(drop).map_err(|error| error.to_string())
}

/// Every child of a spec that is no session, by its name.
fn named(spec: &TreeSpec) -> HashMap<SessionName, Named> {
    let mut found = HashMap::new();
    walk(&spec.root, &mut Path::new(), &mut |child, _| {
        found.extend(Named::of(child).map(|what| (child.name.clone(), what)));
    });
    found
}

/// Goes through all children of a spec, each with its place.
fn walk<'d>(
    decl: &'d SupervisorDecl,
    place: &mut Path,
    each: &mut impl FnMut(&'d ChildDecl, &[SessionName]),
) {
    for child in &decl.children {
        place.push(child.name.clone());
        each(child, place);
        if let ChildKind::Supervisor(below) = &child.kind {
            walk(below, place, each);
        }
        place.pop();
    }
}

/// A place as people are shown it.
fn joined(place: &[SessionName]) -> String {
    place.iter().map(SessionName::as_str).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn spec(text: &str) -> TreeSpec {
        crate::config::parse(text, Path::new("/srv/treewarden.toml"))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn name(name: &str) -> SessionName {
        name.parse().expect("a name")
    }

    const TEAM: &str =
        "[[child]]\nname = \"team\"\ntype = \"supervisor\"\n[[child.child]]\nname = \"alice\"\n";

    #[test]
    fn a_spec_in_which_two_have_one_name_is_told_with_both_places() {
        let file = spec(&format!("{TEAM}[[child]]\nname = \"bob\"\n[[template]]\nname = \"chat\"\n"));
        assert_eq!(doubles(&file), []);
        let one_path = spec(&format!("{TEAM}[[child]]\nname = \"team/alice\"\n"));
        assert_eq!(doubles(&one_path), [], "a name may hold a slash");
        for (at, what) in [(0, "team"), (1, "bob"), (2, "chat")] {
            let mut twice = file.clone();
            twice.root.children.push(file.root.children[at].clone());
            let told = listed(&doubles(&twice));
            assert!(told.contains(&format!("two children of one supervisor are at {what:?}")), "{told}");
        }
        let mut twice = file.clone();
        twice.root.children.extend(spec("[[child]]\nname = \"alice\"\n").root.children);
        let told = listed(&doubles(&twice));
        assert_eq!(
            told,
            "two sessions are named alice, \"team/alice\" and \"alice\": give them different names"
        );
    }

    #[test]
    fn a_child_that_comes_with_the_name_of_a_templates_session_is_a_conflict_unless_it_is_a_session() {
        let chat = "[[template]]\nname = \"chat\"\n";
        let (old, members) =
            (spec(chat), Members::from([(name("chat"), vec![name("alice"), name("team"), name("bob")])]));
        let new = spec(&format!("{TEAM}{chat}[[template]]\nname = \"bob\"\n"));
        let what = |conflict: NameConflict| match conflict {
            NameConflict::OfTemplate { name, template, what } => format!("{what} {name} of {template}"),
            other => panic!("{other}"),
        };
        let told: Vec<String> = conflicts(&old, &new, &members).into_iter().map(what).collect();
        assert_eq!(told, ["a supervisor team of chat", "a template bob of chat"]);
        assert_eq!(conflicts(&new, &new, &members), [], "what is so already is no reason to refuse a change");
        let gone = spec(TEAM);
        assert_eq!(conflicts(&old, &gone, &members), [], "its sessions go with the template");
        let declared = new.names();
        assert_eq!(handed_over(&declared, &members[&name("chat")]).collect::<Vec<_>>(), [&name("alice")]);
    }

    #[tokio::test]
    async fn a_record_of_another_conversation_than_is_named_leaves_its_template_and_is_kept() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let host = Host::options().state_dir(dir.path()).open().expect("a host can be opened");
        let store = host.store();
        let mut before = SessionRecord::new(name("alice"), treewarden_proto::SessionId::random());
        before.template = Some(name("chat"));
        before.stopped = true;
        let tenure = store.take(name("alice")).await.expect("taken").tenure;
        let change = Change { record: Some(before.clone()), ..Change::default() };
        store.commit(tenure, change).await.expect("stored");
        take_over(&host, [&name("alice"), &name("nobody")]).await;
        let told = store.record(name("alice")).await.expect("read");
        let Told::Record(after) = told else { panic!("it has a record: {told:?}") };
        assert_eq!((after.template, after.stopped, after.session_id), (None, true, before.session_id));
        assert_eq!(store.record(name("nobody")).await.expect("read"), Told::Never);
    }
}
