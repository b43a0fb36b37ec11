//! The supervisor's API, with OTP's answer for every state a child can be in.

use std::time::Instant;

use super::child::Life;
use super::event::{Action, ChildInfo, Counts, Reply, Request, RunId, Target, Types};
use super::machine::{Machine, Mode, Task};
use super::spec::{ChildId, ChildSpec, Kind};
use super::{DeleteChildError, FindChildError, RestartChildError, StartChildError};

impl<H: Types> Machine<H> {
    pub(super) fn call(&mut self, now: Instant, caller: H::Caller, request: Request<H>) {
        let reply = match request {
            Request::StartChild(spec) => match self.check_start(&spec) {
                Err(error) => Reply::StartChild(Err(error)),
                Ok(()) => {
                    let spec = self.after_template(spec);
                    let slot = self.insert(spec);
                    self.task = Task::StartChild { caller };
                    self.begin_start(slot);
                    return;
                }
            },
            Request::TerminateChild(target) => match self.find(&target) {
                None => Reply::TerminateChild(Err(FindChildError::NotFound)),
                Some(slot) => {
                    self.terminate(now, slot, caller);
                    return;
                }
            },
            Request::RestartChild(id) => match self.check_restart(&id) {
                Err(error) => Reply::RestartChild(Err(error)),
                Ok(slot) => {
                    self.task = Task::RestartChild { caller };
                    self.begin_start(slot);
                    return;
                }
            },
            Request::RestartRun(pid) => match self.check_restart_run(pid) {
                Err(error) => Reply::RestartChild(Err(error)),
                Ok(slot) => {
                    self.task = Task::Renew { caller, slot };
                    if !self.begin_stop(now, slot) {
                        self.stop_next(now);
                    }
                    return;
                }
            },
            Request::DeleteChild(id) => Reply::DeleteChild(self.delete(&id)),
            Request::WhichChildren => Reply::WhichChildren(self.which()),
            Request::CountChildren => Reply::CountChildren(self.count()),
            Request::GetChildSpec(target) => Reply::GetChildSpec(
                self.find(&target)
                    .and_then(|slot| self.children.get(&slot))
                    .map(|child| child.spec.clone())
                    .ok_or(FindChildError::NotFound),
            ),
            Request::CodeChange(flags, specs) => Reply::CodeChange(self.code_change(flags, specs)),
            Request::Update(flags, places) => Reply::Update(self.update(flags, places)),
        };
        self.actions.push_back(Action::Reply(caller, reply));
    }

    fn check_start(&self, spec: &ChildSpec<H::Start>) -> Result<(), StartChildError<H::Child>> {
        // Children that wait for a restart are among `children` and count, as in Elixir: a supervisor whose
        // children all crash would otherwise take in as many again.
        if let Mode::Dynamic { max_children: Some(max) } = self.mode
            && self.children.len() >= max
        {
            return Err(StartChildError::MaxChildren { id: spec.id.clone(), max });
        }
        if !matches!(self.mode, Mode::Template(_)) {
            spec.validate(self.flags.auto_shutdown)?;
        }
        // A child whose end waits in the mailbox is still "started" here: OTP as well answers with a pid that
        // may be dead.
        let present = self.ids.get(&spec.id).and_then(|slot| self.children.get(slot));
        match present {
            None => Ok(()),
            Some(child) => Err(match &child.life {
                Life::Running(handle) => StartChildError::AlreadyStarted {
                    id: spec.id.clone(),
                    pid: child.run_id(),
                    child: handle.clone(),
                },
                _ => StartChildError::AlreadyPresent(spec.id.clone()),
            }),
        }
    }

    /// Under a template, a new child has its own start and everything else from the template.
    fn after_template(&self, spec: ChildSpec<H::Start>) -> ChildSpec<H::Start> {
        match &self.mode {
            Mode::Template(template) => ChildSpec { start: spec.start, ..(**template).clone() },
            _ => spec,
        }
    }

    fn find(&self, target: &Target) -> Option<u64> {
        match (target, self.is_static()) {
            (Target::Id(id), true) => self.ids.get(id).copied(),
            (Target::RunId(pid), false) => {
                self.children.get(&pid.slot).filter(|child| child.is_run(*pid)).map(|child| child.slot)
            }
            _ => None,
        }
    }

    fn terminate(&mut self, now: Instant, slot: u64, caller: H::Caller) {
        // The task is set first: a child that does not run needs no stop, and is answered for in `stop_next`
        // at once.
        self.task = Task::Terminate { caller, slot };
        if !self.begin_stop(now, slot) {
            self.stop_next(now);
        }
    }

    fn check_restart(&mut self, id: &ChildId) -> Result<u64, RestartChildError> {
        if !self.is_static() {
            return Err(RestartChildError::Dynamic);
        }
        let slot = *self.ids.get(id).ok_or(RestartChildError::NotFound)?;
        let child = self.children.get_mut(&slot).ok_or(RestartChildError::NotFound)?;
        match child.life {
            // Refused and not done: a start now would be a second run beside the first.
            Life::Running(_) => Err(RestartChildError::Running),
            // The next attempt is on its way already.
            Life::Restarting(_) => Err(RestartChildError::Restarting),
            Life::Stopped | Life::Parked => {
                child.forgive();
                Ok(slot)
            }
        }
    }

    fn check_restart_run(&mut self, pid: RunId) -> Result<u64, RestartChildError> {
        let slot = self.find(&Target::RunId(pid)).ok_or(RestartChildError::NotFound)?;
        let child = self.children.get_mut(&slot).ok_or(RestartChildError::NotFound)?;
        // Before it is stopped: what starts a temporary child is dropped once it runs.
        if child.spec.start.is_none() {
            return Err(RestartChildError::Temporary);
        }
        child.forgive();
        Ok(slot)
    }

    fn delete(&mut self, id: &ChildId) -> Result<(), DeleteChildError> {
        if !self.is_static() {
            return Err(DeleteChildError::Dynamic);
        }
        let slot = *self.ids.get(id).ok_or(DeleteChildError::NotFound)?;
        match self.children.get(&slot).map(|child| &child.life) {
            Some(Life::Running(_)) => Err(DeleteChildError::Running),
            // The retry that waits would find no child, and the caller would take a child for stopped that
            // was never told to.
            Some(Life::Restarting(_)) => Err(DeleteChildError::Restarting),
            Some(Life::Stopped | Life::Parked) => {
                self.remove(slot);
                Ok(())
            }
            None => Err(DeleteChildError::NotFound),
        }
    }

    fn which(&self) -> Vec<ChildInfo<H::Child>> {
        let newest_first = self.slots().into_iter().rev();
        newest_first.filter_map(|slot| self.children.get(&slot)).map(|child| child.info()).collect()
    }

    fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for child in self.children.values() {
            counts.specs += 1;
            match child.spec.kind {
                Kind::Worker => counts.workers += 1,
                Kind::Supervisor => counts.supervisors += 1,
            }
            if let Life::Running(handle) = &child.life {
                // In a list, a run whose end waits in the mailbox is not active: OTP asks whether the process is alive,
                // and it is not. Of children that come and go neither OTP nor Elixir asks that: one that unlinked itself and
                // ended counts until the supervisor is told to end it.
                let counts_as_it_is = !self.is_static();
                counts.active +=
                    usize::from(counts_as_it_is || child.exited.is_none() && H::is_alive(handle));
            }
        }
        if matches!(self.mode, Mode::Template(_)) {
            // OTP counts the template, and not its children.
            counts.specs = 1;
        }
        counts
    }
}
