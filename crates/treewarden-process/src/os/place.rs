//! Where a process stands among the others; asked of hundreds of processes, so it must cost next to nothing.
#![expect(
    unsafe_code,
    reason = "the safe wrappers take it for granted that no process is in group 0, which many are"
)]

use std::io;

use rustix::io::Errno;

use crate::pid::Pid;

/// The group and the session of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// `None` if it is the first process's, or if it began outside of what can be seen from here, as the kernel's own.
    pub(crate) group: Option<Pid>,
    /// Likewise, and where the system does not tell.
    pub(crate) session: Option<Pid>,
}

/// The place of a process; `None` if there is none.
pub(crate) fn place(pid: Pid) -> io::Result<Option<Place>> {
    let raw = pid.as_rustix().as_raw_pid();
    // SAFETY: both take a number and return one.
    let (group, session) = unsafe { (checked(libc::getpgid(raw)), checked(libc::getsid(raw))) };
    match (group, session) {
        (Ok(group), Ok(session)) => Ok(Some(Place { group, session })),
        (Err(Errno::SRCH), _) | (_, Err(Errno::SRCH)) => Ok(None),
        (Err(error), _) | (_, Err(error)) => Err(error.into()),
    }
}

/// Must be called before anything else changes `errno`.
fn checked(id: libc::pid_t) -> Result<Option<Pid>, Errno> {
    match u32::try_from(id) {
        Ok(id) => Ok(Pid::new(id)),
        Err(_) => match Errno::from_io_error(&io::Error::last_os_error()) {
            Some(Errno::PERM) | None => Ok(None),
            Some(error) => Err(error),
        },
    }
}
