//! The runs that are not gone yet: their tasks, their resources, and what is known about their ends.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::stream::{FuturesUnordered, StreamExt};
use ractor::concurrency::JoinHandle;
use ractor::{ActorCell, ActorId};
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::RunId;

use super::child::{Resource, RunningChild};
use super::reap::Reap;
use super::reason::is_text;

/// What the supervisor owns of a run.
struct Owned {
    child: RunningChild,
    join: Option<JoinHandle<()>>,
    resource: Option<Arc<dyn Resource>>,
    /// Whether the watcher has said how the actor ended; the child knows it then.
    heard: bool,
    /// Whether it was killed while it ran.
    killed: bool,
    /// Whether the task is known to have ended and the resources are released.
    reaped: bool,
}

impl Owned {
    /// Says whether the task has ended and there is nothing to release.
    fn is_reaped_now(&mut self) -> bool {
        if self.resource.is_none() && self.join.take_if(|join| join.is_finished()).is_some() {
            self.reaped = true;
        }
        self.reaped
    }
}

/// The runs of one supervisor.
///
/// A run is gone when three things have happened: its task has ended, its resources are released, and the watcher has
/// dropped its state and said how it ended. The watcher hears nothing of a child that unlinked itself. So
/// once the task of such a child has ended, the driver sends the watcher a message (it rings). The watcher
/// answers with a `Caught` notice after all ends that came before: if the child's was not among them, none
/// will come.
#[derive(Default)]
pub(super) struct Runs {
    runs: HashMap<ActorId, Owned>,
    reaping: FuturesUnordered<Reap>,
    /// Children that have just started, and may not be linked.
    new: VecDeque<ActorId>,
    /// Runs that were told to end a short while ago; most have by now.
    expected: Vec<ActorId>,
    /// Whether a run that was told to end has ended since [`reap_expected`](Self::reap_expected) last asked.
    some_ended: bool,
    /// Runs whose tasks ended before the watcher said how, each with the number of the ring after which the
    /// watcher will say nothing more of it.
    silent: Vec<(ActorId, u64)>,
}

impl Runs {
    /// Adds a run that has started; whether it is linked is seen to by [`link_new`](Self::link_new).
    pub(super) fn add(
        &mut self,
        running: &RunningChild,
        join: JoinHandle<()>,
        resource: Option<Arc<dyn Resource>>,
    ) {
        let id = running.cell().get_id();
        let run = Owned {
            child: running.clone(),
            join: Some(join),
            resource,
            heard: false,
            killed: false,
            reaped: false,
        };
        self.runs.insert(id, run);
        self.new.push_back(id);
    }

    /// Links one child whose start did not; returns its actor when that may have ended before.
    pub(super) fn link_new(&mut self, watcher: &ActorCell) -> Option<ActorId> {
        while let Some(id) = self.new.pop_front() {
            let Some(run) = self.runs.get(&id) else { continue };
            if !is_linked(run.child.cell(), watcher) && self.link(id, watcher).is_some() {
                return Some(id);
            }
        }
        None
    }

    /// Links a child whose start did not, and waits for its task besides: the end of one that has ended already, or
    /// that never comes up, is not told.
    fn link(&mut self, id: ActorId, watcher: &ActorCell) -> Option<ActorId> {
        let run = self.runs.get(&id)?;
        run.child.cell().link(watcher.clone());
        let has_ended = run.child.cell().get_status() >= ractor::ActorStatus::Stopping;
        self.reap(id);
        has_ended.then_some(id)
    }

    /// Kills a run that is expected to end.
    pub(super) fn kill(&mut self, id: ActorId) {
        if let Some(run) = self.runs.get_mut(&id) {
            // One that had ended by itself before keeps its own reason.
            run.killed |= run.child.cell().get_status() != ractor::ActorStatus::Stopped;
            run.child.cell().kill();
        }
    }

    /// Notes that a run is about to end. The watcher will tell, unless the child is not linked to it.
    ///
    /// To wait for its task as well would wake somebody twice for each end. A child that unlinks itself in the meantime
    /// is found by [`reap_expected`](Self::reap_expected).
    pub(super) fn expect(&mut self, child: &RunningChild, watcher: &ActorCell) -> bool {
        let id = child.cell().get_id();
        let linked = is_linked(child.cell(), watcher);
        if linked {
            self.expected.push(id);
        } else {
            self.reap(id);
        }
        linked
    }

