//! The model and its limits.

use super::SessionSpec;
use super::argv::Args;
use super::error::Faults;

impl SessionSpec {
    /// Sets the model, by alias or full name.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Sets the model to use while the first is overloaded.
    #[must_use]
    pub fn fallback_model(mut self, model: impl Into<String>) -> Self {
        self.fallback_model = Some(model.into());
        self
    }

    /// Sets the most model calls that one turn may take.
    #[must_use]
    pub fn max_turns(mut self, turns: u32) -> Self {
        self.max_turns = Some(turns);
        self
    }

    /// Sets the most that one CLI process may spend, in US dollars.
    #[must_use]
    pub fn max_budget_usd(mut self, dollars: f64) -> Self {
        self.max_budget_usd = Some(dollars);
        self
    }
}

pub(super) fn check(spec: &SessionSpec, faults: &mut Faults) {
    for (option, value) in [("model", &spec.model), ("fallback_model", &spec.fallback_model)] {
        faults.empty(option, value.as_deref());
        faults.nul(option, value.as_deref().unwrap_or_default());
    }
    if spec.model.is_some() && spec.model == spec.fallback_model {
        faults.add(&["model", "fallback_model"], "`fallback_model` is the same as `model`");
    }
    if spec.max_turns == Some(0) {
        faults.add(&["max_turns"], "`max_turns` is 0: a turn needs at least one model call");
    }
    // What is not a number compares with nothing, so that it is asked for by itself.
    if let Some(dollars) = spec.max_budget_usd.filter(|dollars| !dollars.is_finite() || *dollars <= 0.0) {
        faults
            .add(&["max_budget_usd"], format_args!("`max_budget_usd` is {dollars}: give an amount above 0"));
    }
}

pub(super) fn args(spec: &SessionSpec, args: &mut Args) {
    args.value_of("--model", spec.model.as_ref());
    args.value_of("--fallback-model", spec.fallback_model.as_ref());
    args.value_of("--max-turns", spec.max_turns);
    args.value_of("--max-budget-usd", spec.max_budget_usd);
}
