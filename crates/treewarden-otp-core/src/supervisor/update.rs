//! New flags and specs for a supervisor that runs: OTP's `code_change`, and the update that a changed config needs.

use std::collections::HashSet;

use super::UpdateError;
use super::event::{Place, Types};
use super::machine::{Machine, Mode, validate_specs};
use super::spec::{ChildId, ChildSpec, Flags, GiveUp, Restart, SpecError};
use crate::budget::Budget;

impl<H: Types> Machine<H> {
    /// Replaces flags and merges specs by id, as OTP does.
    ///
    /// Running children stay and take their new spec at the next start; new ones are added and not started; those that
    /// are not in the list stay, after those that are. A new template holds for the children that there are, but for
    /// their starts; one that runs as temporary stays so, since its start is gone. Nothing is changed when something is
    /// refused.
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
                for child in self.children.values_mut() {
                    // Each child has its own start, with its own arguments; the template's is never used.
                    let start = child.spec.start.take();
                    // A temporary child that runs has none any more. Made permanent it could not be started
                    // again, and the supervisor would wait for that start for ever.
                    let restart = if start.is_none() { Restart::Temporary } else { spec.restart };
                    child.spec = ChildSpec { start, restart, ..spec.clone().map_start(|_| None) };
                }
                **template = spec;
                self.set_flags(flags);
                return Ok(());
            }
            Mode::Static => {}
        }
        // Before anything is changed. OTP sets the flags first and keeps them if a spec is refused.
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

    /// Replaces the flags if there are new ones, some specs, and the order.
    ///
    /// No run is touched: a child that is up takes its new spec at its next start, and its new `shutdown` at its next
    /// stop; one that is new is added and not started. Children that are not in the list stay, after those that are.
    /// Nothing is changed when something is refused.
    pub(super) fn update(
        &mut self,
        flags: Option<Flags>,
        places: Vec<Place<H::Start>>,
    ) -> Result<(), UpdateError> {
        if !self.is_static() {
            return Err(UpdateError::Dynamic);
        }
        let new = flags.as_ref().unwrap_or(&self.flags);
        new.validate()?;
        self.validate_update(new, &places)?;
        if let Some(flags) = flags {
            self.set_flags(flags);
        }
        let mut order = Vec::with_capacity(places.len());
        for place in places {
            match place {
                // A temporary child may have ended, and been forgotten, since the list was made.
                Place::Keep(id) => order.extend(self.ids.get(&id).copied()),
                Place::Put(spec) => match self.ids.get(&spec.id).copied() {
                    Some(slot) => {
                        self.replace(slot, spec);
                        order.push(slot);
                    }
                    None => order.push(self.insert(spec)),
                },
            }
        }
        self.reorder(&order);
        Ok(())
    }

    /// Checks every child against the flags: those in the list as they will be, the others as they are.
    fn validate_update(&self, flags: &Flags, places: &[Place<H::Start>]) -> Result<(), SpecError> {
        let mut seen = HashSet::new();
        for place in places {
            let id = match place {
                Place::Keep(id) => id,
                Place::Put(spec) => {
                    spec.validate(flags.auto_shutdown)?;
                    &spec.id
                }
            };
            if !seen.insert(id) {
                return Err(SpecError::DuplicateId(id.clone()));
            }
        }
        let put: HashSet<&ChildId> = places
            .iter()
            .filter_map(|place| match place {
                Place::Put(spec) => Some(&spec.id),
                Place::Keep(_) => None,
            })
            .collect();
        // Children that are not in the list stay, so that new flags must suit them as well: an
        // `auto_shutdown` of `Never` beside a significant child would be a combination that OTP refuses.
        let kept = self.children.values().filter(|child| !put.contains(&child.spec.id));
        kept.map(|child| &child.spec).try_for_each(|spec| spec.validate(flags.auto_shutdown))
    }

    fn replace(&mut self, slot: u64, spec: ChildSpec<H::Start>) {
        if let Some(child) = self.children.get_mut(&slot) {
            child.spec = spec.map_start(Some);
        }
    }

    /// Puts the children of `first` first, in that order, and the others after them, in theirs.
    fn reorder(&mut self, first: &[u64]) {
        let listed: HashSet<u64> = first.iter().copied().collect();
        let kept: Vec<u64> = self.order.values().copied().filter(|slot| !listed.contains(slot)).collect();
        self.order.clear();
        for slot in first.iter().chain(&kept) {
            // New ranks for all, and none given twice: `rest_for_one` goes by them, and an old one among new
            // ones would restart the wrong members.
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
            // Children that come and go have no order that another strategy could mean.
            flags.strategy = super::Strategy::OneForOne;
        }
        self.budget.set_limits(flags.max_restarts, flags.max_seconds);
        for child in self.children.values_mut() {
            match (&mut child.budget, flags.give_up) {
                (Some(own), GiveUp::Park) => own.set_limits(flags.max_restarts, flags.max_seconds),
                // Restarts that were counted for all are nobody's: each child begins with a whole budget.
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
