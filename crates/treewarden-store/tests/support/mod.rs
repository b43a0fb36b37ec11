//! Child processes for tests: this test binary again, in a role; killed when dropped.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::allow_attributes, reason = "whether the part is used differs between the binaries")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use treewarden_proto::SessionName;

const DEADLINE: Duration = Duration::from_secs(120);

/// This test binary, running its ignored test `role` on a directory.
pub(crate) struct Role {
    child: Child,
    lines: Receiver<String>,
}

impl Role {
    pub(crate) fn start(role: &str, dir: &Path, argument: &str) -> Self {
        Self::spawn(Command::new(std::env::current_exe().unwrap()), role, dir, argument)
    }

    /// The same as another user, which the super-user may do; `dir` must let that user in.
    pub(crate) fn start_as(uid: u32, role: &str, dir: &Path, argument: &str) -> Self {
        // Where the test binary lies, the other user may not come.
        let program = dir.join("role");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut command = Command::new(program);
        command.uid(uid).gid(uid).current_dir("/");
        Self::spawn(command, role, dir, argument)
    }

    /// The same by another program, which gets the test binary as its last argument but those of the role.
    pub(crate) fn start_by(by: &[&str], role: &str, dir: &Path, argument: &str) -> Self {
        let mut command = Command::new(by[0]);
        command.args(&by[1..]).arg(std::env::current_exe().unwrap());
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

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
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

pub(crate) fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}
