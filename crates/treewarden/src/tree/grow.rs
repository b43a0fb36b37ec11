//! From what a file declares to supervisors and child specs.

use std::sync::Arc;

use crate::config::{ChildDecl, ChildKind, SessionDecl, SupervisorDecl};
use crate::host::Host;
use crate::session::{SessionOptions, StartError};
use crate::supervisor::{
    ChildSpec, Info, Kind, StartChild, StartContext, StartFuture, Started, Supervisor, SupervisorBuilder,
};

/// A supervisor that is ready to be started, and the sessions that are its children.
#[derive(Debug, Clone)]
pub(super) struct Grown {
    pub(super) builder: SupervisorBuilder,
    sessions: Arc<[String]>,
}

impl Grown {
    /// Makes the specs of all children, down to the leaves.
    pub(super) fn new(decl: &SupervisorDecl, host: &Host) -> Result<Self, StartError> {
        let mut builder = Supervisor::builder().flags(decl.flags.clone());
        let mut sessions = Vec::new();
        for child in &decl.children {
            if matches!(child.kind, ChildKind::Session(_)) {
                sessions.push(child.name.to_string());
            }
            builder = builder.child(spec(child, host)?);
        }
        Ok(Self { builder, sessions: sessions.into() })
    }

    /// Tells the sessions who supervises them: that is whom `stop` and `restart` have to ask.
    pub(super) fn adopt(&self, host: &Host, supervisor: &Supervisor) {
        for desk in self.sessions.iter().filter_map(|name| host.find(name)) {
            desk.set_supervisor(supervisor.clone());
        }
    }
}

fn spec(child: &ChildDecl, host: &Host) -> Result<ChildSpec, StartError> {
    let id = child.name.as_str();
    let spec = match &child.kind {
        ChildKind::Session(session) => options(session).child_spec(host)?,
        ChildKind::Supervisor(decl) => {
            let grown = Grown::new(decl, host)?;
            ChildSpec::new(id, Branch { grown, host: host.clone() }).kind(Kind::Supervisor)
        }
        ChildKind::Custom { start, .. } => ChildSpec::from_arc(id, Arc::clone(start)),
    };
    let spec = spec.restart(child.restart).significant(child.significant);
    let spec = match child.shutdown {
        Some(shutdown) => spec.shutdown(shutdown),
        None => spec,
    };
    Ok(match &child.backoff {
        Some(backoff) => spec.backoff(backoff.clone()),
        None => spec,
    })
}

fn options(session: &SessionDecl) -> SessionOptions {
    let mut options = SessionOptions::from(session.spec.clone());
    if let Some(timeout) = session.idle_timeout {
        options = options.idle_timeout(timeout);
    }
    if let Some(timeout) = session.silence_timeout {
        options = options.silence_timeout(timeout);
    }
    if let Some(timeout) = session.start_timeout {
        options = options.start_timeout(timeout);
    }
    if let Some(timeout) = session.drain_timeout {
        options = options.drain_timeout(timeout);
    }
    if let Some(delivery) = session.delivery {
        options = options.delivery(delivery);
    }
    options
}

/// A supervisor below the root. Its specs are the same at every start, so that its sessions keep their desks.
struct Branch {
    grown: Grown,
    host: Host,
}

impl StartChild for Branch {
    fn start(&self, context: StartContext) -> StartFuture<'_> {
        Box::pin(async move {
            let (supervisor, child) = self.grown.builder.clone().start_child_of(&context).await?;
            self.grown.adopt(&self.host, &supervisor);
            Ok(Started::RunningWith(child, Info::new(supervisor)))
        })
    }
}
