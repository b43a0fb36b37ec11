//! The sessions of templates: made and removed while the tree runs.
//!
//! A template is a supervisor whose children are not in the file but in the store: each has the template's name in its
//! record for as long as it exists, so that it comes back when its tree starts again. What it was made with stands in the
//! plan of the template's branch, so that it comes back when its supervisor is restarted.
//!
//! It is not for the children of the file, which only [`apply`](super::apply) adds and removes. It must never end a
//! session that the file declares, and never give a name that is taken.
//!
//! Nobody who makes or removes a session waits for another who does, since a supervisor may be busy; and a change of the tree
//! meets no session halfway. So they have the tree's `members` in common, and a change has them alone:
//!
//! | beside | a session is made | a session is removed |
//! |---|---|---|
//! | another is made | both reserve their places in one step each ([`Place`]): no more than may | the place is free when the supervisor is without the one that goes |
//! | the same is made | one after the other, and the second finds the name taken | one after the other: the removal finds it made, or gone if it did not start |
//! | the same is removed | refused at once, as long as the name is held | one after the other: the second finds nothing left, and that is no failure |
//! | a change of the tree | one waits for the other: a change finds it in the plan and with its supervisor, or in neither | its CLI is put down meanwhile; then one waits for the other. Where the change was first and took the template, that it is removed is noted all the same |
//! | the end of the template's supervisor | the next one starts what is in the plan; otherwise it is taken back, also out of the next one | the next one starts what is in the plan, and it is out of that first |
//! | its restart by name | as a change of the tree | as a change of the tree |
//! | a start or a restart of the session | its supervisor does one after the other | refused, and one that came before is ended |
//!
//! Locks: the tree's `members`, then a name's, then what the tree is made of, then a branch's plan; the last two are held for
//! memory only, and a supervisor is waited for under the first two.

use std::sync::Arc;
use std::time::{Duration, Instant};

use treewarden_proto::SessionName;

use super::current::{Current, MadeOf};
use super::grow::{Branch, Handle, Path};
use super::names::{Members, Named};
use super::place::{self, Place, Template};
use crate::events::RemovalReason;
use crate::host::Host;
use crate::session::{QueryError, Session, StartError};
use crate::suggest::no_such;
use crate::supervisor::{ChildId, ChildSpec, StartChildError, Supervisor};

/// How long the making or the removal of a session waits for a change of the tree that is under way.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a session was not made.
///
/// # Examples
///
/// ```no_run
/// # async fn run(tree: treewarden::Tree) -> Result<(), Box<dyn std::error::Error>> {
/// use treewarden::tree::NewSessionError;
///
/// let session = match tree.new_session("chat", "user/ann").await {
///     Ok(session) => session,
///     // Another request of hers made it a moment ago.
///     Err(NewSessionError::Taken(name)) => tree.find_session(name.as_str())?,
///     Err(error) => return Err(error.into()),
/// };
/// println!("{}", session.query("Hello!").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NewSessionError {
    /// The tree has no such template.
    #[error("make a session of the template {template:?}: {}", no_template(.template, .known))]
    NoSuchTemplate {
        /// The name.
        template: String,
        /// The templates that there are.
        known: Vec<String>,
    },
    /// The name is not one that a session can have.
    #[error(
        "make the session {0:?}: its name must be segments of A-Z a-z 0-9 . _ - joined by /, none empty or beginning with a \
         dot, at most 128 bytes"
    )]
    InvalidName(String),
    /// The file declares a session of the name: it is there, runs or is stopped, and is not one to be removed.
    #[error(
        "make the session {0}: the config file declares a session of that name; use that one, take it out of the file and reload, or \
         choose another name"
    )]
    Declared(SessionName),
    /// A session that was made has the name, runs or is stopped.
    #[error(
        "make the session {0}: there is one of that name; use it, remove it first, or choose another name"
    )]
    Taken(SessionName),
    /// The name is that of another child of the tree, which could not be reached by it any more.
    #[error("make the session {name}: {what} of the tree has that name; choose another name")]
    NameOf {
        /// The name.
        name: SessionName,
        /// What has it.
        what: Named,
    },
    /// As many sessions of the template exist as may.
    #[error(
        "make the session {name}: as many sessions of the template {template} exist as may ({limit}); remove one, or raise its \
         max_sessions"
    )]
    Limit {
        /// The name.
        name: SessionName,
        /// The template.
        template: String,
        /// How many may exist.
        limit: usize,
    },
    /// The supervisor of the template is down.
    #[error(
        "make a session of the template {0}: its supervisor is down; restart it, or try again when it is up"
    )]
    Down(String),
    /// A change of the tree took too long.
    #[error("make a session: a change of the tree is under way; try again when it is done")]
    Busy,
    /// The tree is stopping, or has ended.
    #[error("make a session: the tree is stopping")]
    Stopping,
    /// It did not start, and nothing is left of it but its record.
    #[error("{0}")]
    Start(#[from] StartError),
}

