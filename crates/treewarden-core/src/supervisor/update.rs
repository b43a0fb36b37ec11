//! New flags and specs for a supervisor that runs: OTP's `code_change`, and the replacement of one spec.

use super::UpdateError;
use super::event::Host;
use super::machine::{Machine, Mode, validate_specs};
use super::spec::{ChildSpec, Flags, GiveUp};
use crate::budget::Budget;

impl<H: Host> Machine<H> {
    /// Replaces flags and merges specs by id, as OTP does.
    ///
    /// Running children stay and take their new spec at the next start; new ones are added and not started; those that
    /// are not in the list stay, after those that are. Nothing is changed when something is refused.
    pub(super) fn code_change(
        &mut self,
        flags: Flags,
        specs: Vec<ChildSpec<H::Start>>,
    ) -> Result<(), UpdateError> {
        flags.validate()?;
        match &mut self.mode {
            Mode::Dynamic { .. } => return Err(UpdateError::Dynamic),
            Mode::Template(template) => {
                let [spec] = <[_; 1]>::try_from(specs).map_err(|_| UpdateError::Dynamic)?;
                spec.validate(flags.auto_shutdown)?;
                **template = spec;
                self.set_flags(flags);
                return Ok(());
            }
            Mode::Static => {}
        }
        validate_specs(&specs, flags.auto_shutdown)?;
        self.set_flags(flags);
        let mut order = Vec::with_capacity(specs.len());
        for spec in specs {
            match self.ids.get(&spec.id).copied() {
                Some(slot) => {
                    self.replace(slot, spec);
                    order.push(slot);
                }
                None => order.push(self.insert(spec)),
            }
        }
        self.reorder(&order);
        Ok(())
    }

    pub(super) fn replace_spec(&mut self, spec: ChildSpec<H::Start>) -> Result<(), UpdateError> {
        if !self.is_static() {
            return Err(UpdateError::Dynamic);
        }
        spec.validate(self.flags.auto_shutdown)?;
        let slot = *self.ids.get(&spec.id).ok_or_else(|| UpdateError::NotFound(spec.id.clone()))?;
        self.replace(slot, spec);
        Ok(())
    }

    fn replace(&mut self, slot: u64, spec: ChildSpec<H::Start>) {
        if let Some(child) = self.children.get_mut(&slot) {
            child.spec = spec.map_start(Some);
        }
    }

    /// Puts the children of `first` first, in that order, and the others after them, in theirs.
    fn reorder(&mut self, first: &[u64]) {
        let kept: Vec<u64> = self.order.values().copied().filter(|slot| !first.contains(slot)).collect();
        self.order.clear();
        for slot in first.iter().chain(&kept) {
            let rank = self.next_rank;
            self.next_rank += 1;
            self.order.insert(rank, *slot);
            if let Some(child) = self.children.get_mut(slot) {
                child.rank = rank;
            }
        }
    }

    fn set_flags(&mut self, mut flags: Flags) {
        if !self.is_static() {
            flags.strategy = super::Strategy::OneForOne;
        }
        self.budget.set_limits(flags.max_restarts, flags.max_seconds);
        for child in self.children.values_mut() {
            match (&mut child.budget, flags.give_up) {
                (Some(own), GiveUp::Park) => own.set_limits(flags.max_restarts, flags.max_seconds),
                (own @ None, GiveUp::Park) => {
                    let budget = Budget::new(flags.max_restarts, flags.max_seconds, self.epoch);
                    *own = Some(Box::new(budget));
                }
                (own, GiveUp::Escalate) => *own = None,
            }
        }
        self.flags = flags;
    }
}
