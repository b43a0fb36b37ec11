//! Opens a file that somebody else may have placed: another user in a shared folder, or a tool of a session anywhere.

use std::fmt;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// What is at the path is no file; the text says what it is, and what to do.
#[derive(Debug)]
pub(crate) struct NoFile(&'static str);

impl fmt::Display for NoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is in its place; remove that", self.0)
    }
}

impl std::error::Error for NoFile {}

/// Whether something at the end of a link is opened as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// It is opened.
    Follow,
    /// A link is an error.
    Refuse,
}

/// Opens a regular file, or makes it if `options` say so. It waits for nobody, as one waits for the other end of a named
/// pipe.
///
/// # Errors
///
/// Whatever the system says, or [`NoFile`].
pub(crate) fn open(path: &Path, options: &mut OpenOptions, links: Links) -> io::Result<File> {
    let look = if links == Links::Follow { fs::metadata } else { fs::symlink_metadata };
    // Before it is opened as well: to open a device may do something, and the system has no good word for a folder.
    if let Ok(meta) = look(path)
        && !meta.is_symlink()
    {
        regular(meta.file_type())?;
    }
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if links == Links::Refuse {
        // Through one that another user made, a file of ours would be overwritten.
        flags |= OFlags::NOFOLLOW;
    }
    // NONBLOCK: to open a named pipe would wait for its other end for ever. It changes nothing for a file. NOCTTY: a
    // terminal could become this process's controlling one.
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    // Looked at once more by the descriptor: what stands at the path may have been exchanged since.
    regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes, at the end of a link too.
///
/// # Errors
///
/// Whatever the system says, or [`NoFile`], or that it has more bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path, File::options().read(true), Links::Follow)?;
    // Asked first, so that nothing is read of one that is said to have more.
    if file.metadata()?.len() > limit { Err(too_large(limit)) } else { read_all(file, limit) }
}

/// Reads what there is, up to `limit` bytes.
///
/// # Errors
///
/// Whatever the system says, or that there are more bytes.
pub fn read_all(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than the limit, so that a file shows that has more than it said.
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large(limit)) } else { Ok(bytes) }
}

fn too_large(limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes"))
}

/// Reads a regular file of at most `limit` bytes that is none of the store's, at the end of a link too.
///
/// Nobody is told to remove what is there instead.
///
/// # Errors
///
/// Whatever the system says, or that there is no regular file, or that it has more bytes.
pub fn read_elsewhere(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read(path, limit).map_err(|error| match error.get_ref() {
        // It may be the user's own folder, and stand there for a reason.
        Some(why) if why.is::<NoFile>() => io::Error::other("it is no regular file"),
        _ => error,
    })
}

fn regular(kind: FileType) -> io::Result<()> {
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "no file",
    };
    Err(io::Error::other(NoFile(what)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_is_no_file_is_refused_by_its_name_and_waited_for_never() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("a named pipe"), nix::sys::stat::Mode::S_IRWXU).expect("made");
        fs::create_dir(at("a folder")).expect("made");
        let _listens = UnixListener::bind(at("a socket")).expect("bound");
        symlink("/dev/null", at("no file")).expect("linked");
        for name in ["a named pipe", "a folder", "a socket", "no file"] {
            for options in [File::options().read(true), File::options().append(true).create(true)] {
                let said = open(&at(name), options, Links::Follow).expect_err("refused").to_string();
                assert!(said.contains(name), "{said}");
            }
        }
        symlink(at("a named pipe"), at("link")).expect("linked");
        assert!(read(&at("link"), 9).expect_err("refused").to_string().contains("a named pipe"));
        assert_eq!(read_elsewhere(&at("link"), 9).expect_err("refused").to_string(), "it is no regular file");
        let refused = open(&at("no file"), File::options().read(true), Links::Refuse).expect_err("a link");
        assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn no_more_is_read_than_the_limit_and_a_link_is_followed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, "nine char").expect("written");
        symlink(&path, &link).expect("linked");
        assert_eq!(read(&link, 9).expect("read"), b"nine char");
        assert!(read(&link, 8).expect_err("refused").to_string().contains("more than 8 bytes"));
        // Sparse: it takes no space, and would fill the memory.
        File::options().write(true).open(&path).and_then(|file| file.set_len(1 << 40)).expect("made");
        assert!(read(&path, 9).is_err());
        // The kernel says of this one that it is empty.
        #[cfg(target_os = "linux")]
        assert!(read(Path::new("/proc/self/status"), 8).is_err());
    }
}
