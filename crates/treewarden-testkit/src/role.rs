//! Child processes for tests: the test binary again, running one of its ignored tests as a role; killed when dropped.
//!
//! It is for what needs a second process: a lock, a kill, another user. The role says lines, which are told from what the test
//! harness prints. It is not for processes of another program, and must never leave one.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// Nothing takes longer, but on a machine that does nothing at all.
const DEADLINE: Duration = Duration::from_secs(120);

/// A role says no more for now when it says nothing for so long.
const MOMENT: Duration = Duration::from_millis(200);

/// This test binary, running its ignored test of a name on a directory.
///
/// Each method panics where the role does not do what is waited for within two minutes.
///
/// # Examples
///
/// A test, and its other process, which is a test that is ignored (`#[ignore = "a role of another test"]`):
///
/// ```no_run
/// use treewarden_testkit::role::{Role, my_role, say};
///
/// fn a_lock_is_free_when_its_holder_is_killed() {
///     let dir = std::env::temp_dir();
///     let holder = Role::start("role_holds_the_lock", &dir, "exclusive");
///     assert_eq!(holder.said(), "locked");
///     holder.kill();
///     // … the lock can be had.
/// }
///
/// fn role_holds_the_lock() {
///     let Some((_dir, _argument)) = my_role() else { return };
///     // … takes the lock in that directory.
///     say("locked");
///     std::thread::park();
/// }
/// # a_lock_is_free_when_its_holder_is_killed();
/// # role_holds_the_lock();
/// ```
#[derive(Debug)]
pub struct Role {
    child: Child,
    lines: Receiver<String>,
}

impl Role {
    /// Starts the test `role` on `dir`; it gets both by [`my_role`].
    ///
    /// # Panics
    ///
    /// If the system starts no process.
    pub fn start(role: &str, dir: &Path, argument: &str) -> Self {
        Self::spawn(Command::new(this_binary()), role, dir, argument)
    }

    /// Starts it as another user, which the super-user may do; `dir` must let that user in.
    ///
    /// # Panics
    ///
    /// If the test binary cannot be copied into `dir`, or the system starts no process.
    pub fn start_as(uid: u32, role: &str, dir: &Path, argument: &str) -> Self {
        // Where the test binary lies, the other user may not come.
        let program = dir.join("role");
        std::fs::copy(this_binary(), &program).expect("the test binary can be copied");
        let mut command = Command::new(program);
        command.uid(uid).gid(uid).current_dir("/");
        Self::spawn(command, role, dir, argument)
    }

    /// Starts it by another program, which gets the test binary as its last argument but those of the role.
    ///
    /// # Panics
    ///
    /// If `by` is empty, or the system starts no process.
    pub fn start_by(by: &[&str], role: &str, dir: &Path, argument: &str) -> Self {
        let mut command = Command::new(by[0]);
        command.args(&by[1..]).arg(this_binary());
        Self::spawn(command, role, dir, argument)
    }

    fn spawn(mut command: Command, role: &str, dir: &Path, argument: &str) -> Self {
        let mut child = command
            .args([role, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env("ROLE_DIR", dir)
            .env("ROLE_ARGUMENT", argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the system starts a process");
        let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let (send, lines) = sync_channel(1 << 16);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Only what the role says; the test harness says more.
                if let Some((_, said)) = line.split_once('@')
                    && send.send(said.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Its process, such as for [`faults::freeze`](crate::faults::freeze).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is taken at the end alone");
        writeln!(stdin, "{line}").expect("the role reads");
    }

    /// The next thing it says.
    ///
    /// # Panics
    ///
    /// If it says nothing in time.
    pub fn said(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("the role says something within the deadline")
    }

    /// What it said, until it says nothing for a moment.
    pub fn said_up_to_now(&self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.recv_timeout(MOMENT).ok()).collect()
    }

    /// Ends it with SIGKILL, and returns what it said before.
    ///
    /// # Panics
    ///
    /// If the system does not end it.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("a process of ours can be killed");
        self.child.wait().expect("a child can be waited for");
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            said.push(line);
        }
        said
    }

    /// Closes its standard input and waits for its end.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn finish(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("a child can be waited for").success(), "the role failed");
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn this_binary() -> PathBuf {
    std::env::current_exe().expect("the system knows the path of this program")
}

/// The directory and the argument that [`Role::start`] gave; `None` if the test was started by hand.
pub fn my_role() -> Option<(PathBuf, String)> {
    Some((std::env::var_os("ROLE_DIR")?.into(), std::env::var("ROLE_ARGUMENT").ok()?))
}

/// Says a line to whoever started this role.
///
/// # Panics
///
/// If nobody reads it.
pub fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    // One write for each line, so that a kill leaves no half of one that counts.
    let said = out.write_all(format!("@{what}\n").as_bytes()).and_then(|()| out.flush());
    said.expect("whoever started the role reads");
}

/// Waits until whoever started this role closes its standard input, or dies.
pub fn wait_for_the_end() {
    let _nothing = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
