//! A session as a child of a supervisor: the spec that is made of its options.

use std::sync::{Arc, Weak};

use super::actor::{Owner, SessionChild};
use super::directory::name_of;
use super::options::SessionOptions;
use super::start_error::StartError;
use crate::host::Host;
use crate::supervisor::ChildSpec;

impl SessionOptions {
    /// Makes the session a child for any supervisor; the child's id is the session's name.
    ///
    /// The name is taken when the child is first started, and freed when the spec's last clone is dropped.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the options contradict each other.
    pub fn child_spec(self, host: &Host) -> Result<ChildSpec, StartError> {
        self.child(host).map(|(spec, _owner)| spec)
    }

    /// The session as a child, and whoever can give it other options later.
    pub(crate) fn child(self, host: &Host) -> Result<(ChildSpec, Weak<Owner>), StartError> {
        self.validate()?;
        let name = name_of(&self.spec);
        let options = Arc::new(self);
        let child = SessionChild::new(Arc::clone(&options), host.clone(), name.clone());
        let owner = Arc::downgrade(child.owner());
        let spec = ChildSpec::new(name.as_str(), child).shutdown(Self::SHUTDOWN);
        Ok((options.supervision.of(spec), owner))
    }
}
