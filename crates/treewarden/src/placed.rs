//! Looks at files and sockets that somebody else may have placed, as a tool of a session may at any path of its user's.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

/// Reads a regular file of at most `limit` bytes, at the end of a link too; it waits for no writer.
///
/// # Errors
///
/// Whatever the system says, or what is there instead.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // Before it is opened as well: to open a device may do something.
    regular(&fs::metadata(path)?)?;
    // A named pipe that was put there since would be waited at for its writer; a terminal could become this
    // process's controlling one.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    regular(&meta)?;
    let mut bytes = Vec::new();
    // What the file is said to have may be less than is read from it.
    if meta.len() <= limit {
        // One byte more than the limit, so that a file shows that has more than it said.
        file.take(limit + 1).read_to_end(&mut bytes)?;
    }
    if meta.len() > limit || bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Nobody listens on a socket; where so many knock that nobody can tell, somebody does.
pub(crate) fn is_refused(socket: &Path) -> bool {
    let asked = SocketAddrUnix::new(socket).and_then(|address| {
        let asking = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        // Otherwise it waits for as long as the listener lets others wait.
        rustix::io::ioctl_fionbio(&asking, true)?;
        rustix::net::connect(&asking, &address)
    });
    // A full queue answers `EAGAIN`: somebody listens.
    asked == Err(Errno::CONNREFUSED)
}

fn regular(meta: &fs::Metadata) -> io::Result<()> {
    if meta.is_file() { Ok(()) } else { Err(io::Error::other("it is no regular file")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_named_pipe_without_a_writer_is_an_error_and_keeps_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            Default::default(),
        )
        .expect("made");
        let link = dir.path().join("link");
        symlink(&path, &link).expect("linked");
        for path in [&path, &link] {
            assert!(read(path, 9).expect_err("refused").to_string().contains("no regular file"));
        }
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

    #[test]
    fn a_listener_that_accepts_nobody_is_no_refusal_and_keeps_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("7.sock");
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("made");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
        rustix::net::listen(&listener, 0).expect("listens");
        // More than it has a place for.
        for _ in 0..4 {
            assert!(!is_refused(&path));
        }
        drop(listener);
        assert!(is_refused(&path));
    }
}