    /// Begins to wait for the tasks of the runs that were told to end and of which nothing was heard. As long
    /// as other runs that were told to end do end, it waits for none: they may only be behind those.
    ///
    /// Says whether some are still expected.
    pub(super) fn reap_expected(&mut self) -> (Vec<ActorId>, bool) {
        self.expected.retain(|id| self.runs.contains_key(id));
        if std::mem::take(&mut self.some_ended) {
            return (Vec::new(), !self.expected.is_empty());
        }
        let expected = std::mem::take(&mut self.expected);
        expected.iter().for_each(|id| self.reap(*id));
        (expected, false)
    }

    /// Begins to wait for the run's task and resources.
    pub(super) fn reap(&mut self, id: ActorId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.is_reaped_now() {
            return;
        }
        let Some(join) = run.join.take() else { return };
        let mut reap = Reap::new(id, join, run.resource.take());
        // Polled once here, so that a task that has ended already is noted now: put into the set, its end
        // would be told after others that were seen later. `poll_reaped` polls it again with a waker that
        // counts.
        match Pin::new(&mut reap).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(_) => run.reaped = true,
            Poll::Pending => self.reaping.push(reap),
        }
    }

    pub(super) fn is_reaping(&self) -> bool {
        !self.reaping.is_empty()
    }

    /// The next run whose task has ended and whose resources are released.
    pub(super) fn poll_reaped(&mut self, cx: &mut Context<'_>) -> Poll<Option<ActorId>> {
        let reaped = self.reaping.poll_next_unpin(cx);
        if let Poll::Ready(Some(id)) = reaped
            && let Some(run) = self.runs.get_mut(&id)
        {
            run.reaped = true;
        }
        reaped
    }

    /// Notes how an actor ended, and begins to reap it; takes the run out if it is gone already, as it mostly is.
    pub(super) fn ended(&mut self, id: ActorId, reason: ExitReason) -> Option<(RunId, ExitReason)> {
        let Entry::Occupied(mut entry) = self.runs.entry(id) else { return None };
        // Children are mostly stopped one by one, so that it is the newest on the list. Others leave the list
        // in `reap_expected`: to search for each would make the stop of many children quadratic.
        if self.expected.last() == Some(&id) {
            self.expected.pop();
        }
        let run = entry.get_mut();
        let reason = match (&reason, run.child.run().said()) {
            // ractor passes a stop on as a string only: the typed reason that the child said before stands in
            // for that. A kill, a panic and an error of a handler are what happened, whatever the child said.
            (ExitReason::Killed | ExitReason::Panic(_), _) | (_, None) => reason,
            (ExitReason::Error(cause), Some(_)) if !is_text(cause.as_ref()) => reason,
            (_, Some(said)) => said.clone(),
        };
        run.heard = true;
        self.some_ended |= run.killed || run.child.run().told().is_some();
        run.child.run().ended(&reason);
        if run.is_reaped_now() {
            return Some((entry.remove().child.run_id(), reason));
        }
        self.reap(id);
        self.take_gone(id)
    }

    /// Takes the run out if it is gone.
    pub(super) fn take_gone(&mut self, id: ActorId) -> Option<(RunId, ExitReason)> {
        let run = self.runs.get(&id)?;
        if !run.reaped || !run.heard {
            return None;
        }
        let run = self.runs.remove(&id)?;
        Some((run.child.run_id(), run.child.run().end()?))
    }

    /// Says whether the run has ended without a word from the watcher.
    pub(super) fn is_silent(&self, id: ActorId) -> bool {
        self.runs.get(&id).is_some_and(|run| run.reaped && !run.heard)
    }

    /// Notes that nothing was said about a run so far, and nothing will be after the ring of this number.
    pub(super) fn note_silent(&mut self, id: ActorId, ring: u64) {
        self.silent.push((id, ring));
    }

    /// Takes out every run that has ended and that nothing more will be said about.
    pub(super) fn take_silent(&mut self, heard: u64) -> Vec<(RunId, ExitReason)> {
        let due: Vec<ActorId> =
            self.silent.extract_if(.., |(_, ring)| *ring <= heard).map(|(id, _)| id).collect();
        let silent = due.into_iter().filter(|id| self.is_silent(*id)).collect::<Vec<_>>();
        let gone = silent.into_iter().filter_map(|id| self.runs.remove(&id));
        gone.map(|run| {
            // As a monitor in Erlang says of a process that is gone: nobody knows how it ended.
            let reason = if run.killed { ExitReason::Killed } else { ExitReason::NoProc };
            run.child.run().ended(&reason);
            (run.child.run_id(), reason)
        })
        .collect()
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
            run.child.cell().kill();
            run.child.run().ended(&ExitReason::Killed);
        }
    }
}

fn is_linked(cell: &ActorCell, watcher: &ActorCell) -> bool {
    cell.try_get_supervisor().is_some_and(|parent| parent.get_id() == watcher.get_id())
}
