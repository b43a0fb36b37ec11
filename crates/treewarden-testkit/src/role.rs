//! Child processes for tests: the test binary again, running one of its ignored tests as a role; killed when dropped.
//!
//! It is for what needs a second process: a lock, a kill, another user. The role says lines, which are told from what the test
//! harness prints. It is not for processes of another program, and must never leave one.
//!
//! ```text
//! test ── Role::start ──► the same binary: role_… --exact --ignored --nocapture
//!   ▲                        │  ROLE_DIR, ROLE_ARGUMENT ──► my_role()
//!   │  said() ◄─ lines ◄─ stdout: @… ◄── say()
//!   └─ tell() ──────────► stdin ──► whatever the role reads, wait_for_the_end()
//! ```
//!
//! A role that is run by hand, as `cargo test -- --ignored` does, finds no directory: [`my_role`] says `None`, and it returns at once. One
//! thread for each role reads its lines; it ends with the role's stdout. The lines that nobody took are kept, 65,536 of them at most, and
//! then the role waits in `say`.

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
    /// Killed and reaped when the value is dropped, also where the test panics.
    child: Child,
    /// What the role said and nobody took yet; closed once its stdout is.
    lines: Receiver<String>,
}

impl Role {
    /// Starts the test `role` on `dir`; it gets both by [`my_role`].
    ///
    /// `role` is the whole name of the test, with its modules (`locks::role_holds_the_lock`): it is matched exactly, and where none has that name
    /// the process ends at once, so that [`said`](Self::said) panics. `argument` is any text, and means what the two agree on.
    ///
    /// # Panics
    ///
    /// If the system starts no process.
    pub fn start(role: &str, dir: &Path, argument: &str) -> Self {
        Self::spawn(Command::new(this_binary()), role, dir, argument)
    }

    /// Starts it as another user, which the super-user may do; `dir` must let that user in.
    ///
    /// The test binary is copied to `dir/role`, and the role works in `/`. A test that is not run by the super-user has to skip this, and to
    /// print that it does.
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
    /// So a role gets limits, another namespace or another root: `by` is the program and its first arguments, such as
    /// `["prlimit", "--nofile=64"]`. It has to become the test binary (`exec`) or hand signals on, as [`pid`](Self::pid) and the kill mean the
    /// process that was started.
    ///
    /// # Panics
    ///
    /// If `by` is empty, or the system starts no process.
    pub fn start_by(by: &[&str], role: &str, dir: &Path, argument: &str) -> Self {
        let mut command = Command::new(by[0]);
        command.args(&by[1..]).arg(this_binary());
        Self::spawn(command, role, dir, argument)
    }

    /// Starts the command as the role, with its stdin and stdout as pipes; its stderr is the test's.
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
    /// It blocks for up to two minutes. What it returns is the line without the mark `@` with which [`say`] begins it.
    ///
    /// # Panics
    ///
    /// If it says nothing in time.
    ///
    /// A role that has ended says nothing any more: then it panics at once.
    pub fn said(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("the role says something within the deadline")
    }

    /// What it said, until it says nothing for a moment.
    ///
    /// A moment is 200 ms. So it is for what a role says again and again; whether something was *not* said can never be told by it on a machine
    /// that is busy.
    pub fn said_up_to_now(&self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.recv_timeout(MOMENT).ok()).collect()
    }

    /// Ends it with SIGKILL, and returns what it said before.
    ///
    /// It returns once the process is reaped and its pipe was read to the end, so what is returned is all that it ever said. Files that it
    /// wrote are as a crash leaves them; locks of the system are free.
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
    /// It is for a role that ends with its stdin, such as one in [`wait_for_the_end`]. It waits without a deadline; what was said is dropped.
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

/// The test binary itself; gone if somebody built it anew while it runs, and then no role starts.
fn this_binary() -> PathBuf {
    std::env::current_exe().expect("the system knows the path of this program")
}

/// The directory and the argument that [`Role::start`] gave; `None` if the test was started by hand.
///
/// # Examples
///
/// ```
/// use treewarden_testkit::role::my_role;
///
/// // Nobody started this example as a role.
/// assert_eq!(my_role(), None);
/// ```
pub fn my_role() -> Option<(PathBuf, String)> {
    Some((std::env::var_os("ROLE_DIR")?.into(), std::env::var("ROLE_ARGUMENT").ok()?))
}

/// Says a line to whoever started this role.
///
/// A line end within it would make two lines, of which only the first has the mark and is heard.
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
///
/// So a role never outlives its test: the system closes the pipe also where that was killed. What is written to it by [`Role::tell`] is
/// read and dropped.
pub fn wait_for_the_end() {
    let _nothing = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
