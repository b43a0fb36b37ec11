//! What is full where nothing more can be written, by the number that the system gave, and what is to be done about it.
//!
//! It is for words alone: [`DiskFull`](treewarden_store::StoreErrorKind::DiskFull) is one kind, whatever of these it is. It must
//! not say more than the number does: whoever looks for gigabytes does not find a limit of the size of files.

use std::path::Path;

use rustix::io::Errno;

/// What is full, and what to do, by the system's number (`None` where it was not told) and whether files can be made still.
pub(crate) fn in_words(number: Option<i32>, has_inodes: Option<bool>) -> (&'static str, &'static str) {
    let again = "make room and ask again";
    match number.map(Errno::from_raw_os_error) {
        Some(Errno::FBIG) => (
            "a file of it would become greater than this process may write, or its filesystem takes",
            "raise the limit of the size of files (`ulimit -f`, `LimitFSIZE=` of systemd), start the daemon again and ask again",
        ),
        Some(Errno::DQUOT) => ("the quota of its user is used up", again),
        Some(Errno::NOSPC) if has_inodes == Some(false) => {
            ("its filesystem has no inode left, however much room it has", "remove files there and ask again")
        }
        Some(Errno::NOSPC) => ("its filesystem is full", again),
        _ => ("the disk or the quota is full", again),
    }
}

/// Whether another file could be made in a folder, by the number of inodes; `None` where the filesystem does not count them.
pub(crate) fn has_inodes(folder: &Path) -> Option<bool> {
    let found = rustix::fs::statvfs(folder).ok()?;
    (found.f_files > 0).then_some(found.f_favail > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_of_the_system_has_its_own_words() {
        let number = |errno: Errno| Some(errno.raw_os_error());
        let cases = [
            (number(Errno::FBIG), None, "a file of it would become greater", "ulimit -f"),
            (number(Errno::DQUOT), Some(true), "the quota of its user is used up", "make room"),
            (number(Errno::NOSPC), Some(true), "its filesystem is full", "make room"),
            (number(Errno::NOSPC), None, "its filesystem is full", "make room"),
            (number(Errno::NOSPC), Some(false), "no inode left", "remove files"),
            // As SQLite says it of a disk that has room again by now.
            (None, Some(false), "the disk or the quota is full", "make room"),
        ];
        for (number, has_inodes, what, what_to_do) in cases {
            let said = in_words(number, has_inodes);
            assert!(said.0.contains(what) && said.1.contains(what_to_do), "{number:?}: {said:?}");
        }
    }
}
