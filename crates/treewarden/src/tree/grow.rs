//! From what a file declares to supervisors and child specs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use treewarden_otp_core::ExitReason;
use treewarden_proto::SessionName;

use super::names::Members;
use crate::config::{ChildDecl, ChildKind, SupervisorDecl};
use crate::host::Host;
use crate::session::{LostName, Owner, SessionChild, SessionOptions, StartError};
use crate::supervisor::{
    ChildSpec, Flags, GiveUp, Info, Kind, StartChild, StartContext, StartFuture, Started, Supervisor,
    SupervisorBuilder,
};

/// The place of a child: the names from the root down.
pub(super) type Path = Vec<SessionName>;

/// Enough of a child to change it, and not enough to keep it.
#[derive(Debug, Clone)]
pub(super) enum Handle {
    Session(Weak<Owner>),
    Branch(Weak<Branch>),
}

impl Handle {
    /// The child's spec with another supervision; `None` if nothing can start it any more.
    pub(super) fn spec(&self, child: &ChildDecl) -> Option<ChildSpec> {
        let id = child.name.as_str();
        let spec = match self {
            Self::Session(owner) => {
                ChildSpec::new(id, SessionChild::of(owner.upgrade()?)).shutdown(SessionOptions::SHUTDOWN)
            }
            Self::Branch(branch) => ChildSpec::new(id, Shoot(branch.upgrade()?)).kind(Kind::Supervisor),
        };
        Some(child.supervision.of(spec))
    }
}

/// The children of a tree that can be changed while they run.
pub(super) type Handles = HashMap<Path, Handle>;

/// Makes child specs of what a file declares.
#[derive(Debug)]
pub(super) struct Grower<'g> {
    host: &'g Host,
    handles: &'g mut Handles,
    /// The sessions that the file declares.
    declared: &'g HashSet<SessionName>,
    /// The sessions that were made of templates.
    members: &'g Members,
}

impl<'g> Grower<'g> {
    pub(super) fn new(
        host: &'g Host,
        handles: &'g mut Handles,
        declared: &'g HashSet<SessionName>,
        members: &'g Members,
    ) -> Self {
        Self { host, handles, declared, members }
    }

    /// Makes the specs of all children of a supervisor, down to the leaves.
    pub(super) fn plan(&mut self, decl: &SupervisorDecl, path: &Path) -> Result<Plan, StartError> {
        let children =
            decl.children.iter().map(|child| self.spec(child, path)).collect::<Result<_, StartError>>()?;
        Ok(Plan { flags: decl.flags.clone(), children, reserved: 0, stops_at_once: false })
    }

    /// Makes the spec of a child of the supervisor at `path`.
    pub(super) fn spec(&mut self, child: &ChildDecl, path: &Path) -> Result<ChildSpec, StartError> {
        let id = child.name.as_str();
        let place = below(path, &child.name);
        let spec = match &child.kind {
            ChildKind::Session(session) => {
                let (spec, owner) = SessionOptions::clone(session).child(self.host)?;
                self.handles.insert(place, Handle::Session(owner));
                spec
            }
            ChildKind::Supervisor(decl) => {
                let plan = self.plan(decl, &place)?;
                self.branch(id, place, plan)
            }
            ChildKind::Template(template) => {
                let names = self.members(&child.name);
                let plan = self.plan(&template.with(&names), &place)?;
                self.branch(id, place, Plan { stops_at_once: true, ..plan })
            }
            ChildKind::Custom { start, .. } => ChildSpec::from_arc(id, Arc::clone(start)),
        };
        Ok(child.supervision.of(spec))
    }

    fn branch(&mut self, id: &str, place: Path, plan: Plan) -> ChildSpec {
        let branch = Arc::new(Branch { plan: Mutex::new(plan) });
        self.handles.insert(place, Handle::Branch(Arc::downgrade(&branch)));
        ChildSpec::new(id, Shoot(branch)).kind(Kind::Supervisor)
    }

    /// The sessions of a template that come back; the file has the names that it declares.
    fn members(&self, template: &SessionName) -> Vec<SessionName> {
        let mut names = self.members.get(template).cloned().unwrap_or_default();
        let declared = self.declared;
        names.retain(|name| {
            let free = !declared.contains(name);
            if !free {
                tracing::warn!(session = %name, %template, "a session of a template is not started: the file declares its name");
            }
            free
        });
        names
    }
}

/// The sessions that were made of each template and not removed since, by the store: also those whose records are lost, and of
/// which their leases name the template.
pub(super) async fn members(host: &Host) -> Result<Members, StartError> {
    let all = host.store().records().await.map_err(|error| StartError::store(&error))?;
    let mut members = Members::new();
    for record in all {
        if let Some(template) = record.template {
            members.entry(template).or_default().push(record.name);
        }
    }
    // Behind the records, whose damage is found when they are read.
    let lost = host.lost_names().await.map_err(|error| StartError::store(&error))?;
    for LostName { name, template, .. } in lost {
        if let Some(template) = template {
            members.entry(template).or_default().push(name);
        }
    }
    Ok(members)
}

pub(super) fn below(path: &Path, name: &SessionName) -> Path {
    path.iter().chain([name]).cloned().collect()
}

/// What a supervisor of the tree is made of at its next start.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) flags: Flags,
    pub(super) children: Vec<ChildSpec>,
    /// So many more are being made or removed: they count, and the next supervisor does not start them.
    pub(super) reserved: usize,
    /// The children do not need each other, and there may be many.
    stops_at_once: bool,
}

impl Plan {
    pub(super) fn builder(&self) -> SupervisorBuilder {
        let builder = Supervisor::builder().flags(self.flags.clone()).children(self.children.iter().cloned());
        if self.stops_at_once { builder.stop_at_once() } else { builder }
    }
}

/// A supervisor below the root. Its specs are the same at every start, so that its sessions keep their desks.
#[derive(Debug)]
pub(super) struct Branch {
    plan: Mutex<Plan>,
}

impl Branch {
    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a branch.
#[derive(Debug)]
struct Shoot(Arc<Branch>);

impl StartChild for Shoot {
    fn start(&self, context: StartContext) -> StartFuture {
        let branch = self.0.clone();
        Box::pin(async move {
            // The plan is copied: the start waits for the children, and whoever changes the plan must not
            // wait for that.
            let plan = branch.plan().clone();
            let (supervisor, child) = plan.builder().start_child_of(&context).await?;
            Ok(Started::RunningWith(child, Info::new(supervisor)))
        })
    }

    fn given_up(&self, how: GiveUp, last_exit: Option<&ExitReason>) {
        let plan = self.0.plan().clone();
        plan.children.iter().for_each(|spec| spec.parked_with(how, last_exit));
    }
}
