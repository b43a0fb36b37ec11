//! Faults for real processes: kill, terminate, freeze, thaw, and a look at what is left. Linux finds by `/proc`.
//!
//! They are for processes of the test: whoever gives a pid has to know that it is still the one that is meant. Nothing here finds a
//! process by its name, so that no test can hit another's.
//!
//! | fault | signal | what the process notices | what its parent notices |
//! |---|---|---|---|
//! | [`kill`] | SIGKILL | nothing: it is gone, with what it had not flushed | the end of its pipes, and a child to reap |
//! | [`terminate`] | SIGTERM | may clean up, or ignore it | nothing until it ends |
//! | [`freeze`] | SIGSTOP | nothing until it is thawed, but that time went by | nothing: pipes stay open, no answer comes |
//! | [`thaw`] | SIGCONT | goes on where it stood | answers again |
//!
//! None of them waits: a signal is on its way when the call returns, and a killed process is still there as a zombie until its parent
//! has reaped it. So a test waits for what it wants to see, by [`poll_until`] or by `Child::wait`.
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

/// Sends the signal to exactly one process; no way leads from here to a process group.
fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    // 0 would mean the test's own process group, and a negative number somebody else's.
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(kill_process(pid, signal)?)
}

/// Kills one process with SIGKILL.
///
/// Its children live on: they are the parent's to clean up, and whether it does is what a test of a crash asks.
///
/// # Errors
///
/// The error of the system call; a pid of 0 is refused.
pub fn kill(pid: u32) -> io::Result<()> {
    signal(pid, Signal::KILL)
}

/// Asks one process to end with SIGTERM.
///
/// It may take its time, or refuse. A frozen process gets the signal once it is thawed.
///
/// # Errors
///
/// The error of the system call; a pid of 0 is refused.
///
/// # Examples
///
/// ```
/// use std::os::unix::process::ExitStatusExt;
/// use std::process::Command;
///
/// use treewarden_testkit::faults;
///
/// let mut child = Command::new("sleep").arg("600").spawn()?;
/// faults::terminate(child.id())?;
/// assert_eq!(child.wait()?.signal(), Some(15));
/// assert!(faults::terminate(0).is_err(), "a 0 would be the test's own process group");
/// # Ok::<(), std::io::Error>(())
/// ```
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
/// It is harmless for one that runs. A test that froze a process and then fails leaves it frozen unless something kills it: SIGKILL needs
/// no thaw.
///
/// # Errors
///
/// The error of the system call; a pid of 0 is refused.
pub fn thaw(pid: u32) -> io::Result<()> {
    signal(pid, Signal::CONT)
}

/// The pids of the processes that carry `TREEWARDEN_SESSION=<cookie>` in their environment.
///
/// A supervisor puts the variable into the environment of what it starts, so it is inherited by whatever that starts in turn, also by a
/// process that has left its group and session. One that wrote over its environment is missed, and so is one of another user: `/proc` does
/// not show theirs. The look is no snapshot, as processes come and go while it lasts.
///
/// # Errors
///
/// `/proc` cannot be read; a process that ends meanwhile is not an error.
///
/// # Examples
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use std::process::Command;
/// use std::time::Duration;
///
/// use treewarden_testkit::{faults, poll_until};
///
/// let mut child = Command::new("sleep").arg("600").env("TREEWARDEN_SESSION", "example-of-a-cookie").spawn()?;
/// // The environment shows once the child has become its program, which is a moment after the spawn.
/// let found = poll_until(Duration::from_secs(60), || {
///     let found = faults::processes_with_cookie("example-of-a-cookie").ok()?;
///     found.contains(&child.id()).then_some(())
/// });
/// faults::kill(child.id())?;
/// child.wait()?;
/// assert!(found.is_some());
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
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
/// It is what a test of a clean end asks last. A zombie counts as gone, as its environment can no longer be read: this says nothing of
/// whether children were reaped.
///
/// # Panics
///
/// Some are left when the time is over, or `/proc` cannot be read.
pub fn assert_no_process_left(cookie: &str, limit: Duration) {
    let look = || processes_with_cookie(cookie).expect("/proc is readable");
    let gone = poll_until(limit, || look().is_empty().then_some(()));
    assert!(gone.is_some(), "processes of {cookie} are left: {:?}", look());
}
