//! How it is told that a copy, or what is put back, cannot be written.
//!
//! SQLite says of a write that failed that it did, and often not why: the system is asked once more, beside the file. Nothing is
//! told here of a store that is in use, which [`error`](crate::error) is for.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::io::Errno;
use treewarden_store::StoreErrorKind;

use crate::error::{Fault, of_system};

/// What failed at a file that was being written, of so many bytes at most: its kind, and words with what to do.
pub(super) fn at(file: &Path, bytes: u64, fault: &Fault) -> (StoreErrorKind, String) {
    let folder = file.parent().unwrap_or(file);
    let asked = match fault {
        Fault::System(error) => error.raw_os_error().map(io::Error::from_raw_os_error),
        _ if may_be_the_disk(fault) => try_to_write(file, bytes).err(),
        _ => None,
    };
    let kind = asked.as_ref().map_or_else(|| fault.kind(), of_system);
    let said = match (&asked, fault) {
        (Some(error), Fault::Sqlite(_)) => format!("{fault} ({error})"),
        _ => fault.to_string(),
    };
    let limit = Some(Errno::FBIG.raw_os_error());
    let what_to_do = match kind {
        StoreErrorKind::DiskFull if asked.is_some_and(|error| error.raw_os_error() == limit) => {
            "; this process may write no larger file: raise its limit (ulimit -f, LimitFSIZE=)".to_owned()
        }
        StoreErrorKind::DiskFull => format!("; make room at {}", folder.display()),
        StoreErrorKind::ReadOnly => format!(
            "; it is written as user {}: look at the rights of {}, and whether its filesystem is mounted read-only",
            rustix::process::geteuid().as_raw(),
            folder.display()
        ),
        _ => String::new(),
    };
    (kind, format!("{said}{what_to_do}"))
}

fn may_be_the_disk(fault: &Fault) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
    let Fault::Sqlite(error) = fault else { return false };
    matches!(error.sqlite_error_code(), Some(SystemIoFailure | CannotOpen | DiskFull))
}

/// Writes a page where the end of the file would be: a limit of the size of files is met there.
fn try_to_write(file: &Path, bytes: u64) -> io::Result<()> {
    let own = file.with_extension(format!("try-{}", std::process::id()));
    let mut options = File::options();
    let opened = options.write(true).create_new(true).mode(0o600).open(&own);
    let tried = opened.and_then(|file| file.write_all_at(&[0; 4096], bytes));
    let _left = fs::remove_file(&own);
    tried
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_quoted_and_a_limit_of_files_is_no_full_disk() {
        let of = |errno: Errno| at(Path::new("/copies/one/file"), 0, &Fault::System(errno.into()));
        let (kind, said) = of(Errno::FBIG);
        assert_eq!(kind, StoreErrorKind::DiskFull);
        assert!(
            said.contains("os error 27") && said.contains("ulimit -f") && !said.contains("room"),
            "{said}"
        );
        for (errno, number) in [(Errno::NOSPC, "28"), (Errno::DQUOT, "122")] {
            let (kind, said) = of(errno);
            assert_eq!(kind, StoreErrorKind::DiskFull);
            assert!(said.contains(number) && said.contains("make room at /copies/one"), "{said}");
        }
        let (kind, said) = of(Errno::ACCESS);
        assert_eq!(kind, StoreErrorKind::ReadOnly);
        assert!(said.contains("as user ") && said.contains("/copies/one"), "{said}");
    }
}