fn no_template(name: &str, known: &[String]) -> String {
    let none = no_such("template", name, known);
    if known.is_empty() { format!("{none}, as the tree's file has no [[template]]") } else { none }
}

/// Why a session was not removed, or not wholly.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveSessionError {
    /// No session has this name, or it is being removed already; nothing was done. The text says which, and which name is near.
    #[error("remove the session: {0}")]
    NotFound(String),
    /// The session was not made of a template; nothing was done.
    #[error(
        "remove the session {0}: it is declared in the config file; take it out there and reload, or stop it"
    )]
    Declared(String),
    /// The session's record is lost, and with it where its removal would be noted; nothing was done.
    #[error(
        "remove the session {0}: its record is lost, and it would come back with the next tree; have it go on (`treewarden adopt {0} \
         ID`) or begin anew (`treewarden clear {0}`) first"
    )]
    Lost(String),
    /// A change of the tree took too long: the session is ended, and its name is still its own.
    #[error(
        "remove the session {0}: a change of the tree is under way, and it is only stopped; remove it again"
    )]
    Busy(String),
    /// The tree is stopping, or has ended.
    #[error("remove the session: the tree is stopping")]
    Stopping,
    /// The session is removed, and that could not be stored: it comes back when its tree starts again.
    #[error("{name} is removed, and comes back with the next tree: {why}")]
    NotNoted {
        /// The session.
        name: String,
        /// Why it could not be stored.
        why: String,
    },
    /// The session is removed, and processes of it live on that may not be ended.
    #[error("{0}")]
    NotGone(QueryError),
}

pub(super) async fn start(
    root: Supervisor,
    host: Host,
    current: Arc<Current>,
    of: String,
    name: &str,
) -> Result<Session, NewSessionError> {
    let name = SessionName::new(name).map_err(|_| NewSessionError::InvalidName(name.to_owned()))?;
    // Waited for outside the task: a caller who goes meanwhile has made nothing.
    let members = current.one_member(PATIENCE).await.ok_or(NewSessionError::Busy)?;
    // The rest is a task: a session that is noted on disk must be started or taken back, whoever still waits.
    let task = tokio::spawn(async move {
        let _members = members;
        if current.is_stopping() || !root.is_alive() {
            return Err(NewSessionError::Stopping);
        }
        // Asked here as well, so that a name that is taken is refused at once, and not behind its removal.
        let _there_is_one = Template::for_session(&host, &current, &of, &name)?;
        current.under_name(name.clone(), add(&root, &host, &current, &of, name)).await
    });
    task.await.unwrap_or(Err(NewSessionError::Stopping))
}

async fn add(
    root: &Supervisor,
    host: &Host,
    current: &Current,
    of: &str,
    name: SessionName,
) -> Result<Session, NewSessionError> {
    let mut place = Place::reserve(host, current, of, &name)?;
    let down = || NewSessionError::Down(of.to_owned());
    let supervisor = running(root, place.template()).await.ok_or_else(down)?;
    // It has the name from here on, until the last of what starts it is gone.
    let owner = Arc::clone(place.owner());
    // Noted before it starts: a session that answered, and is gone after a crash of the host, would be forgotten with its
    // turns.
    let desk = owner.enlist(place.template()).await?;
    // The session is in the plan before it is started: a supervisor that is restarted in between starts it
    // too.
    let spec = place.plan();
    let error = match supervisor.start_child(spec).await {
        // The supervisor was restarted meanwhile, and had the session in its plan.
        Ok(_) | Err(StartChildError::AlreadyStarted { .. }) => {
            place.keep();
            return Ok(Session::named_in(host, name.as_str()));
        }
        Err(error) => error,
    };
    let (template, id) = (place.template().clone(), place.id());
    // First out of the plan, or the template's next supervisor would start it; then out of the one that had it
    // in its plan already.
    drop(place);
    if let Some(supervisor) = running(root, &template).await {
        supervisor.forget(&id).await;
    }
    if let Err(why) = desk.enlist(None).await {
        tracing::error!(session = %name, why, "a session that did not start comes back with the next tree");
    }
    Err(match error {
        // It has ended since it was looked for.
        StartChildError::NoProc => down(),
        error => StartError::supervisor(&error).into(),
    })
}

/// The supervisor of a template, if it runs.
async fn running(root: &Supervisor, template: &SessionName) -> Option<Supervisor> {
    let child = root.child(template.as_str()).await.ok()?;
    child.extension::<Supervisor>().cloned()
}

/// What is to be removed: a session by its name, or one that has been idle since then.
#[derive(Debug, Clone)]
pub(super) struct Removal {
    pub(super) name: String,
    pub(super) idle_since: Option<Instant>,
}

/// Removes a session that was made of a template; `false` if it was to be idle and is not.
pub(super) async fn remove(
    root: Supervisor,
    host: Host,
    current: Arc<Current>,
    removal: Removal,
) -> Result<bool, RemoveSessionError> {
    if current.is_stopping() || !root.is_alive() {
        return Err(RemoveSessionError::Stopping);
    }
    // It goes on when the caller is gone: a session must not be left half removed.
    let task = tokio::spawn(async move { take_out(&root, &host, &current, removal).await });
    task.await.unwrap_or(Err(RemoveSessionError::Stopping))
}

