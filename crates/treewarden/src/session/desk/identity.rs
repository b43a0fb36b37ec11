//! Whose conversation the desk serves, as its record and its options say.
//!
//! Here the record is read; it is changed in `record.rs` alone.

use std::path::Path;

use treewarden_proto::SessionId;
use treewarden_proto::spec::PermissionMode;
use treewarden_store::{Holder, SessionRecord};

use super::Desk;
use super::rooms::Rooms;

impl Desk {
    /// The session as the holder of a lease, which names its template as well: by both it is known if its record is lost.
    pub(crate) fn holder(&self) -> Holder {
        let template = self.with_record(|record| record.template.clone());
        self.host.state().holder(&self.name).made_of(template)
    }

    /// Whether the session has a record, in the store as in memory.
    pub(crate) fn is_recorded(&self) -> bool {
        self.lock().identity.is_recorded()
    }

    /// Reads the session's record; the first call makes it.
    pub(super) fn with_record<T>(&self, read: impl FnOnce(&SessionRecord) -> T) -> T {
        read(self.record_in(&mut self.lock()))
    }

    /// The session's record. It is made under the lock: two callers who ask first at the same moment must get the same id.
    pub(super) fn record_in<'a>(&self, rooms: &'a mut Rooms) -> &'a SessionRecord {
        let Rooms { identity, next, .. } = rooms;
        let (lost, template) =
            identity.lost().map_or((None, None), |lost| (lost.session_id, lost.template.clone()));
        identity.record_or(|| {
            let new = |id| SessionRecord { template, ..SessionRecord::new(self.name.clone(), id) };
            let spec = &self.options().spec;
            if let Some(id) = lost {
                return new(id);
            }
            let carried = spec.resume.filter(|_| !spec.fork_session);
            let id = match carried.or(spec.session_id) {
                Some(given) => given,
                // A fork begins with what another conversation holds, and the CLIs that are started ahead
                // begin with nothing.
                None if spec.resume.is_some() => SessionId::random(),
                None => next.new_id(),
            };
            new(id)
        })
    }

    /// A copy of the session's record.
    pub(crate) fn record(&self) -> SessionRecord {
        self.with_record(SessionRecord::clone)
    }

    pub(crate) fn session_id(&self) -> SessionId {
        self.with_record(|record| record.session_id)
    }

    /// The session is meant to be stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().identity.record().is_some_and(|record| record.stopped)
    }

    /// The model and permission mode that were chosen at run time.
    pub(crate) fn overrides(&self) -> (Option<String>, Option<PermissionMode>) {
        let record = self.record();
        // A mode that this version does not know (a newer one may have stored it) leaves that of the options
        // in force.
        let mode = record.permission_mode.and_then(|mode| serde_json::from_value(mode.into()).ok());
        (record.model, mode)
    }

    /// The id was chosen by us and not by the spec, or was used by us before, so that whatever the CLI has under it is
    /// ours.
    pub(crate) fn owns_id(&self) -> bool {
        let spec = &self.options().spec;
        let (id, persisted) = self.with_record(|record| (Some(record.session_id), record.persisted));
        persisted || (spec.session_id != id && spec.resume != id)
    }

    /// A CLI of the session has come up before, here or in an earlier host: what it needed was there, and may be there again.
    pub(crate) fn has_come_up(&self) -> bool {
        // A first turn is sent to a CLI that is up, and to none other. Also after a clear: it is for the session, and not for its
        // conversation, that this is asked.
        self.lock().identity.record().is_some_and(|record| record.persisted)
    }

    /// The same, of a folder: it is the one in which its CLI was started last.
    pub(crate) fn has_come_up_in(&self, cwd: &Path) -> bool {
        let rooms = self.lock();
        rooms.identity.record().is_some_and(|record| record.persisted && record.cwd.as_deref() == Some(cwd))
    }

    /// The conversation is carried on from elsewhere, so that it must be on disk.
    pub(crate) fn must_exist(&self) -> bool {
        let spec = &self.options().spec;
        !spec.fork_session && spec.resume == Some(self.session_id())
    }

    /// The conversation to copy, if this session is a fork that nothing is on disk of yet, and was never cleared.
    pub(crate) fn fork_from(&self) -> Option<SessionId> {
        let spec = &self.options().spec;
        let (id, first) = self.with_record(|record| (record.session_id, record.earlier_ids.is_empty()));
        spec.resume.filter(|from| first && spec.fork_session && *from != id)
    }
}
