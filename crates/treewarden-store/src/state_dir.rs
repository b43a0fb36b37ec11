//! The state directory: prepared for its owner alone, with the random id by which its holder is known.
//!
//! It is for what stands in the directory beside the store. It is not for the store itself, whose files are the backend's.
//! Nothing here may make the id before a store was made there: it is what shows that one was.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use treewarden_proto::{SessionId, SessionName};

use crate::{Holder, LeaseFile, StoreError, dir, host_id, lease_files, lease_place};

/// A state directory that is ours.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
    id: Option<String>,
}

impl StateDir {
    /// Makes the directory if it is missing; what others may read of it is closed to them.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be made, or belongs to another user.
    pub fn prepare(path: &Path) -> Result<Self, StoreError> {
        dir::prepare_dir(path)?;
        Ok(Self { path: path.to_owned(), id: None })
    }

    /// Reads the directory's id, which gets one if it has none: to be called once its store is open.
    pub fn identify(&mut self) {
        // A full disk is no reason to refuse what can be read: the id is for people.
        self.id = host_id::read_or_make(&self.path).ok();
    }

    /// The first thing that is there which only a store that was open can have left: its id, or a lease.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn mark_of_use(path: &Path) -> io::Result<Option<PathBuf>> {
        let id = host_id::path(path);
        if id.try_exists()? {
            return Ok(Some(id));
        }
        // A cleaner may have taken the id too; a lease that is held is made anew by its holder.
        match fs::read_dir(lease_place::earlier_folder(path)) {
            Ok(mut leases) => Ok(leases.next().transpose()?.map(|lease| lease.path())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The random id of the directory; `None` if it could keep none.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Writes the id once more where it was removed; returns where.
    ///
    /// By it the next start knows a directory that was used, and begins no name blank in what is left of it.
    pub fn put_id_back(&self) -> Option<PathBuf> {
        self.id.as_deref().and_then(|id| host_id::put_back(&self.path, id))
    }

    /// This process as a holder, with the state directory that it works from.
    pub fn holder(&self, name: &SessionName) -> Holder {
        Holder { host_id: self.id.clone(), state_dir: Some(self.path.clone()), ..Holder::this_process(name) }
    }

    /// This process as one that holds a conversation for a moment in which no session has it: its lease goes on to name the
    /// session that had it, by which that is known if its record is lost.
    ///
    /// `otherwise` is the name where the lease says none.
    pub fn holder_between(&self, conversation: SessionId, otherwise: &SessionName) -> Holder {
        let LeaseFile { name, template, since, .. } = lease_files::of(&self.path, conversation);
        match name {
            Some(name) => Holder { since: Some(since), ..self.holder(&name).made_of(template) },
            None => self.holder(otherwise),
        }
    }

    /// The template of which the session of this name was made, as far as the lease of its conversation says so: for a session
    /// whose record is lost.
    ///
    /// It reads a file.
    pub fn template_of(&self, name: &SessionName, conversation: SessionId) -> Option<SessionName> {
        let file = lease_files::of(&self.path, conversation);
        file.template.filter(|_| file.name.as_ref() == Some(name))
    }

    /// Has the lease of a conversation, which nobody holds, say that its session is of no template any more.
    ///
    /// It reads a file, and may write it.
    ///
    /// # Errors
    ///
    /// Whatever the system says: should the record of that session be lost, it is taken for one of the template still.
    pub fn leave_template(&self, conversation: SessionId) -> io::Result<()> {
        lease_files::leave_template(&self.path, conversation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_or_a_lease_shows_that_a_directory_was_used_and_an_empty_folder_does_not() {
        for mark in ["host-id", "leases/a.lock"] {
            let dir = tempfile::tempdir().expect("a folder");
            fs::create_dir(dir.path().join("leases")).expect("made");
            fs::write(dir.path().join("treewarden.db.lock"), "").expect("written");
            assert_eq!(StateDir::mark_of_use(dir.path()).expect("looked"), None);
            fs::write(dir.path().join(mark), "").expect("written");
            assert_eq!(StateDir::mark_of_use(dir.path()).expect("looked"), Some(dir.path().join(mark)));
        }
    }
}
