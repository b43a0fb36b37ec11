//! A host that can be killed: the test binary again, in a role.
//!
//! It is told what to do on its standard input, a line each, and says what came of it on its standard output.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use treewarden::SessionSpec;
use treewarden_proto::spec::{InheritEnv, PermissionMode};

use crate::shapes::ANSWER;

/// Says a line to the test that started this process.
///
/// # Panics
///
/// If that is gone.
pub fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    // One write for each line, so that a kill leaves no half of one.
    out.write_all(format!("@{what}\n").as_bytes()).expect("the test reads");
}

/// What the test says, a line each, until it closes its end.
pub fn told() -> tokio::sync::mpsc::Receiver<String> {
    let (send, lines) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The options of a session of the role, with the CLI and the environment that the test said.
///
/// # Panics
///
/// If it said no CLI.
pub fn spec(dir: &Path, name: &str) -> SessionSpec {
    let mut spec = SessionSpec::new()
        .name(name.parse().expect("a valid name"))
        .cli_path(std::env::var_os("ROLE_CLI").expect("the test says it"))
        .cwd(dir.join("work"))
        .permission_mode(PermissionMode::BypassPermissions)
        .inherit_env(InheritEnv::Only(["PATH".to_owned()].into()))
        .timeout(ANSWER)
        .env("HOME", dir.display().to_string());
    for (name, value) in
        std::env::vars().filter_map(|(name, value)| Some((name.strip_prefix("ROLE_ENV_")?.to_owned(), value)))
    {
        spec = spec.env(name, value);
    }
    spec
}

/// A host that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    /// What it says.
    pub said: Receiver<String>,
}

impl Running {
    /// Starts this test binary in its ignored test `role`, whose sessions have this CLI and environment.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(role: &str, dir: &Path, cli: &Path, env: &[(String, String)]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args([role, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env("ROLE_DIR", dir)
            .env("ROLE_CLI", cli)
            .envs(env.iter().map(|(name, value)| (format!("ROLE_ENV_{name}"), value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let (send, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, said)) = line.split_once('@')
                    && send.send(said.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Self { child, stdin, said }
    }

    /// Tells it a line.
    pub fn tell(&mut self, what: &str) {
        // It may be dead already, which the test meant it to be.
        if let Some(stdin) = &mut self.stdin {
            drop(writeln!(stdin, "{what}"));
        }
    }

    /// Tells it that nothing more will be told.
    pub fn tell_the_end(&mut self) {
        self.stdin = None;
    }

    /// Ends it with SIGKILL; what it said before can still be read.
    ///
    /// # Panics
    ///
    /// If it is not there.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
