//! Whose a folder or file is, and how it is told to somebody whose it is not.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{Uid, User};

/// Why a folder is not ours alone.
#[derive(Debug)]
pub(crate) enum Foreign {
    Link,
    User(u32),
    Failed(io::Error),
}

/// Others may pass, so that whoever is kept out can see whether a lock is held; they may neither list nor change anything.
const MODE: u32 = 0o711;

/// Makes a folder, or checks that the one that is there is ours, and closes it to others.
pub(crate) fn own(folder: &Path, me: u32) -> Result<(), Foreign> {
    match fs::DirBuilder::new().mode(MODE).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Foreign::Failed(error)),
        _ => {}
    }
    // After it was made, and of whatever is there now: a check before could be of another folder than the one
    // that is used.
    let meta = fs::symlink_metadata(folder).map_err(Foreign::Failed)?;
    if meta.is_symlink() {
        return Err(Foreign::Link);
    }
    if !meta.is_dir() {
        return Err(Foreign::Failed(io::ErrorKind::NotADirectory.into()));
    }
    if meta.uid() != me {
        return Err(Foreign::User(meta.uid()));
    }
    if meta.mode() & 0o777 != MODE {
        fs::set_permissions(folder, fs::Permissions::from_mode(MODE)).map_err(Foreign::Failed)?;
    }
    Ok(())
}

/// Whom else something belongs to, if it is not ours.
pub(crate) fn other_owner(meta: &fs::Metadata) -> Option<u32> {
    let me = rustix::process::geteuid().as_raw();
    Some(meta.uid()).filter(|uid| *uid != me)
}

/// Whose a folder or file is that keeps us out, and what to do about it.
pub(crate) fn told(path: &Path, uid: u32) -> String {
    told_to(rustix::process::geteuid().as_raw(), path, uid)
}

fn told_to(me: u32, path: &Path, uid: u32) -> String {
    let path = path.display();
    let what_to_do = match me {
        // What the super-user takes over here keeps the user out of the user's own conversations.
        0 => "run it as that user".to_owned(),
        _ => format!("if no session of that user runs, give it back: chown -R {me} {path}"),
    };
    let (theirs, ours) = (user(uid), user(me));
    format!("{path} belongs to {theirs}, and we are {ours}, so no lease can be made there; {what_to_do}")
}

fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(User { name, .. })) => format!("user {uid} ({name})"),
        _ => format!("user {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_user_is_told_by_its_owner() {
        let dir = tempfile::tempdir().expect("a folder");
        let me = rustix::process::geteuid().as_raw();
        assert!(matches!(own(dir.path(), me + 1), Err(Foreign::User(uid)) if uid == me));
        assert!(own(dir.path(), me).is_ok());
    }

    #[test]
    fn who_is_kept_out_is_told_whose_it_is_and_what_to_do() {
        let folder = Path::new("/h/.claude/treewarden");
        let said = told_to(54_321, folder, 0);
        assert!(said.contains("belongs to user 0 (root), and we are user 54321, "), "{said}");
        assert!(said.ends_with("chown -R 54321 /h/.claude/treewarden"), "{said}");
        let said = told_to(0, folder, 54_321);
        assert!(said.contains("belongs to user 54321") && !said.contains("chown"), "{said}");
    }
}
