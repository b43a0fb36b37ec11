//! What the system lets this process have: descriptors and processes, and whether it is short of them.
//!
//! A host may raise its own limit of open files; what it starts gets back the limit of before, since programs that use `select`
//! or close every descriptor they might have do badly with a great one. It is not for how many CLIs may live: that is
//! the program's to choose. Nothing here may lower a limit of the host.

use std::io;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit of open files that this process had before it raised its own.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open files of this process to the hard one, and returns the limit now; `None` is without one.
///
/// Every program that is [spawned](crate::spawn) from then on gets the soft limit of before.
///
/// # Errors
///
/// What the system says; the limit is as it was then.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(limit.current);
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    // The first one stays: raised twice, the limit of before would be the one that was raised.
    let _first = BEFORE.set(limit);
    Ok(limit.maximum)
}

/// The limit that a program is to have instead of this process's.
pub(crate) fn of_children() -> Option<Rlimit> {
    BEFORE.get().copied()
}

/// How many files this process may have open, and how many processes its user may have; `None` is without a limit.
#[must_use]
pub fn limits() -> Limits {
    let soft = |resource| getrlimit(resource).current;
    Limits { open_files: soft(Resource::Nofile), processes: soft(Resource::Nproc) }
}

/// See [`limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_NOFILE`, soft.
    pub open_files: Option<u64>,
    /// `RLIMIT_NPROC`, soft; it counts threads, of all processes of the user.
    pub processes: Option<u64>,
}

/// Tells whether an error is a disk without room, or a quota that is used up (ENOSPC, EDQUOT), which may pass.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| full.contains(&code))
}

/// Tells whether an error is a shortage of the system (EMFILE, ENFILE, ENOMEM, EAGAIN), which may pass.
///
/// It is for calls that open, map or start something: of a read without anything to read, EAGAIN says another thing.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| short.contains(&code))
}
