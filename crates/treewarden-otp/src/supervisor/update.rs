//! Changes the children of one supervisor that runs: first shown as a diff, then applied.
//!
//! OTP's counterpart is `code_change`, which leaves running children as they are
//! ([`Supervisor::code_change`](super::Supervisor::code_change)). This is for configuration: what is gone is stopped,
//! what is new is started, what has changed is restarted, and nothing else is touched. A tree of
//! treewarden's sessions has a diff of its own, which knows what a session can take without a restart.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{
    ChildId, ChildSpec as CoreSpec, Flags, NoProc, Place, RestartChildError, Target, UpdateError,
};

use super::children::ChildState;
use super::handle::Supervisor;
use super::live::{Factory, Reply, Request};
use super::spec::ChildSpec;

/// What an update would do.
///
/// # Examples
///
/// ```
/// use ractor::{Actor, ActorProcessingErr, ActorRef};
/// use treewarden_otp::supervisor::{ChildSpec, ExitReason, Supervisor};
///
/// # struct Idle;
/// # impl Actor for Idle {
/// #     type Msg = ();
/// #     type State = ();
/// #     type Arguments = ();
/// #     async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let spec = |id: &str| ChildSpec::actor(id, || (Idle, ()));
/// let root = Supervisor::builder().child(spec("old")).start().await?;
/// let diff = root.diff(vec![spec("new")]).await?;
/// assert_eq!(diff.to_string(), "- old\n+ new\n");
/// root.apply(diff).await?;
/// assert!(root.child("new").await.is_ok() && root.child("old").await.is_err());
/// root.stop(ExitReason::Shutdown).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Diff {
    added: Vec<ChildSpec>,
    changed: Vec<ChildSpec>,
    removed: Vec<ChildId>,
    unchanged: Vec<ChildId>,
    /// Those that will be there, in the order of the specs.
    order: Vec<ChildId>,
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
        diff.order = specs.iter().map(|spec| spec.id().clone()).collect();
        for spec in specs {
            match self.current(spec.id()).await {
                None => diff.added.push(spec),
                Some(current) if is_same(&current, &spec) => diff.unchanged.push(spec.id().clone()),
                Some(_) => diff.changed.push(spec),
            }
        }
        Ok(diff)
    }

    /// Carries out a diff: stops what is gone, restarts what has changed, starts what is new; the order of the children
    /// is that of the specs.
    ///
    /// # Errors
    ///
    /// Some children did not start; the others did. When the supervisor refuses a spec nothing is changed, and all that
    /// would have been started is in the error.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, a part of the diff is applied; `diff` shows what is left.
    pub async fn apply(&self, diff: Diff) -> Result<(), ApplyError> {
        let put = |spec: &ChildSpec| (spec.id().clone(), spec.clone());
        let specs: HashMap<ChildId, ChildSpec> = diff.changed.iter().chain(&diff.added).map(put).collect();
        let new = diff.changed.iter().chain(&diff.added).map(|spec| spec.id().clone());
        // The plan comes before what runs: a child that crashes in the middle of this is restarted by its new
        // spec already. Refused, it leaves everything as it was.
        if let Err(error) = self.update(None, diff.order, specs).await {
            let refused = ExitReason::error(error);
            return Err(ApplyError { failed: new.map(|id| (id, refused.clone())).collect() });
        }
        for id in diff.removed {
            self.forget(&id).await;
        }
        let mut failed = Vec::new();
        for spec in diff.changed {
            let id = spec.id().clone();
            let was_up = self.is_up(&id).await;
            // An error says that it is gone by now, which is what was wanted; the spec that it starts with
            // next is the new one all the same.
            let _gone = self.terminate_child(id.clone()).await;
            if was_up && let Err(reason) = self.begin(&id).await {
                failed.push((id, reason));
            }
        }
        for spec in diff.added {
            let id = spec.id().clone();
            if let Err(reason) = self.begin(&id).await {
                // It never ran. Left in the list, the next `diff` would take it for one that is there and
                // stopped, and never start it.
                let _gone = self.delete_child(id.clone()).await;
                failed.push((id, reason));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(ApplyError { failed }) }
    }

    /// Replaces flags, specs and order at once; no run is touched, and what is new is not started.
    ///
    /// The children are in this order afterwards, and each has its spec of the map, from its next start on; one that is
    /// not in the map keeps its own. A child that runs and is not in the order stays, after the others.
    ///
    /// # Errors
    ///
    /// The flags or a spec are refused, and nothing is changed, or the supervisor has ended.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the change is made or not.
    pub async fn update(
        &self,
        flags: Option<Flags>,
        order: Vec<ChildId>,
        mut specs: HashMap<ChildId, ChildSpec>,
    ) -> Result<(), UpdateError> {
        let place = |id: ChildId| match specs.remove(&id) {
            Some(spec) => Place::Put(spec.into_core()),
            None => Place::Keep(id),
        };
        let places = order.into_iter().map(place).collect();
        match self.call(Request::Update(flags, places)).await {
            Some(Reply::Update(result)) => result,
            _ => Err(UpdateError::NoProc),
        }
    }

    /// Stops a child and forgets it; one that is gone by now is what was wanted.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the child may be stopped and still be listed.
    pub async fn forget(&self, id: &ChildId) {
        let _gone = self.terminate_child(id.clone()).await;
        let _gone = self.delete_child(id.clone()).await;
    }

    /// Starts a child that is there and does not run; one that runs by now is what was wanted.
    ///
    /// # Errors
    ///
    /// The child did not start, for this reason.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the start goes on.
    pub async fn begin(&self, id: &ChildId) -> Result<(), ExitReason> {
        match self.restart_child(id.clone()).await {
            Ok(_) | Err(RestartChildError::Running | RestartChildError::Restarting) => Ok(()),
            Err(RestartChildError::Failed(reason)) => Err(reason),
            Err(error) => Err(ExitReason::error(error)),
        }
    }

    /// Says whether a child runs, or is about to.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn is_up(&self, id: &ChildId) -> bool {
        let children = self.which_children().await.unwrap_or_default();
        children
            .iter()
            .any(|child| child.id == *id && !matches!(child.state, ChildState::Stopped | ChildState::Parked))
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
