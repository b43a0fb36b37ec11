//! Who has a lock on the database's files, as far as the system tells: for words, and never for a decision.
//!
//! It is asked of `/proc/locks` (Linux), by the number of the file. The files are never opened for that: a process that closes one
//! loses every lock of its own on it, which are SQLite's.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use treewarden_store::dir::companions;

/// The other processes that have a lock on the file at a path, or on the log or the shared memory of a database that it is, in
/// words; `None` where that cannot be told.
pub(crate) fn of(path: &Path) -> Option<String> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let files: Vec<PathBuf> = companions(path).into_iter().chain([path.to_owned()]).collect();
    let mut pids: Vec<u32> = files.iter().flat_map(|file| holders(&locks, file)).collect();
    pids.sort_unstable();
    pids.dedup();
    pids.retain(|pid| *pid != std::process::id());
    let words: Vec<String> = pids.iter().map(|pid| in_words(*pid)).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn holders(locks: &str, file: &Path) -> Vec<u32> {
    let Ok(meta) = std::fs::metadata(file) else { return Vec::new() };
    let device = format!("{:02x}:{:02x}", major(meta.dev()), minor(meta.dev()));
    locks.lines().filter_map(|line| holder(line, &device, meta.ino())).collect()
}

/// The numbers of a device as the kernel packs them for programs.
fn major(device: u64) -> u64 {
    ((device >> 32) & 0xffff_f000) | ((device >> 8) & 0xfff)
}

fn minor(device: u64) -> u64 {
    ((device >> 12) & 0xffff_ff00) | (device & 0xff)
}

/// The process of a line, such as `1: POSIX  ADVISORY  WRITE 612 fe:00:2621 1073741825 1073741825`, if it is of this file.
fn holder(line: &str, device: &str, inode: u64) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    // Behind an arrow stands who waits for the lock.
    if fields.next()? == "->" {
        return None;
    }
    let (pid, file) = (fields.nth(2)?, fields.next()?);
    let (of, number) = file.rsplit_once(':')?;
    // A process of another namespace is 0, and a lock of no process -1.
    let pid = pid.parse().ok().filter(|pid| *pid != 0)?;
    (of == device && number.parse() == Ok(inode)).then_some(pid)
}

fn in_words(pid: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid}, {:?}", name.trim()),
        Err(_) => format!("process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_locks_names_the_process_that_has_the_file() {
        let of = |line| holder(line, "fe:00", 2621);
        assert_eq!(of("1: POSIX  ADVISORY  WRITE 612 fe:00:2621 1073741825 1073741825"), Some(612));
        assert_eq!(of("2: FLOCK  ADVISORY  WRITE 613 fe:00:2621 0 EOF"), Some(613));
        for other in [
            "1: POSIX  ADVISORY  WRITE 612 fe:01:2621 0 EOF",
            "1: POSIX  ADVISORY  WRITE 612 fe:00:2622 0 EOF",
            "1: -> POSIX  ADVISORY  WRITE 612 fe:00:2621 0 EOF",
            "1: OFDLCK ADVISORY  WRITE -1 fe:00:2621 0 EOF",
            "1: POSIX  ADVISORY  WRITE 0 fe:00:2621 0 EOF",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
