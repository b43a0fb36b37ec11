//! Tests that need another process for a host run this test program again, with a role.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The variable that says what a role is to do; without it the role's test does nothing.
pub(crate) const ROLE: &str = "TREEWARDEN_TEST_ROLE";

/// A user who owns nothing.
pub(crate) const NOBODY: u32 = 65_534;

/// What the role is to do.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// This program again, in that role; what it says is piped.
pub(crate) fn rerun(role: &str, what: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--exact", "--ignored", "--nocapture", &format!("as_{role}")]);
    command.env(ROLE, what).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Waits for the end of whoever started this role, with which the role ends at the latest.
pub(crate) async fn starter_is_gone() {
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _either_way = ended.await.expect("it reads");
}

/// A copy of this program that everybody may execute.
pub(crate) struct Copied {
    folder: TempDir,
}

impl Copied {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        // Everybody may write it, as whoever plays a role leaves files there.
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).expect("it is ours");
        let exe = std::env::current_exe().expect("this program has a path");
        // Not copied here: a program that another test spawns meanwhile would hold the copy open for writing.
        let copied = Command::new("cp").arg(exe).arg(folder.path().join("host")).status();
        assert!(copied.is_ok_and(|status| status.success()), "this program cannot be copied");
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The arguments that run the role `name`, behind the words that run another program, if any.
    pub(crate) fn command(&self, before: &[&str], name: &str, what: &str) -> Command {
        let exe = self.path("host").into_os_string();
        let mut words = before.iter().map(|word| OsStr::new(*word)).chain([exe.as_os_str()]);
        let mut command = Command::new(words.next().expect("at least the program"));
        command.args(words).args(["--exact", "--ignored", "--nocapture", name]);
        command.env(ROLE, what).env("RUST_BACKTRACE", "0").current_dir(self.folder.path());
        command
    }
}

/// What a role said behind `word`, on a line that begins with it.
#[track_caller]
pub(crate) fn said(command: &mut Command, word: &str) -> String {
    let output = command.output().expect("it can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    let errors = String::from_utf8_lossy(&output.stderr);
    line.unwrap_or_else(|| panic!("it said nothing of {word}: {text} {errors}")).to_owned()
}

/// Tells whether another user or another namespace can be had; says so if not.
#[expect(clippy::print_stdout, reason = "what was skipped is said")]
pub(crate) fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped {what}: only root can have it");
    }
    is_root
}

/// Tells whether those words, before another program, give it namespaces of its own here; says so if not.
#[expect(clippy::print_stdout, reason = "what was skipped is said")]
pub(crate) fn can_have(way: &[&str]) -> bool {
    let can = Command::new(way[0]).args(&way[1..]).arg("true").status().is_ok_and(|status| status.success());
    if !can {
        println!("skipped {way:?}: it cannot be had here");
    }
    can
}
