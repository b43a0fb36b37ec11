//! Faults for real processes: kill, terminate, freeze, thaw, and a look at what is left. Linux finds by `/proc`.
//!
//! They are for processes of the test: whoever gives a pid has to know that it is still the one that is meant. Nothing here finds a
//! process by its name, so that no test can hit another's.
//!
//! # Examples
//!
//! ```
//! use std::process::Command;
//! use std::time::Duration;
//!
//! use treewarden_testkit::faults;
//!
//! let mut child = Command::new("sleep").arg("600").spawn()?;
//! faults::freeze(child.id())?;
//! faults::thaw(child.id())?;
//! faults::kill(child.id())?;
//! assert!(!child.wait()?.success());
//! // Nothing carries the mark of a conversation that never was.
//! faults::assert_no_process_left("no-such-conversation", Duration::from_secs(60));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::poll_until;

fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    // 0 would mean the test's own process group, and a negative number somebody else's.
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(kill_process(pid, signal)?)
}

/// Kills one process with SIGKILL.
///
/// # Errors
///
/// The error of the system call; a pid of 0 is refused.
pub fn kill(pid: u32) -> io::Result<()> {
    signal(pid, Signal::KILL)
}

/// Asks one process to end with SIGTERM.
///
/// # Errors
///
/// The error of the system call; a pid of 0 is refused.
pub fn terminate(pid: u32) -> io::Result<()> {
    signal(pid, Signal::TERM)
}

/// Stops one process with SIGSTOP, until [`thaw`].
///
/// It keeps its pipes open and answers nothing, as a CLI that hangs; SIGTERM waits until it is thawed, and SIGKILL does not.
///
/// # Errors
///
/// The error of the system call; a pid of 0 is refused.
pub fn freeze(pid: u32) -> io::Result<()> {
    signal(pid, Signal::STOP)
}

/// Lets a frozen process go on.
///
/// # Errors
///
/// The error of the system call; a pid of 0 is refused.
pub fn thaw(pid: u32) -> io::Result<()> {
    signal(pid, Signal::CONT)
}

/// The pids of the processes that carry `TREEWARDEN_SESSION=<cookie>` in their environment.
///
/// # Errors
///
/// `/proc` cannot be read; a process that ends meanwhile is not an error.
pub fn processes_with_cookie(cookie: &str) -> io::Result<Vec<u32>> {
    let wanted = format!("TREEWARDEN_SESSION={cookie}");
    let pids = std::fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            // A process that is gone by now, or that is another user's, carries no mark that could be read.
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|b| *b == 0).any(|variable| variable == wanted.as_bytes())
        });
    Ok(pids.collect())
}

/// Waits until no process carries the cookie.
///
/// It blocks its thread, and looks every 5 ms.
///
/// # Panics
///
/// Some are left when the time is over, or `/proc` cannot be read.
pub fn assert_no_process_left(cookie: &str, limit: Duration) {
    let look = || processes_with_cookie(cookie).expect("/proc is readable");
    let gone = poll_until(limit, || look().is_empty().then_some(()));
    assert!(gone.is_some(), "processes of {cookie} are left: {:?}", look());
}
