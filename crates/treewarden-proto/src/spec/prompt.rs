//! The system prompt.

use super::SessionSpec;
use super::error::Faults;

impl SessionSpec {
    /// Sets the system prompt, in place of the CLI's own.
    #[must_use]
    pub fn system_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.system_prompt = Some(prompt.into());
        self
    }

    /// Sets text to stand after the system prompt.
    #[must_use]
    pub fn append_system_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.append_system_prompt = Some(prompt.into());
        self
    }
}

pub(super) fn check(spec: &SessionSpec, faults: &mut Faults) {
    faults.empty("append_system_prompt", spec.append_system_prompt.as_deref());
}
