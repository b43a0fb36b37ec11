//! The place of a session of a template among the others, while it is being made.
//!
//! It counts from the moment at which it is reserved, so that of two who come at once for the last one the second is refused.
//! It must never be in the plan before its session is noted on disk: a supervisor that is restarted starts all that is.

use std::collections::HashSet;
use std::sync::Arc;

use treewarden_otp_core::supervisor::ChildId;
use treewarden_proto::SessionName;

use super::current::{Current, MadeOf};
use super::dynamic::{NewSessionError, branch_of};
use super::grow::{self, Branch, Grower, Handle, Handles, Path};
use super::names::{self, Members};
use crate::config::TemplateDecl;
use crate::host::Host;
use crate::session::Owner;
use crate::supervisor::ChildSpec;

/// A template of the tree, and the branch that its sessions hang in.
pub(super) struct Template {
    decl: TemplateDecl,
    above: Path,
    branch: Arc<Branch>,
}

impl Template {
    /// Finds the template for a session of this name, unless a session has that.
    pub(super) fn for_session(
        host: &Host,
        current: &Current,
        of: &str,
        name: &SessionName,
    ) -> Result<Self, NewSessionError> {
        let found = Self::find(&current.made_of(), of)?;
        // A session that is stopped, or that its supervisor is about to restart, has its name as well.
        if host.find(name.as_str()).is_some() {
            let is_declared = current.made_of().spec.names().contains(name);
            let taken = if is_declared { NewSessionError::Declared } else { NewSessionError::Taken };
            return Err(taken(name.clone()));
        }
        if let Some(what) = names::holder(&current.made_of().spec, name) {
            return Err(NewSessionError::NameOf { name: name.clone(), what });
        }
        Ok(found)
    }

    fn find(made_of: &MadeOf, name: &str) -> Result<Self, NewSessionError> {
        let Some((found, decl)) = made_of.spec.templates().find(|(found, _)| found.as_str() == name) else {
            let known = made_of.spec.templates().map(|(known, _)| known.to_string()).collect();
            return Err(NewSessionError::NoSuchTemplate { template: name.to_owned(), known });
        };
        let branch = branch_of(made_of, found).ok_or_else(|| NewSessionError::Down(name.to_owned()))?;
        Ok(Self { decl: decl.clone(), above: vec![found.clone()], branch })
    }
}

/// A place that is given back when it is dropped, unless its session was made.
#[derive(Debug)]
pub(super) struct Place<'c> {
    current: &'c Current,
    branch: Arc<Branch>,
    path: Path,
    spec: ChildSpec,
    owner: Arc<Owner>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It counts.
    Reserved,
    /// The next supervisor of its template starts its session.
    Planned,
    /// Its session was made.
    Kept,
}

impl<'c> Place<'c> {
    /// Reserves a place for a session of this name, which nobody else may make meanwhile.
    pub(super) fn reserve(
        host: &Host,
        current: &'c Current,
        of: &str,
        name: &SessionName,
    ) -> Result<Self, NewSessionError> {
        let Template { decl, above, branch } = Template::for_session(host, current, of, name)?;
        let child = decl.child(name);
        let path = grow::below(&above, name);
        // A session alone is made here; the names that the file declares are asked for by templates.
        let (mut handles, declared) = (Handles::new(), HashSet::new());
        let spec = Grower::new(host, &mut handles, &declared, &Members::new()).spec(&child, &above)?;
        let owner = match handles.get(&path) {
            Some(Handle::Session(owner)) => owner.upgrade(),
            _ => None,
        };
        let owner = owner.ok_or_else(|| NewSessionError::Down(of.to_owned()))?;
        {
            // Under one lock: what exists is counted, and this one counted with it.
            let mut plan = branch.plan();
            let exist = plan.children.len() + plan.reserved;
            if let Some(limit) = decl.limits.max_sessions.filter(|limit| exist >= *limit) {
                return Err(NewSessionError::Limit { name: name.clone(), template: of.to_owned(), limit });
            }
            plan.reserved += 1;
        }
        current.made_of().handles.extend(handles);
        Ok(Self { current, branch, path, spec, owner, stage: Stage::Reserved })
    }

    pub(super) fn template(&self) -> &SessionName {
        &self.path[0]
    }

    pub(super) fn id(&self) -> ChildId {
        ChildId::from(self.path[1].as_str())
    }

    pub(super) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// Has the session started with every supervisor of its template from now on, and returns what it is started by.
    pub(super) fn plan(&mut self) -> ChildSpec {
        let mut plan = self.branch.plan();
        plan.reserved -= 1;
        plan.children.push(self.spec.clone());
        self.stage = Stage::Planned;
        self.spec.clone()
    }

    /// The session has the place for as long as it exists.
    pub(super) fn keep(mut self) {
        self.stage = Stage::Kept;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        match self.stage {
            Stage::Kept => return,
            Stage::Reserved => give_back(&self.branch),
            Stage::Planned => {
                if take_out(&self.branch, &self.id()).is_some() {
                    give_back(&self.branch);
                }
            }
        }
        self.current.made_of().handles.remove(&self.path);
    }
}

/// Takes a session out of the plan of its branch; its name is free when what is returned is dropped.
///
/// Its place is reserved from then on: it is free with [`give_back`], when its supervisor has it no more.
pub(super) fn take_out(branch: &Branch, id: &ChildId) -> Option<ChildSpec> {
    let mut plan = branch.plan();
    let at = plan.children.iter().position(|spec| spec.id() == id)?;
    plan.reserved += 1;
    Some(plan.children.remove(at))
}

/// Gives back a place that is reserved.
pub(super) fn give_back(branch: &Branch) {
    branch.plan().reserved -= 1;
}
