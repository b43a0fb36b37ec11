//! The state directory: where it is, and that only its owner can read it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::placed::{self, Links};

/// Where the state is kept unless the user says otherwise.
pub fn default_state_dir() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    base.map(|base| base.join("treewarden"))
}

/// Makes the directory if it is missing, refuses another user's, and takes everybody else's rights away.
///
/// # Errors
///
/// Whatever the system says, or whose it is.
pub fn prepare_dir(dir: &Path) -> io::Result<()> {
    make_dir(dir)?;
    refuse_another(dir, rustix::process::geteuid().as_raw())?;
    tighten(dir, 0o700)
}

/// Makes a folder for its owner alone, and all above it, where they are missing.
///
/// # Errors
///
/// Whatever the system says; of a link to nothing, which it calls a missing folder, the link and where it leads.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| match dangling(dir) {
        // Of another kind than what was removed under a program: that is put back from a copy, and a mount is not.
        Some(link) => io::Error::other(link),
        None => error,
    })
}

/// A link to nothing in a path, which cannot be made a folder: the link, where it leads and what to do, in words.
pub fn dangling(path: &Path) -> Option<String> {
    let leads_nowhere = |link: &&Path| {
        fs::symlink_metadata(link).is_ok_and(|meta| meta.is_symlink())
            && fs::metadata(link).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let link = path.ancestors().find(leads_nowhere)?;
    let target = fs::read_link(link).ok()?;
    Some(format!(
        "{} is a link to {}, which is not there; make or mount that, or remove the link",
        link.display(),
        target.display()
    ))
}

/// Whom a folder belongs to, that one may rename and remove what is in it: a lock there keeps nobody away.
fn refuse_another(dir: &Path, me: u32) -> io::Result<()> {
    match fs::metadata(dir)?.uid() {
        uid if uid == me => Ok(()),
        uid => Err(io::Error::new(io::ErrorKind::PermissionDenied, another(dir, uid, me))),
    }
}

fn another(dir: &Path, uid: u32, me: u32) -> String {
    // What the super-user makes there would lock its owner out.
    let what_to_do = if me == 0 { "run it as that user" } else { "choose another" };
    format!("{} belongs to user {uid}, and we are user {me}; {what_to_do}", dir.display())
}

/// Makes the database file if it is missing; SQLite gives its companion files the mode of this one.
///
/// # Errors
///
/// Whatever the system says, with the file's name.
pub fn prepare_file(file: &Path) -> io::Result<()> {
    let at = placed::target(file)?;
    placed::open(file, fs::OpenOptions::new().append(true).create(true).mode(0o600), Links::Follow)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    tighten(file, 0o600)?;
    // Beside the file itself, should its name be a link: SQLite opens them by itself, and would wait at a named pipe.
    for companion in companions(&at) {
        placed::refuse_other_kinds(&companion)?;
        match tighten(&companion, 0o600) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// SQLite's log and shared memory of a database.
pub fn companions(file: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|suffix| {
        let mut path = file.as_os_str().to_owned();
        path.push(suffix);
        path.into()
    })
}

fn tighten(path: &Path, mode: u32) -> io::Result<()> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("close {} to others: {error}", path.display()))
    };
    let now = fs::metadata(path).map_err(named)?.permissions().mode() & 0o777;
    if now & !mode == 0 {
        Ok(())
    } else {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_pipe_in_place_of_the_database_is_an_error_and_keeps_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("treewarden.db");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
        let said = prepare_file(&path).expect_err("refused").to_string();
        assert!(said.contains("a named pipe") && said.contains("treewarden.db"), "{said}");
        let path = dir.path().join("other.db");
        nix::unistd::mkfifo(&companions(&path)[0], nix::sys::stat::Mode::S_IRWXU).expect("made");
        let said = prepare_file(&path).expect_err("refused").to_string();
        assert!(said.contains("other.db-wal is a named pipe"), "{said}");
    }

    #[test]
    fn a_link_to_nothing_in_place_of_the_directory_is_named_with_its_target() {
        let dir = tempfile::tempdir().expect("a folder");
        let link = dir.path().join("state");
        std::os::unix::fs::symlink("not-mounted", &link).expect("linked");
        for path in [link.clone(), link.join("treewarden")] {
            let said = prepare_dir(&path).expect_err("refused").to_string();
            assert!(
                said.contains(&format!("{} is a link to not-mounted, which is not there", link.display()))
            );
        }
        fs::create_dir(dir.path().join("not-mounted")).expect("made");
        prepare_dir(&link.join("treewarden")).expect("it leads somewhere now");
        assert_eq!(dangling(&link), None);
    }

    #[test]
    fn a_state_directory_of_another_user_is_refused_and_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let me = rustix::process::geteuid().as_raw();
        let said = refuse_another(dir.path(), me + 1).expect_err("refused").to_string();
        assert!(said.contains(&format!("belongs to user {me}, and we are user {}; ", me + 1)), "{said}");
        assert!(another(dir.path(), 0, 7).ends_with("choose another"));
        assert!(another(dir.path(), 7, 0).ends_with("run it as that user"));
        refuse_another(dir.path(), me).expect("ours");
    }
}