async fn take_out(
    root: &Supervisor,
    host: &Host,
    current: &Arc<Current>,
    removal: Removal,
) -> Result<bool, RemoveSessionError> {
    let Removal { name, idle_since } = removal;
    let Some(desk) = host.find(&name) else {
        return Err(RemoveSessionError::NotFound(no_such("session", &name, &host.known_names())));
    };
    let path = match place_of(current, &name) {
        Some(path) => path,
        // Another removal is at its end.
        None if desk.is_being_removed() => {
            return Err(RemoveSessionError::NotFound(format!("{name} is being removed already")));
        }
        None => return Err(RemoveSessionError::Declared(name)),
    };
    if desk.lost().is_some() {
        return Err(RemoveSessionError::Lost(name));
    }
    let why = match idle_since {
        Some(_) => "the session was removed, as it had nothing to do for remove_idle; make it again",
        None => "the session was removed; make it again",
    };
    if idle_since.is_some_and(|since| !desk.close_if_idle(since, why)) {
        return Ok(false);
    }
    // Before the locks and outside its supervisor: the end of a CLI may take seconds, and keeps nobody waiting.
    desk.put_down_for_removal(why).await;
    let Some(_members) = current.one_member(PATIENCE).await else {
        desk.call_off_removal(
            "the session is only stopped, since its removal met a change of the tree; remove it again",
        );
        return Err(RemoveSessionError::Busy(name));
    };
    let removed = current.under_name(path[1].clone(), async {
        // Nobody has the name where another removal, or a reload that took the template, was first; it is noted
        // all the same. Whoever has it by now is another session.
        if host.find(&name).is_some_and(|holder| !Arc::ptr_eq(&holder, &desk)) {
            return Err(RemoveSessionError::Busy(name));
        }
        let supervisor = running(root, &path[0]).await;
        let spec = forget(current, &path, supervisor.as_ref()).await;
        let noted = match desk.enlist(None).await {
            Ok(()) => desk.unstored().await.map_or(Ok(()), Err),
            unnoted => unnoted,
        };
        // Last, since the name is free with the last spec: nobody else may have the record before it is noted.
        drop(spec);
        desk.close(why);
        // Its lease is free by now, and whoever makes a session of the name waits.
        desk.leave_template_in_lease().await;
        desk.note_removed(if idle_since.is_some() { RemovalReason::Idle } else { RemovalReason::Asked });
        noted.map_err(|why| RemoveSessionError::NotNoted { name, why })
    });
    removed.await?;
    desk.is_gone().map_err(RemoveSessionError::NotGone)?;
    Ok(true)
}

/// Takes a session out of the plan of its branch, out of its supervisor, and out of what can be changed; its name is free
/// when what is returned is dropped.
async fn forget(current: &Current, path: &Path, supervisor: Option<&Supervisor>) -> Option<ChildSpec> {
    let (template, name) = (&path[0], &path[1]);
    let id = ChildId::from(name.as_str());
    // The plan is changed first: a supervisor that is restarted in between must not start the session again.
    let branch = branch_of(&current.made_of(), template);
    let spec = branch.as_deref().and_then(|branch| place::take_out(branch, &id));
    if let Some(supervisor) = supervisor {
        supervisor.forget(&id).await;
    }
    if let (Some(branch), Some(_)) = (&branch, &spec) {
        place::give_back(branch);
    }
    current.made_of().handles.remove(path);
    spec
}

/// The place of a session that was made of a template.
fn place_of(current: &Current, name: &str) -> Option<Path> {
    let name = SessionName::new(name).ok()?;
    let made_of = current.made_of();
    let mut places = made_of.spec.templates().map(|(template, _)| vec![template.clone(), name.clone()]);
    places.find(|place| matches!(made_of.handles.get(place), Some(Handle::Session(_))))
}

/// The sessions that exist of a template, by the names in its branch.
pub(super) fn names_in(branch: &Branch) -> Vec<SessionName> {
    branch.plan().children.iter().filter_map(|spec| SessionName::new(spec.id().as_str()).ok()).collect()
}

/// The same by the template's name; none if its supervisor is gone for good.
pub(super) fn names_of(made_of: &MadeOf, template: &SessionName) -> Vec<SessionName> {
    branch_of(made_of, template).as_deref().map(names_in).unwrap_or_default()
}

/// The sessions that exist of each template.
pub(super) fn members(made_of: &MadeOf) -> Members {
    made_of.spec.templates().map(|(template, _)| (template.clone(), names_of(made_of, template))).collect()
}

/// The branch of a template, unless its supervisor is gone for good.
pub(super) fn branch_of(made_of: &MadeOf, template: &SessionName) -> Option<Arc<Branch>> {
    match made_of.handles.get(std::slice::from_ref(template)) {
        Some(Handle::Branch(branch)) => branch.upgrade(),
        _ => None,
    }
}
