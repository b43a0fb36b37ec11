//! The runs that are not gone yet: their tasks, their resources, and what is known about their ends.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use ractor::concurrency::JoinHandle;
use ractor::{ActorCell, ActorId};
use treewarden_core::ExitReason;
use treewarden_core::supervisor::Pid;

use super::child::{Child, Lifeline, Resource, RunningChild};

struct Run {
    pid: Pid,
    cell: ActorCell,
    lifeline: Arc<Lifeline>,
    join: Option<JoinHandle<()>>,
    resource: Option<Arc<dyn Resource>>,
    /// How the actor ended, once the watcher has said so.
    ending: Option<ExitReason>,
    /// Whether the task is known to have ended and the resources are released.
    reaped: bool,
}

/// The runs of one supervisor.
///
/// A run is gone when three things have happened: its task has ended, its resources are released, and the watcher has
/// dropped its state and said how it ended. The last never happens for a child that unlinked itself: then the driver
/// asks the watcher for a `Caught` notice, after which nothing can follow.
#[derive(Default)]
pub(super) struct Runs {
    runs: HashMap<ActorId, Run>,
    reaping: FuturesUnordered<Pin<Box<dyn Future<Output = ActorId> + Send>>>,
    /// The runs that the watcher was asked about, in the order of the questions.
    asked: VecDeque<ActorId>,
}

impl Runs {
    /// Adds a run that has started; returns its actor when that may have ended before it could be linked.
    pub(super) fn add(
        &mut self,
        pid: Pid,
        child: Child,
        running: &RunningChild,
        watcher: &ActorCell,
    ) -> Option<ActorId> {
        let id = child.cell.get_id();
        let run = Run {
            pid,
            cell: child.cell,
            lifeline: running.lifeline().clone(),
            join: Some(child.join),
            resource: child.resource,
            ending: None,
            reaped: false,
        };
        let linked = run.cell.try_get_supervisor().is_some_and(|parent| parent.get_id() == watcher.get_id());
        self.runs.insert(id, run);
        if linked { None } else { self.link(id, watcher) }
    }

    /// Links a child whose start did not. One that has ended already cannot be linked, and its end will not be told.
    fn link(&mut self, id: ActorId, watcher: &ActorCell) -> Option<ActorId> {
        let run = self.runs.get(&id)?;
        run.cell.link(watcher.clone());
        if run.cell.get_status() < ractor::ActorStatus::Stopping {
            return None;
        }
        self.reap(id);
        Some(id)
    }

    /// Begins to wait for the run's task and resources.
    pub(super) fn reap(&mut self, id: ActorId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(join) = run.join.take() else { return };
        if run.resource.is_none() && join.is_finished() {
            run.reaped = true;
            return;
        }
        let resource = run.resource.take();
        self.reaping.push(Box::pin(async move {
            // A task that panicked or was aborted has ended as well.
            let _ = join.await;
            if let Some(resource) = resource {
                resource.release().await;
            }
            id
        }));
    }

    pub(super) fn is_reaping(&self) -> bool {
        !self.reaping.is_empty()
    }

    /// Waits for the next run whose task has ended and whose resources are released.
    pub(super) async fn next_reaped(&mut self) -> Option<ActorId> {
        let id = self.reaping.next().await?;
        if let Some(run) = self.runs.get_mut(&id) {
            run.reaped = true;
        }
        Some(id)
    }

    /// Notes how an actor ended, and begins to reap it.
    pub(super) fn ended(&mut self, id: ActorId, reason: ExitReason) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let reason = match (&reason, run.lifeline.said()) {
            // ractor had only a string for these.
            (ExitReason::Killed | ExitReason::Panic(_), _) | (_, None) => reason,
            (ExitReason::Error(cause), Some(_)) if !is_text(cause.as_ref()) => reason,
            (_, Some(said)) => said.clone(),
        };
        run.ending.get_or_insert(reason);
        self.reap(id);
    }

    /// Takes the run out if it is gone.
    pub(super) fn take_gone(&mut self, id: ActorId) -> Option<(Pid, ExitReason)> {
        let run = self.runs.get(&id)?;
        if !run.reaped || run.ending.is_none() {
            return None;
        }
        let run = self.runs.remove(&id)?;
        Some((run.pid, run.ending?))
    }

    /// Says whether the run has ended without a word from the watcher.
    pub(super) fn is_silent(&self, id: ActorId) -> bool {
        self.runs.get(&id).is_some_and(|run| run.reaped && run.ending.is_none())
    }

    /// Notes that the watcher was asked about a silent run: after its answer nothing more will be said about it.
    pub(super) fn note_asked(&mut self, id: ActorId) {
        self.asked.push_back(id);
    }

    /// Says whether an answer of the watcher is to come.
    pub(super) fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Takes the run out that the watcher answers for, if it is silent still.
    pub(super) fn take_answered(&mut self) -> Option<(Pid, ExitReason)> {
        let id = self.asked.pop_front()?;
        if self.is_silent(id) { self.take_silent(id) } else { None }
    }

    /// Takes a run out that nothing more will be said about.
    pub(super) fn take_silent(&mut self, id: ActorId) -> Option<(Pid, ExitReason)> {
        self.runs.remove(&id).map(|run| (run.pid, ExitReason::NoProc))
    }

    /// Begins to wait for all of them, as after the loss of the watcher.
    pub(super) fn reap_all(&mut self) {
        let ids: Vec<ActorId> = self.runs.keys().copied().collect();
        for id in ids {
            self.reap(id);
        }
    }
}

impl Drop for Runs {
    /// Only a driver that panicked leaves runs behind: better dead than unsupervised.
    fn drop(&mut self) {
        for run in self.runs.values() {
            run.cell.kill();
        }
    }
}

fn is_text(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    super::reason::is_text(error)
}
