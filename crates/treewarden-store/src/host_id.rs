//! The id of a state directory: random, made once, and written into whatever its holder locks.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use treewarden_proto::SessionId;

use crate::{dir, placed};

/// An id is shorter.
const MAX: u64 = 1 << 10;

/// Reads the id of a state directory, which gets one if it has none.
pub(crate) fn read_or_make(dir: &Path) -> io::Result<String> {
    let path = path(dir);
    if let Some(id) = read(&path)? {
        return Ok(id);
    }
    // Whole before it has its name: another process that opens the directory now reads all of it or none.
    let id = SessionId::random().to_string();
    let own = dir.join(format!("host-id.{id}"));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&own)?;
    let made = file.write_all(id.as_bytes()).and_then(|()| fs::hard_link(&own, &path));
    // Also after an error: on a full disk each opening would leave one more of these.
    fs::remove_file(&own)?;
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(read(&path)?.unwrap_or(id)),
    }
}

/// Writes the id once more where it was removed; returns where.
pub(crate) fn put_back(dir: &Path, id: &str) -> Option<PathBuf> {
    let path = path(dir);
    if path.exists() {
        return None;
    }
    // A directory that was removed whole is made again for this: the next start would take it for one that nobody has used.
    dir::prepare_dir(dir).ok()?;
    // Never over one that another process has put back: whoever read that one would know the directory by
    // another id. What fails here is tried again at the next look.
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path).ok()?;
    file.write_all(id.as_bytes()).is_ok().then_some(path)
}

/// Where it stands; a store that is open makes it.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("host-id")
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match placed::read(path, MAX) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).trim().to_owned()).filter(|id| !id.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_keeps_its_id_and_another_has_another() {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let id = read_or_make(one.path()).expect("made");
        assert_eq!(read_or_make(one.path()).expect("read"), id);
        assert_ne!(read_or_make(two.path()).expect("made"), id);
        assert_eq!(fs::read_dir(one.path()).expect("listed").count(), 1, "nothing else is left");
    }

    #[test]
    fn a_named_pipe_in_place_of_the_id_is_an_error_and_keeps_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        nix::unistd::mkfifo(&path(dir.path()), nix::sys::stat::Mode::S_IRWXU).expect("made");
        let error = read_or_make(dir.path()).expect_err("refused");
        assert!(error.to_string().contains("a named pipe"), "{error}");
    }
}
