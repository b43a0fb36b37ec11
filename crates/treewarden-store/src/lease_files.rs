//! What the lease files of a state directory say when its database cannot be asked: which names there were, and which
//! conversation each had.
//!
//! It is for a store that lost its records. It is not for who holds a lease. Nothing here may tell a lease that it is free.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use treewarden_proto::{SessionId, SessionName};

use crate::lock::{LockError, LockFile};
use crate::{Holder, lease_place, placed};

/// More is in no lease file.
const MAX: u64 = 16 << 10;

/// One file: a conversation that was written from this state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseFile {
    /// The conversation.
    pub session_id: SessionId,
    /// The session that had it last; `None` if the file does not say, as those of versions that emptied it at the end.
    pub name: Option<SessionName>,
    /// The template of which that session was made; `None` for one of the file, and where an earlier version wrote it.
    pub template: Option<SessionName>,
    /// When the session came to have it, in Unix milliseconds.
    pub since: u64,
}

/// The lease files of a state directory.
///
/// # Errors
///
/// Whatever the system says; a file that cannot be read names nobody.
pub fn lease_files(state_dir: &Path) -> io::Result<Vec<LeaseFile>> {
    let entries = match fs::read_dir(lease_place::earlier_folder(state_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // What has another name is none of ours.
        let id = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".lock")?.parse().ok());
        files.extend(id.map(|id| read(&path, id)));
    }
    Ok(files)
}

/// What the lease file of a conversation says; nothing where there is none.
pub(crate) fn of(state_dir: &Path, id: SessionId) -> LeaseFile {
    read(&lease_place::earlier_file(state_dir, id), id)
}

fn read(path: &Path, session_id: SessionId) -> LeaseFile {
    let text = placed::read(path, MAX).unwrap_or_default();
    // One line: after a power cut there may be zeros behind it, where a longer text was to stand.
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let holder: Option<Holder> = serde_json::from_slice(line).ok();
    let since = holder.as_ref().and_then(|holder| holder.since);
    let since = since.or_else(|| changed(path)).unwrap_or_default();
    let (name, template) = holder.map(|holder| (holder.name, holder.template)).unzip();
    LeaseFile { session_id, name, template: template.flatten(), since }
}

fn changed(path: &Path) -> Option<u64> {
    let changed = fs::symlink_metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(changed.as_millis()).ok()
}

/// The conversation that each name had last.
pub fn newest_of_each(files: &[LeaseFile]) -> BTreeMap<SessionName, SessionId> {
    let mut newest = BTreeMap::new();
    for LeaseFile { session_id, name, since, .. } in files {
        let Some(name) = name else { continue };
        // Two of one moment: either may be the later, and it must be the same one each time.
        let is_newer = |(then, id): &(u64, SessionId)| (*since, *session_id) > (*then, *id);
        if newest.get(name).is_none_or(is_newer) {
            newest.insert(name.clone(), (*since, *session_id));
        }
    }
    newest.into_iter().map(|(name, (_, id))| (name, id)).collect()
}

/// Writes the session's name into the lease file of its conversation, where an older version left none; one that is held has its
/// holder's name anyhow.
///
/// # Errors
///
/// Whatever the system says.
pub fn write_name(state_dir: &Path, id: SessionId, name: &SessionName, since: u64) -> io::Result<()> {
    let path = lease_place::earlier_file(state_dir, id);
    if !path.exists() || read(&path, id).name.is_some() {
        return Ok(());
    }
    let holder = Holder { since: Some(since), ..Holder::this_process(name) };
    match LockFile::acquire(&path, &holder) {
        Ok(lock) => {
            drop(lock);
            Ok(())
        }
        Err(LockError::Failed(error)) => Err(error),
        Err(LockError::Held(_) | LockError::Meaningless) => Ok(()),
    }
}

