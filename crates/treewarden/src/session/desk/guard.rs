//! Whether a session may still write its conversation: looked at before a turn is accepted, and from time to time.

use treewarden_store::{Lease, LeaseError};

use super::Desk;
use crate::events::Happening;
use crate::guards::Missing;
use crate::session::error::QueryError;

impl Desk {
    /// Refuses a turn that could not be stored for good, or whose conversation another may write.
    pub(crate) fn may_accept(&self) -> Result<(), QueryError> {
        if let Some(lost) = self.lost() {
            return Err(QueryError::refused(lost));
        }
        let inner = &self.host.inner;
        inner.guards.look(&*inner.store, &inner.state).map_err(|why| QueryError::store(&why))?;
        self.look_at_lease().map_err(|error| {
            QueryError::lease_lost(format!("the session's lease was removed: {error}; the turn was not sent"))
        })
    }

    /// Looks after this lease from now on: it is that of the CLI of the moment.
    pub(crate) fn watch(&self, lease: &Lease) {
        self.lock().identity.set_lease(lease.watch());
    }

    /// Looks whether the lease of the CLI of the moment still keeps others away, and says what was found.
    pub(crate) fn look_at_lease(&self) -> Result<(), LeaseError> {
        // A copy of the watch, so that the look at the disk keeps no caller waiting for the desk.
        let Some(lease) = self.lock().identity.lease().cloned() else { return Ok(()) };
        let found = lease.look_again();
        let lost =
            found.as_ref().err().map(|error| format!("its lease was removed: {error}").into_boxed_str());
        // The lease is looked at before each turn, and every five seconds in the daemon: a loss is told once,
        // and not at each look.
        let earlier = self.lock().shown.set_removed(lost.clone());
        let news = match (&found, lost) {
            (Ok(Some(path)), _) => Some(Missing::mended(path.clone())),
            (Err(error), lost) if lost != earlier => {
                Some(Missing::lost(format!("the session's lease was removed: {error}")))
            }
            _ => None,
        };
        if let Some(Missing { what, mended }) = news {
            tracing::error!(session = %self.name, mended, "{what}");
            self.publish(Happening::Removed { what, mended });
        }
        found.map(|_| ())
    }
}
