//! Which conversation: the name, and where it begins.

use super::SessionSpec;
use super::error::Faults;
use crate::{SessionId, SessionName};

impl SessionSpec {
    /// Sets the name by which the session is found.
    #[must_use]
    pub fn name(mut self, name: SessionName) -> Self {
        self.name = Some(name);
        self
    }

    /// Carries on an existing conversation from the first start.
    #[must_use]
    pub fn resume(mut self, id: SessionId) -> Self {
        self.resume = Some(id);
        self
    }

    /// Sets the id of the new conversation, or of the fork.
    #[must_use]
    pub fn session_id(mut self, id: SessionId) -> Self {
        self.session_id = Some(id);
        self
    }

    /// Copies `resume` to a new conversation instead of carrying it on.
    #[must_use]
    pub fn fork_session(mut self, fork: bool) -> Self {
        self.fork_session = fork;
        self
    }
}

pub(super) fn check(spec: &SessionSpec, faults: &mut Faults) {
    if spec.fork_session && spec.resume.is_none() {
        faults.add(&["fork_session", "resume"], "`fork_session` needs `resume`, the conversation to fork");
    }
    // The CLI resumes under the id of the conversation, so that the other would never be used.
    if !spec.fork_session && spec.resume.is_some() && spec.session_id.is_some() {
        let text = "`resume` and `session_id` exclude each other unless `fork_session` is true: \
                    a resumed conversation keeps its id";
        faults.add(&["resume", "session_id"], text);
    }
    // The CLI refuses an id that has a transcript, as the original's has.
    if spec.fork_session && spec.resume.is_some() && spec.resume == spec.session_id {
        faults
            .add(&["resume", "session_id"], "`resume` and `session_id` are the same: a fork needs a new id");
    }
}
