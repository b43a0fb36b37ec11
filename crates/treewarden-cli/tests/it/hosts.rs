//! Several daemons over one config directory of the CLI, each with a state directory of its own, and perhaps of another user
//! or in other namespaces.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::support::{PROGRAM, eventually};

/// A user who owns nothing.
pub(crate) const NOBODY: &str = "65534";

/// Words that give a program another user, or namespaces of its own.
pub(crate) const AS_NOBODY: &[&str] = &["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
pub(crate) const OTHER_IDS: &[&str] = &["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
pub(crate) const OTHER_TIMES: &[&str] = &["unshare", "--time", "--boottime", "100000"];
pub(crate) const EARLIER_TIMES: &[&str] = &["unshare", "--time", "--boottime", "-1"];

/// Tells whether programs can be run behind all of these words here; says so if not.
#[expect(clippy::print_stdout, reason = "what was skipped is said")]
pub(crate) fn can_have(ways: &[&[&str]]) -> bool {
    for way in ways.iter().filter(|way| !way.is_empty()) {
        let tried = Command::new(way[0]).args(&way[1..]).arg("true").stderr(Stdio::null()).status();
        if !tried.is_ok_and(|status| status.success()) {
            println!("skipped: {} cannot be had here, and mostly by root alone", way.join(" "));
            return false;
        }
    }
    true
}

/// A folder that every user may use, with the program in it and a config directory.
pub(crate) struct Shared {
    dir: tempfile::TempDir,
}

impl Shared {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("tw").tempdir().expect("a folder can be made");
        let shared = Self { dir };
        fs::create_dir(shared.path("home")).expect("made");
        for open in [shared.dir.path(), &shared.path("home")] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o777)).expect("it is ours");
        }
        // The way to the program may be closed to others. Not copied here: a program that another test spawns meanwhile would
        // hold the copy open for writing.
        if fs::hard_link(PROGRAM, shared.path("treewarden")).is_err() {
            let copied = Command::new("cp").arg(PROGRAM).arg(shared.path("treewarden")).status();
            assert!(copied.is_ok_and(|status| status.success()), "the program cannot be copied");
        }
        std::os::unix::fs::symlink("treewarden", shared.path("claude-stand-in")).expect("linked");
        shared
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a daemon behind these words, with one session; both have this name.
    pub(crate) fn daemon(&self, name: &'static str, words: &'static [&'static str], more: &str) -> Site {
        let text = format!(
            "[[child]]\nname = {name:?}\ncli_path = \"./claude-stand-in\"\ncwd = \".\"\n\
             env = {{ CLAUDE_CONFIG_DIR = {:?} }}\n{more}\n",
            self.path("home")
        );
        fs::write(self.path(&format!("{name}.toml")), text).expect("written");
        let site = Site { root: self.dir.path().to_owned(), name, words, child: None };
        site.run_again()
    }

    /// The prompts in the transcript of the conversation, in the order of the file.
    pub(crate) fn prompts(&self, id: &str) -> Vec<String> {
        let projects = fs::read_dir(self.path("home/projects")).into_iter().flatten().flatten();
        let files = projects.map(|project| project.path().join(format!("{id}.jsonl")));
        let text: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("whole lines"));
        let prompts = entries.filter(|entry| entry["type"] == "user");
        prompts.filter_map(|entry| entry["message"]["content"].as_str().map(str::to_owned)).collect()
    }

    /// The prompts that a CLI which resumed the conversation would see: the way back from its last answer.
    pub(crate) fn context(&self, id: &str) -> Vec<String> {
        let projects = fs::read_dir(self.path("home/projects")).into_iter().flatten().flatten();
        let files = projects.map(|project| project.path().join(format!("{id}.jsonl")));
        let text: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
        let entries: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut at = entries.iter().rev().find(|entry| entry["type"] == "assistant");
        let mut prompts = Vec::new();
        while let Some(entry) = at {
            let said = entry["message"]["content"].as_str().filter(|_| entry["type"] == "user");
            prompts.extend(said.map(str::to_owned));
            at = entry["parentUuid"]
                .as_str()
                .and_then(|parent| entries.iter().find(|entry| entry["uuid"] == *parent));
        }
        prompts.reverse();
        prompts
    }
}

/// A daemon; dropping it kills it.
pub(crate) struct Site {
    root: PathBuf,
    name: &'static str,
    words: &'static [&'static str],
    child: Option<Child>,
}

impl Site {
    fn command(&self, words: &[&str], args: &[&str]) -> Command {
        let program = self.root.join("treewarden").into_os_string();
        let mut all = words.iter().map(std::ffi::OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(all.next().expect("at least the program"));
        command.args(all).args(args).current_dir(&self.root).env("HOME", &self.root).env("NO_COLOR", "1");
        command.env_remove("RUST_LOG").env_remove("TREEWARDEN_FAKE").stdin(Stdio::null());
        command
    }

    fn state(&self) -> PathBuf {
        self.root.join(format!("state-{}", self.name))
    }

    /// Starts the daemon, which does not run, and waits until it listens.
    pub(crate) fn run_again(mut self) -> Self {
        let (file, state) = (format!("{}.toml", self.name), self.state());
        let args = ["run", &file, "--state-dir", state.to_str().expect("plain letters")];
        let mut command = self.command(self.words, &args);
        command.env_remove("TREEWARDEN_SOCKET").stdout(Stdio::null());
        let log = fs::File::options().create(true).append(true).open(self.root.join("log"));
        command.stderr(log.expect("the log can be opened"));
        self.child = Some(command.spawn().expect("the daemon can be started"));
        eventually("the daemon listens", || {
            let socket = self.state().join("control.sock");
            std::os::unix::net::UnixStream::connect(socket).ok()
        });
        self
    }

    /// Runs a verb as the daemon's user.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let words = if self.words == AS_NOBODY { self.words } else { &[] };
        let mut command = self.command(words, args);
        command.env("TREEWARDEN_SOCKET", self.state().join("control.sock"));
        command.output().expect("the command can be run")
    }

    /// What a verb with `--json` prints, however it ends.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?} prints no JSON: {stderr}"))
    }

    /// The daemon's line of `ps`.
    #[track_caller]
    pub(crate) fn session(&self) -> Value {
        self.json(&["ps", "--json"])[0].clone()
    }

    /// The daemon's own process, as it is counted here.
    pub(crate) fn pid(&self) -> u32 {
        let pid = self.child.as_ref().expect("it runs").id();
        if !self.words.contains(&"--fork") {
            return pid;
        }
        eventually("it has forked", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        })
    }

    /// The daemon's process, as it is counted where it runs.
    pub(crate) fn own_pid(&self) -> u32 {
        if self.words.contains(&"--pid") { 1 } else { self.pid() }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(sent.expect("kill can be run").success());
    }

    /// Ends the daemon by this signal, and waits for it.
    pub(crate) fn end(mut self, signal: &str) -> Self {
        self.signal(signal);
        let child = self.child.as_mut().expect("it runs");
        eventually("the daemon ends", || child.try_wait().expect("it can be waited for"));
        self.child = None;
        self
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// This machine's name.
pub(crate) fn machine() -> String {
    let name = fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).expect("it can be read");
    name.trim().to_owned()
}
