//! A session that was made of a template: noted as such on disk, and removed when it was idle for long enough.
//!
//! It is for what the tree asks of such a session. It is not for the decision that it was idle for long enough, which is
//! [`treewarden_core::idle`]'s. A session must never be closed here while it has anything to do.

use std::time::Instant;

use treewarden_core::session::SessionState;
use treewarden_proto::SessionName;

use super::Desk;
use crate::events::{Happening, RemovalReason};

impl Desk {
    /// Notes durably of which template the session was made, or that it was removed; either way it is not stopped.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, it may be noted all the same.
    pub(crate) async fn enlist(&self, template: Option<&SessionName>) -> Result<(), String> {
        // What is stored in a directory that was removed is found by nobody.
        if let Some(why) = self.host.removed() {
            return Err(why);
        }
        // Any record would end the loss, and begin the session blank: it is noted with the record that ends it.
        if let Some(template) = template
            && self.lock().identity.join(template)
        {
            return Ok(());
        }
        self.set_template(template.cloned()).await.map_err(|error| error.to_string())
    }

    /// Has the lease of its conversation say that the session is of no template any more: should its record be lost later, it is
    /// not to come back as one.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it is said all the same.
    pub(crate) async fn leave_template_in_lease(&self) {
        let Some(id) = self.status().session_id else { return };
        let state = self.host.state().clone();
        let left = tokio::task::spawn_blocking(move || state.leave_template(id)).await;
        if let Ok(Err(error)) = left {
            tracing::warn!(session = %self.name, %error, "the lease of a removed session names its template still");
        }
    }

    /// Says to whoever reads the events that the session is removed, behind all else that happened to it.
    pub(crate) fn note_removed(&self, why: RemovalReason) {
        // Whoever still holds what it ran as may be the one that ends it: its end would otherwise come behind this.
        self.set_state(SessionState::Stopped, None, None);
        self.publish(Happening::SessionRemoved { why });
    }

    /// Since when the session has had nothing to do; `None` while it has a turn, works by itself, or has the only copy of
    /// its conversation.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.lock().idle_since()
    }

    /// Begins the removal of the session if it has been idle since then, so that it takes no more turns; `false` if it was used
    /// meanwhile.
    pub(crate) fn close_if_idle(&self, since: Instant, why: &str) -> bool {
        let mut rooms = self.lock();
        // The times are compared: a session that had a turn since the tree looked at it is idle again, but
        // not for long enough.
        let idle = rooms.idle_since() == Some(since);
        if idle {
            // Under the same lock as the look: a turn that comes now is refused, and none is taken and then lost.
            rooms.service.begin_removal(why);
        }
        idle
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use treewarden_proto::SessionSpec;

    use super::*;
    use crate::host::Host;
    use crate::session::SessionOptions;

    #[tokio::test]
    async fn a_session_that_was_used_meanwhile_is_not_closed_as_idle() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let host = Host::options().state_dir(dir.path()).open().expect("a host can be opened");
        let options = Arc::new(SessionOptions::from(SessionSpec::new()));
        let desk =
            Desk::open(&host, &options, "a".parse().expect("a name")).await.expect("nobody has the name");
        let since = desk.idle_since().expect("it has nothing to do");
        let place = desk.reserve(&"hello".into()).expect("there is a place");
        assert_eq!(desk.idle_since(), None, "a turn is on its way");
        assert!(!desk.close_if_idle(since, "idle"));
        drop(place);
        assert!(!desk.close_if_idle(since, "idle"), "it is idle since another time");
        let since = desk.idle_since().expect("it has nothing to do");
        assert!(desk.close_if_idle(since, "idle"));
        assert!(desk.reserve(&"hello".into()).is_err(), "no turn is taken any more");
    }
}
