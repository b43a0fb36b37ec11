//! Child processes for tests: this test binary again, in a role; killed when dropped.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::DEADLINE;

/// This test binary, running its ignored test `role` on a directory.
pub(crate) struct Role {
    child: Child,
    lines: Receiver<String>,
}

impl Role {
    pub(crate) fn start(role: &str, dir: &Path, argument: &str) -> Self {
        Self::spawn(Command::new(std::env::current_exe().unwrap()), role, dir, argument)
    }

    fn spawn(mut command: Command, role: &str, dir: &Path, argument: &str) -> Self {
        let mut child = command
            .args([role, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env("ROLE_DIR", dir)
            .env("ROLE_ARGUMENT", argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
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

    /// Has the system send it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// What it said, until it says nothing for a moment.
    pub(crate) fn said_up_to_now(&self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.recv_timeout(Duration::from_millis(200)).ok()).collect()
    }

    /// The next thing it says.
    pub(crate) fn said(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("the role says something within the deadline")
    }

    /// Ends it with SIGKILL, and returns what it said before.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            said.push(line);
        }
        said
    }

    /// Closes its standard input and waits for its end.
    pub(crate) fn finish(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The directory and the argument that [`Role::start`] gave; `None` if the test was started by hand.
pub(crate) fn my_role() -> Option<(PathBuf, String)> {
    Some((std::env::var_os("ROLE_DIR")?.into(), std::env::var("ROLE_ARGUMENT").ok()?))
}

/// Says a line to whoever started this role.
pub(crate) fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    // One write for each line, so that a kill leaves no half of one that counts.
    out.write_all(format!("@{what}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Waits until whoever started this role closes its standard input, or dies.
pub(crate) fn wait_for_the_end() {
    let _nothing = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