/// Has the lease file of a conversation say that its session is of no template any more, where it says that it is.
///
/// A lease that is held is its holder's to write.
///
/// # Errors
///
/// Whatever the system says.
pub(crate) fn leave_template(state_dir: &Path, id: SessionId) -> io::Result<()> {
    let LeaseFile { name, template, since, .. } = of(state_dir, id);
    let (Some(name), Some(_)) = (name, template) else { return Ok(()) };
    let holder = Holder { since: Some(since), ..Holder::this_process(&name) };
    match LockFile::acquire(&lease_place::earlier_file(state_dir, id), &holder) {
        Ok(lock) => {
            drop(lock);
            Ok(())
        }
        Err(LockError::Failed(error)) => Err(error),
        Err(LockError::Held(_) | LockError::Meaningless) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lease;

    fn name(name: &str) -> SessionName {
        SessionName::new(name).expect("a valid name")
    }

    fn lease(dir: &Path, id: SessionId, of: &str, since: u64) -> Lease {
        let holder = Holder { since: Some(since), ..Holder::this_process(&name(of)) };
        Lease::acquire(&dir.join("config"), dir, id, &holder).expect("free")
    }

    #[test]
    fn a_lease_names_its_session_and_conversation_while_it_is_held_and_afterwards() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(lease_files(dir.path()).expect("read"), []);
        let id = SessionId::random();
        let told = [LeaseFile { session_id: id, name: Some(name("one")), template: None, since: 7 }];
        let held = lease(dir.path(), id, "one", 7);
        assert_eq!(lease_files(dir.path()).expect("read"), told);
        drop(held);
        assert_eq!(lease_files(dir.path()).expect("read"), told);
        fs::write(dir.path().join("leases/else.lock"), "{}").expect("written");
        assert_eq!(lease_files(dir.path()).expect("read"), told);
    }

    #[test]
    fn of_two_conversations_a_name_has_the_one_that_it_came_to_later() {
        let dir = tempfile::tempdir().expect("a folder");
        let [first, second] = [SessionId::random(), SessionId::random()];
        let held = lease(dir.path(), first, "one", 1);
        drop(lease(dir.path(), second, "one", 2));
        // Given up, and so written, after the later one.
        drop(held);
        let newest = newest_of_each(&lease_files(dir.path()).expect("read"));
        assert_eq!(newest, BTreeMap::from([(name("one"), second)]));
    }

    #[test]
    fn a_lease_names_the_template_of_its_session_until_that_leaves_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let id = SessionId::random();
        let holder =
            Holder { since: Some(7), ..Holder::this_process(&name("one")) }.made_of(Some(name("chat")));
        let held = Lease::acquire(&dir.path().join("config"), dir.path(), id, &holder).expect("free");
        let told = |template: Option<SessionName>| {
            [LeaseFile { session_id: id, name: Some(name("one")), template, since: 7 }]
        };
        leave_template(dir.path(), id).expect("left to its holder");
        assert_eq!(lease_files(dir.path()).expect("read"), told(Some(name("chat"))));
        drop(held);
        assert_eq!(lease_files(dir.path()).expect("read"), told(Some(name("chat"))));
        leave_template(dir.path(), id).expect("written");
        assert_eq!(lease_files(dir.path()).expect("read"), told(None));
        leave_template(dir.path(), SessionId::random()).expect("nothing to do");
        assert_eq!(lease_files(dir.path()).expect("read").len(), 1, "a lease that never was is not made");
    }

    #[test]
    fn a_file_that_an_older_version_emptied_names_nobody_until_its_name_is_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let id = SessionId::random();
        write_name(dir.path(), id, &name("one"), 1).expect("nothing to do");
        assert_eq!(lease_files(dir.path()).expect("read"), [], "a lease that never was is not made");
        fs::create_dir(dir.path().join("leases")).expect("made");
        fs::write(lease_place::earlier_file(dir.path(), id), "").expect("written");
        let files = lease_files(dir.path()).expect("read");
        assert_eq!((files[0].session_id, &files[0].name), (id, &None));
        assert!(newest_of_each(&files).is_empty());
        write_name(dir.path(), id, &name("one"), 1).expect("written");
        assert_eq!(
            newest_of_each(&lease_files(dir.path()).expect("read")),
            BTreeMap::from([(name("one"), id)])
        );
        // Another's stays.
        write_name(dir.path(), id, &name("two"), 2).expect("nothing to do");
        assert_eq!(
            newest_of_each(&lease_files(dir.path()).expect("read")),
            BTreeMap::from([(name("one"), id)])
        );
    }
}
