//! A real daemon on a fake CLI, in a folder of its own; everything ends with it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The command under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_treewarden");

/// Waits until `look` finds something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder with a config file, a state directory and a fake CLI.
pub(crate) struct World {
    dir: tempfile::TempDir,
    mark: String,
    /// The command, behind the words that run it as somebody else.
    words: Vec<OsString>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with("[[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\n")
    }

    /// A world whose file has these children.
    pub(crate) fn with(children: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("tw").tempdir().expect("a folder can be made");
        // The command is a stand-in for the CLI when it is started under this name.
        std::os::unix::fs::symlink(PROGRAM, dir.path().join("claude-stand-in")).expect("a link can be made");
        let mark = dir.path().file_name().expect("it has a name").to_string_lossy().into_owned();
        let world = Self { dir, mark, words: vec![PROGRAM.into()] };
        world.rewrite(children);
        world
    }

    /// Gives the file other children.
    pub(crate) fn rewrite(&self, children: &str) {
        self.rewrite_all("", "", children);
    }

    /// Gives the file other children, other lines in its `[defaults]`, and other lines before them.
    pub(crate) fn rewrite_all(&self, top: &str, defaults: &str, children: &str) {
        let top = if top.is_empty() { String::new() } else { format!("{top}\n") };
        let (home, mark) = (self.path("home"), &self.mark);
        let text = format!(
            "{top}[defaults]\ninclude_partial_messages = true\ncli_path = \"./claude-stand-in\"\ncwd = \".\"\n\
             env = {{ CLAUDE_CONFIG_DIR = {home:?}, TW_TEST = {mark:?} }}\n{defaults}\n{children}"
        );
        fs::write(self.path("treewarden.toml"), text).expect("the file can be written");
    }

    /// The session's line of `ps`.
    #[track_caller]
    pub(crate) fn session(&self, name: &str) -> Value {
        let ps = self.json(&["ps", "--json"]);
        let found = ps.as_array().into_iter().flatten().find(|session| session["name"] == name);
        found.cloned().unwrap_or_else(|| panic!("{name} is not in {ps}"))
    }

    /// Waits until the session is in this state, and returns its line.
    #[track_caller]
    pub(crate) fn when(&self, name: &str, state: &str) -> Value {
        eventually(&format!("{name} is {state}"), || {
            Some(self.session(name)).filter(|session| session["state"] == state)
        })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("state/control.sock")
    }

    /// The command with these arguments, for this world's tree.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).current_dir(self.dir.path()).args(args);
        command.env_remove("RUST_LOG").env_remove("TREEWARDEN_FAKE").env("NO_COLOR", "1");
        command.env("TREEWARDEN_SOCKET", self.socket());
        command
    }

    /// Gives the world to a user who owns nothing else, and has the command be run as that one from now on.
    pub(crate) fn give_away(&mut self) {
        const NOBODY: &str = "65534";
        let program = self.give_files_to(NOBODY);
        let words = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
        self.words = words.map(OsString::from).into_iter().chain([program.into()]).collect();
    }

    /// Gives the world to a user, and returns the command in there, which that one can run wherever the other lies.
    pub(crate) fn give_files_to(&self, user: &str) -> PathBuf {
        let program = self.path("treewarden");
        fs::copy(PROGRAM, &program).expect("it can be copied");
        fs::remove_file(self.path("claude-stand-in")).expect("it is there");
        std::os::unix::fs::symlink(&program, self.path("claude-stand-in")).expect("a link can be made");
        let given = Command::new("chown").args(["-R", user]).arg(self.dir.path()).status();
        assert!(given.is_ok_and(|status| status.success()), "it can be given away");
        program
    }

    /// Runs a verb to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().expect("the command can be run")
    }

    /// Runs a verb that is to succeed, and reads its JSON.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("the command prints JSON")
    }

    /// Runs a verb, and reads its JSON, however it ends.
    #[track_caller]
    pub(crate) fn json_of(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?} prints no JSON: {stderr}"))
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn daemon(&self) -> Daemon {
        let daemon = self.start(&["run", "--state-dir", "state"]);
        self.answers();
        daemon
    }

    /// Waits until the daemon answers: one that is slow to start would be given up by a verb.
    #[track_caller]
    fn answers(&self) {
        eventually("the daemon answers", || {
            let mut stream = UnixStream::connect(self.socket()).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(120))).ok()?;
            writeln!(stream, "{{\"op\":\"hello\"}}").ok()?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).ok()?;
            line.starts_with("{\"ok\"").then_some(())
        });
    }

    pub(crate) fn start(&self, args: &[&str]) -> Daemon {
        self.started(self.command(args))
    }

    /// Starts the daemon by another program.
    pub(crate) fn start_below(&self, program: &str, before: &[&str], args: &[&str]) -> Daemon {
        let own = self.command(args);
        let own = std::iter::once(own.get_program()).chain(own.get_args());
        self.start_other(program, &before.iter().map(OsStr::new).chain(own).collect::<Vec<_>>())
    }

    /// Starts the daemon as another program says, which is told all of it.
    pub(crate) fn start_other<A: AsRef<OsStr>>(&self, program: &str, args: &[A]) -> Daemon {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path()).env_remove("RUST_LOG").env_remove("TREEWARDEN_FAKE");
        self.started(command)
    }

    fn started(&self, command: Command) -> Daemon {
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log"));
        self.started_with(command, log.expect("the log can be opened"))
    }

    /// Starts the daemon with its stderr elsewhere, and waits until it answers.
    pub(crate) fn daemon_with(&self, mut command: Command, stderr: impl Into<Stdio>) -> Daemon {
        command.args(["run", "--state-dir", "state"]);
        let daemon = self.started_with(command, stderr);
        self.answers();
        daemon
    }

    fn started_with(&self, mut command: Command, stderr: impl Into<Stdio>) -> Daemon {
        command.env_remove("TREEWARDEN_SOCKET").stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Daemon(command.spawn().expect("the daemon can be started"))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Every process that descends from this world's CLIs.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let wanted = format!("TW_TEST={}", self.mark);
        let entries = fs::read_dir("/proc").expect("/proc can be read").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let marked = |pid: &u32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        };
        pids.filter(marked).collect()
    }

    /// Asserts that no process is left soon.
    #[track_caller]
    pub(crate) fn nothing_is_left(&self) {
        let until = Instant::now() + Duration::from_secs(120);
        while !self.processes().is_empty() {
            assert!(Instant::now() < until, "processes are left: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.dir.path()).join(name)
    }
}

/// A process that is killed when the value is dropped.
pub(crate) struct Killed(pub(crate) u32);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-KILL", &self.0.to_string()]).stderr(Stdio::null()).status());
    }
}

/// A running daemon; dropping it kills it.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(sent.expect("kill can be run").success());
    }

    /// Waits for the end, and returns the exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        eventually("the daemon ends", || self.0.try_wait().expect("it can be waited for")).code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
