//! Opens a file that somebody else may have placed: another user in a shared folder, or a tool of a session anywhere.

use std::fmt;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// So many links are followed, one behind the other: the kernel's own bound.
const LINKS: u32 = 40;

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
    read_within(open(path, File::options().read(true), Links::Follow)?, limit)
}

fn read_within(file: File, limit: u64) -> io::Result<Vec<u8>> {
    // Asked first, so that nothing is read of one that is said to have more.
    if file.metadata()?.len() > limit { Err(too_large(limit)) } else { read_all(file, limit) }
}

/// Reads what there is, up to `limit` bytes.
///
/// # Errors
///
/// Whatever the system says, or that there are more bytes.
fn read_all(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
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
    read_within(open_elsewhere(path)?, limit)
}

/// Opens a regular file that is none of the store's to be read, at the end of a link too; it waits for nobody.
///
/// # Errors
///
/// Whatever the system says, or that there is no regular file.
pub fn open_elsewhere(path: &Path) -> io::Result<File> {
    open(path, File::options().read(true), Links::Follow).map_err(|error| match error.get_ref() {
        // It may be the user's own folder, and stand there for a reason.
        Some(why) if why.is::<NoFile>() => io::Error::other("it is no regular file"),
        _ => error,
    })
}

/// Refuses what is no regular file at a path that a library is to open, which would wait at a named pipe for ever; a path where
/// nothing is passes.
///
/// # Errors
///
/// What is there, with the path, or whatever the system says.
pub fn refuse_other_kinds(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(meta) => match other_kind(meta.file_type()) {
            None => Ok(()),
            Some(what) => Err(io::Error::other(format!("{} is {what}, and no regular file", path.display()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

/// Reads what is at a path, up to `limit` bytes: a pipe too, as a shell makes them for `<(command)`, if it says something within
/// each `silence`.
///
/// # Errors
///
/// Whatever the system says, that there are more bytes, that it is a folder or a socket, or that nothing came for so long
/// ([`io::ErrorKind::TimedOut`]): a named pipe is silent that nobody writes.
pub fn read_patiently(path: &Path, limit: u64, silence: Duration) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        read_all(file, limit)
    } else {
        read_all(Patient { file, silence }, limit)
    }
}

/// A pipe or a device that is waited for.
struct Patient {
    file: File,
    silence: Duration,
}

impl Read for Patient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let until = Instant::now() + self.silence;
        loop {
            // Polled first: a named pipe without a writer would be read as one that has ended.
            let mut asked = [PollFd::new(&self.file, PollFlags::IN)];
            let left = until.saturating_duration_since(Instant::now());
            let wait = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut asked, Some(&wait)) {
                Ok(0) => {
                    let text =
                        format!("nothing came from it for {} s: nobody writes it", self.silence.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            match self.file.read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// Where a path leads: the end of its links, also if nothing is there yet.
///
/// # Errors
///
/// Whatever the system says; of a link to a folder that is not there, which it is and where it leads.
pub fn target(path: &Path) -> io::Result<PathBuf> {
    let mut at = path.to_owned();
    for _ in 0..LINKS {
        if !at.is_symlink() {
            return match at.parent() {
                Some(folder) if at != path && !folder.as_os_str().is_empty() && !folder.exists() => {
                    Err(leads_nowhere(path, &at))
                }
                _ => Ok(at),
            };
        }
        // The kernel resolves the folders on the way, so that `..` behind a link is what it is there.
        at = at.parent().unwrap_or_else(|| Path::new("")).join(fs::read_link(&at)?);
    }
    Err(io::Error::other(format!("{} is a link to itself", path.display())))
}

/// Refuses a path on whose way a link leads to nothing, as one does to a disk that is not mounted.
///
/// # Errors
///
/// Which link it is, and where it leads.
pub fn refuse_dangling(path: &Path) -> io::Result<()> {
    match path.ancestors().find(|at| at.is_symlink() && !at.exists()) {
        Some(link) => Err(leads_nowhere(link, &target(link)?)),
        None => Ok(()),
    }
}

fn leads_nowhere(link: &Path, to: &Path) -> io::Error {
    let text = format!(
        "{} is a link to {}, and that is not there; mount what it is on, or change the link",
        link.display(),
        to.display()
    );
    io::Error::other(text)
}

fn regular(kind: FileType) -> io::Result<()> {
    other_kind(kind).map_or(Ok(()), |what| Err(io::Error::other(NoFile(what))))
}

fn other_kind(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_file() => None,
        kind if kind.is_dir() => Some("a folder"),
        kind if kind.is_fifo() => Some("a named pipe"),
        kind if kind.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
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
        symlink("/dev/null", at("a device")).expect("linked");
        for name in ["a named pipe", "a folder", "a socket", "a device"] {
            for options in [File::options().read(true), File::options().append(true).create(true)] {
                let said = open(&at(name), options, Links::Follow).expect_err("refused").to_string();
                assert!(said.contains(name), "{said}");
            }
            let said = refuse_other_kinds(&at(name)).expect_err("refused").to_string();
            assert!(said.contains(&format!("is {name}, and no regular file")), "{said}");
        }
        refuse_other_kinds(&at("nothing")).expect("nothing is there");
        symlink(at("a named pipe"), at("link")).expect("linked");
        assert!(read(&at("link"), 9).expect_err("refused").to_string().contains("a named pipe"));
        assert_eq!(read_elsewhere(&at("link"), 9).expect_err("refused").to_string(), "it is no regular file");
        let refused = open(&at("a device"), File::options().read(true), Links::Refuse).expect_err("a link");
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

    #[test]
    fn a_pipe_that_somebody_writes_is_read_and_one_that_nobody_does_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
        let silent = read_patiently(&path, 9, Duration::from_millis(20)).expect_err("nobody writes");
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut, "{silent}");
        let writes = std::thread::spawn({
            let path = path.clone();
            move || fs::write(path, "nine char")
        });
        assert_eq!(read_patiently(&path, 9, Duration::from_secs(120)).expect("read"), b"nine char");
        writes.join().expect("no panic").expect("written");
        assert!(read_patiently(Path::new("/dev/zero"), 9, Duration::from_secs(120)).is_err(), "more bytes");
        assert!(read_patiently(dir.path(), 9, Duration::from_secs(120)).is_err(), "a folder");
    }

    #[test]
    fn a_link_leads_to_its_end_and_one_to_a_folder_that_is_away_is_named_with_its_target() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        assert_eq!(target(&at("plain")).expect("nothing is there"), at("plain"));
        fs::create_dir(at("disk")).expect("made");
        symlink("disk/new", at("one")).expect("linked");
        symlink(at("one"), at("two")).expect("linked");
        assert_eq!(target(&at("two")).expect("its folder is there"), at("disk/new"));
        symlink("away/new", at("away link")).expect("linked");
        for refused in [target(&at("away link")).map(drop), refuse_dangling(&at("away link/below"))] {
            let said = refused.expect_err("refused").to_string();
            assert!(said.contains("away link is a link to") && said.contains("away/new"), "{said}");
        }
        refuse_dangling(&at("disk/below")).expect("no link is on the way");
        let dangling = refuse_dangling(&at("two")).expect_err("nothing is there").to_string();
        assert!(dangling.contains("disk/new"), "{dangling}");
        symlink("circle", at("circle")).expect("linked");
        assert!(target(&at("circle")).expect_err("refused").to_string().contains("a link to itself"));
    }
}
