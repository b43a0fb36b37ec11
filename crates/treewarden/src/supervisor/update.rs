//! Changes the children of a supervisor that runs: first shown as a diff, then applied.
//!
//! OTP's counterpart is `code_change`, which leaves running children as they are
//! ([`Supervisor::code_change`](super::Supervisor::code_change)). This is for configuration: what is gone is stopped,
//! what is new is started, what has changed is restarted, and nothing else is touched.

use std::fmt;
use std::sync::Arc;

use treewarden_core::ExitReason;
use treewarden_core::supervisor::{ChildId, ChildSpec as CoreSpec, NoProc, RestartChildError, Target};

use super::children::{ChildState, StartChildError};
use super::handle::Supervisor;
use super::live::{Factory, Reply, Request};
use super::spec::ChildSpec;

/// What an update would do.
#[derive(Debug, Clone, Default)]
pub struct Diff {
    added: Vec<ChildSpec>,
    changed: Vec<ChildSpec>,
    removed: Vec<ChildId>,
    unchanged: Vec<ChildId>,
}

impl Diff {
    /// The children that would be started, in order.
    pub fn added(&self) -> &[ChildSpec] {
        &self.added
    }

    /// The children that would be restarted with another spec.
    pub fn changed(&self) -> &[ChildSpec] {
        &self.changed
    }

    /// The children that would be stopped and forgotten, newest first.
    #[must_use]
    pub fn removed(&self) -> &[ChildId] {
        &self.removed
    }

    /// The children that would not be touched.
    #[must_use]
    pub fn unchanged(&self) -> &[ChildId] {
        &self.unchanged
    }

    /// Says whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in &self.removed {
            writeln!(f, "- {id}")?;
        }
        for spec in &self.changed {
            writeln!(f, "~ {}", spec.id())?;
        }
        for spec in &self.added {
            writeln!(f, "+ {}", spec.id())?;
        }
        Ok(())
    }
}

/// Says which children an update could not start; everything else is as the diff said.
#[derive(Debug, Clone, thiserror::Error)]
#[error("apply the update: {} of the children did not start", failed.len())]
pub struct ApplyError {
    /// The children that did not start, and why.
    pub failed: Vec<(ChildId, ExitReason)>,
}

impl Supervisor {
    /// Compares the children with a list of specs; nothing is changed.
    ///
    /// Two specs are the same when all their settings are, and their factories are one or have equal
    /// [`fingerprint`](super::StartChild::fingerprint)s. A temporary child that runs counts as unchanged.
    ///
    /// # Errors
    ///
    /// The supervisor has ended.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn diff(&self, specs: Vec<ChildSpec>) -> Result<Diff, NoProc> {
        let mut diff = Diff::default();
        let present = self.which_children().await?;
        let named = |id: &ChildId| specs.iter().any(|spec| spec.id() == id);
        diff.removed = present.iter().map(|child| child.id.clone()).filter(|id| !named(id)).collect();
        for spec in specs {
            match self.current(spec.id()).await {
                None => diff.added.push(spec),
                Some(current) if is_same(&current, &spec) => diff.unchanged.push(spec.id().clone()),
                Some(_) => diff.changed.push(spec),
            }
        }
        Ok(diff)
    }

    /// Carries out a diff: stops what is gone, restarts what has changed, starts what is new.
    ///
    /// # Errors
    ///
    /// Some children did not start; the others did.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, a part of the diff is applied; `diff` shows what is left.
    pub async fn apply(&self, diff: Diff) -> Result<(), ApplyError> {
        let mut failed = Vec::new();
        for id in diff.removed {
            // A child that is gone by now is what was wanted.
            let _ = self.terminate_child(id.clone()).await;
            let _ = self.delete_child(id).await;
        }
        for spec in diff.changed {
            let id = spec.id().clone();
            let was_up = self.is_up(&id).await;
            let _ = self.terminate_child(id.clone()).await;
            let replaced = self.call(Request::ReplaceSpec(spec.into_core())).await;
            if let Some(Reply::ReplaceSpec(Err(error))) = replaced {
                failed.push((id, ExitReason::error(error)));
            } else if was_up {
                match self.restart_child(id.clone()).await {
                    Ok(_) | Err(RestartChildError::Running | RestartChildError::Restarting) => {}
                    Err(RestartChildError::Failed(reason)) => failed.push((id, reason)),
                    Err(error) => failed.push((id, ExitReason::error(error))),
                }
            }
        }
        for spec in diff.added {
            let id = spec.id().clone();
            match self.start_child(spec).await {
                Ok(_) => {}
                Err(StartChildError::Failed { reason, .. }) => failed.push((id, reason)),
                Err(error) => failed.push((id, ExitReason::message(error.to_string()))),
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(ApplyError { failed }) }
    }

    async fn is_up(&self, id: &ChildId) -> bool {
        let children = self.which_children().await.unwrap_or_default();
        children.iter().any(|child| child.id == *id && !matches!(child.state, ChildState::Stopped))
    }

    async fn current(&self, id: &ChildId) -> Option<CoreSpec<Option<Factory>>> {
        match self.call(Request::GetChildSpec(Target::Id(id.clone()))).await {
            Some(Reply::GetChildSpec(Ok(spec))) => Some(spec),
            _ => None,
        }
    }
}

fn is_same(current: &CoreSpec<Option<Factory>>, new: &ChildSpec) -> bool {
    let new = &new.0;
    let settings = current.restart == new.restart
        && current.significant == new.significant
        && current.effective_shutdown() == new.effective_shutdown()
        && current.kind == new.kind
        && current.backoff == new.backoff
        && current.start_timeout == new.start_timeout;
    settings
        && current.start.as_ref().is_none_or(|Factory(start)| {
            let prints = (start.fingerprint(), new.start.fingerprint());
            Arc::ptr_eq(start, &new.start) || matches!(prints, (Some(old), Some(new)) if old == new)
        })
}
