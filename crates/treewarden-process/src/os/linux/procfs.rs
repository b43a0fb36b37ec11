//! Looks at processes through `/proc`.
//!
//! An error is never taken for an absence: a process counts as gone only if the kernel says that it is, so that a host
//! without free descriptors does not take a living tree for a dead one.

use std::fs;
use std::io::{self, Read};
use std::sync::OnceLock;

use rustix::io::Errno;

use crate::os::{Environ, Stat};
use crate::pid::Pid;

/// The ids of all processes.
pub(crate) fn pids() -> io::Result<Vec<Pid>> {
    is_ours()?;
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::new));
    }
    Ok(pids)
}

/// Says so where `/proc` shows the processes of another namespace: their ids would name others to the kernel.
fn is_ours() -> io::Result<()> {
    let own = fs::read_link("/proc/self")?;
    if own.to_str().and_then(|own| own.parse().ok()) == Some(std::process::id()) {
        return Ok(());
    }
    Err(io::Error::other("/proc shows another namespace of process ids than this process lives in"))
}

/// What the kernel says of a process; `None` if there is none.
pub(crate) fn stat(pid: Pid) -> io::Result<Option<Stat>> {
    // More than any line of numbers takes; the name is 64 bytes at most.
    let mut buffer = [0; 1024];
    match fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut buffer)) {
        Ok(len) => match parse(&buffer[..len]) {
            Some(stat) => Ok(Some(stat)),
            None => Err(io::Error::other(format!("the status of process {pid} cannot be read"))),
        },
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The session of this process, which may be the first one and so have no [`Pid`].
pub(crate) fn own_session() -> u32 {
    let stat = fs::read("/proc/self/stat").ok().and_then(|line| parse(&line));
    stat.map_or(0, |stat| stat.session)
}

/// The kernel says that there is no such process.
pub(super) fn is_absence(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::SRCH))
}

fn parse(line: &[u8]) -> Option<Stat> {
    // The name may hold anything, so that the fields are counted from its closing parenthesis.
    let after_name = line.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&line[after_name..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    // What is not in our namespace is told as 0, or as a negative number.
    let mut number = || Some(fields.next()?.parse::<i64>().ok()?.try_into().unwrap_or(0));
    let (parent, group, session) = (number()?, number()?, number()?);
    let threads: u64 = fields.nth(13)?.parse().ok()?;
    let start_time = fields.nth(1)?.parse().ok()?;
    let pages: u64 = fields.nth(1)?.parse().ok()?;
    // The first thread of a process may end before the others do.
    let is_alive = !matches!(state, "Z" | "X" | "x") || threads > 1;
    Some(Stat { start_time, is_alive, parent, group, session, memory: pages * page_size() })
}

/// How many bytes a page of memory has, as the kernel told this process when it began.
fn page_size() -> u64 {
    static SIZE: OnceLock<u64> = OnceLock::new();
    *SIZE.get_or_init(|| {
        // Pairs of words, the first of which says what the second is; 6 is the size of a page (getauxval(3)).
        let vector = fs::read("/proc/self/auxv").unwrap_or_default();
        let word = |bytes: &[u8]| usize::from_ne_bytes(bytes.try_into().unwrap_or_default());
        let mut pairs =
            vector.chunks_exact(2 * size_of::<usize>()).map(|pair| pair.split_at(size_of::<usize>()));
        let size = pairs.find_map(|(name, value)| (word(name) == 6).then(|| word(value)));
        size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
    })
}

/// The memory of a process with its share of what it has in common with others, in bytes; `None` if that cannot be told.
///
/// The kernel walks through all pages of the process for it, some milliseconds for each GiB.
pub(crate) fn own_share(pid: Pid) -> Option<u64> {
    let lines = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = lines.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Reads the environment of a process into `buffer`.
pub(crate) fn environ(pid: Pid, buffer: &mut Vec<u8>) -> io::Result<Environ> {
    buffer.clear();
    let read = fs::File::open(format!("/proc/{pid}/environ")).and_then(|mut file| file.read_to_end(buffer));
    match read {
        Ok(0) => Ok(Environ::Empty),
        Ok(_) => Ok(Environ::Read),
        Err(error) if is_absence(&error) => Ok(Environ::Gone),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Environ::Denied),
        Err(error) => Err(error),
    }
}

/// The name of a process, for a person to read.
pub(crate) fn name(pid: Pid) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "?".to_owned(), |name| plain(name.trim_end()))
}

/// A process says itself what it is called, to whoever reads it on a terminal.
fn plain(name: &str) -> String {
    let shown = |each: char| {
        let turns =
            matches!(each, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if each.is_control() || turns { each.escape_unicode().to_string() } else { each.to_string() }
    };
    name.chars().map(shown).collect()
}

/// The user as whom a process runs; `None` if it is gone.
///
/// Asked of the status, as the files of a process that nobody may look into belong to root whoever runs it.
pub(crate) fn user(pid: Pid) -> io::Result<Option<u32>> {
    match fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(status) => {
            let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
            let user = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
            user.map(Some)
                .ok_or_else(|| io::Error::other(format!("the user of process {pid} cannot be read")))
        }
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The children that a process was given, and those of its first thread; `None` if the kernel does not list them.
pub(crate) fn adopted() -> Option<Vec<Pid>> {
    let own = std::process::id();
    // The kernel gives an orphan to the first thread of the process that adopts it, unless that thread has
    // ended.
    let listed = fs::read_to_string(format!("/proc/self/task/{own}/children")).ok()?;
    Some(listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "4711 (a) Z (b) STATE 1 4700 4699 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 THREADS 0 99887766 1 2 3";

    fn line(state: &str, threads: &str) -> Option<Stat> {
        parse(LINE.replace("STATE", state).replace("THREADS", threads).as_bytes())
    }

    #[test]
    fn fields_are_counted_from_the_end_of_a_name_that_looks_like_fields() {
        let stat = line("S", "3").expect("it parses");
        assert_eq!((stat.start_time, stat.is_alive), (99_887_766, true));
        assert_eq!((stat.parent, stat.group, stat.session), (1, 4700, 4699));
        assert_eq!(stat.memory, 2 * page_size());
    }

    #[test]
    fn what_a_process_has_in_use_is_more_than_its_share_of_it() {
        let me = Pid::new(std::process::id()).expect("own id");
        let in_use = stat(me).expect("readable").expect("it lives").memory;
        assert!(in_use > 1 << 20, "{in_use}");
        // Old kernels do not tell the share.
        if let Some(share) = own_share(me) {
            assert!(share > 0 && share < 2 * in_use, "{share} of {in_use}");
        }
    }

    #[test]
    fn a_name_reaches_no_terminal_as_a_command() {
        assert_eq!(plain("a b\x1b[2J"), "a b\\u{1b}[2J");
    }

    #[test]
    fn a_zombie_lives_only_while_a_thread_of_it_does() {
        assert!(!line("Z", "1").expect("it parses").is_alive);
        assert!(line("Z", "2").expect("it parses").is_alive);
    }

    #[test]
    fn half_a_line_is_an_error_and_not_an_absence() {
        assert_eq!(parse(b"4711 (sleep) S 1 47"), None);
        assert_eq!(parse(b""), None);
    }
}
