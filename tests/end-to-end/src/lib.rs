//! What the end-to-end tests share: a host in a folder of its own, and a fake CLI that it drives.

pub mod faulty;
pub mod fleet;
pub mod ground;
pub mod kills;
pub mod real;
pub mod running;
pub mod shapes;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use treewarden::session::SessionState;
use treewarden::{Host, Session, SessionOptions, SessionSpec, TurnId};
use treewarden_testkit::real_cli::RealCli;
use treewarden_testkit::{fake_cli, faults};

/// So long a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with a state directory, a home and a working directory, gone with the value.
#[derive(Debug)]
pub struct Lab {
    dir: tempfile::TempDir,
    /// The host whose state is kept there.
    pub host: Host,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// Makes the folder and opens a host in it.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::create_dir(dir.path().join("work")).expect("a folder can be made");
        let host = Host::options().state_dir(dir.path().join("state")).open().expect("a host can be opened");
        Self { dir, host }
    }

    /// Opens the state directory again, as another host would.
    pub fn reopen(self) -> Self {
        let Self { dir, host } = self;
        let state = host.state_dir().to_owned();
        drop(host);
        let host = Host::options().state_dir(state).open().expect("a host can be opened");
        Self { dir, host }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The options of a session on the fake CLI.
    pub fn spec(&self, name: &str) -> SessionSpec {
        SessionSpec::new()
            .name(name.parse().expect("a valid name"))
            .cli_path(fake_cli_path())
            .cwd(self.path().join("work"))
            .env("HOME", self.path().display().to_string())
            .env("CLAUDE_CONFIG_DIR", self.path().join("claude").display().to_string())
    }

    /// The same, for this lab's host.
    pub fn options(&self, name: &str) -> SessionOptions {
        SessionOptions::from(self.spec(name)).host(&self.host)
    }
}

/// The fake CLI, built if it is not there yet.
pub fn fake_cli_path() -> PathBuf {
    fake_cli::fake_cli_path().expect("the fake CLI is built with the tests")
}

/// Polls until `probe` gives a value.
///
/// # Panics
///
/// If it gives none in time.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that no process carries the cookie of a conversation.
///
/// # Panics
///
/// If one still does after a minute.
pub fn assert_nothing_left(session_id: &str) {
    faults::assert_no_process_left(session_id, Duration::from_secs(60));
}

/// The real CLI at the pinned version, installed on first use; `None` if it is to be skipped, which is printed.
pub fn real_cli() -> Option<PathBuf> {
    RealCli::for_test().map(|cli| cli.path().to_owned())
}

impl Lab {
    /// The options of a session on the fake CLI that follows this JSON script.
    pub fn scripted(&self, name: &str, script: &str) -> SessionOptions {
        SessionOptions::from(self.spec(name).env("TREEWARDEN_FAKE", script)).host(&self.host)
    }

    /// The options of a session that streams partial messages.
    pub fn streaming(&self, name: &str) -> SessionOptions {
        SessionOptions::from(self.spec(name).include_partial_messages(true)).host(&self.host)
    }

    /// How often a prompt that contains `text` stands in the fake CLI's transcript of a conversation.
    pub fn times_in_transcript(&self, session_id: &str, text: &str) -> usize {
        self.prompts(session_id).iter().filter(|prompt| prompt.contains(text)).count()
    }

    /// The fake CLI's transcript of a conversation, as it is; empty if there is none.
    pub fn transcript(&self, session_id: &str) -> String {
        self.transcript_path(session_id)
            .and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default()
    }

    /// Where it is, if it is there.
    pub fn transcript_path(&self, session_id: &str) -> Option<PathBuf> {
        let projects = std::fs::read_dir(self.path().join("claude/projects")).ok()?;
        let mut files = projects.flatten().map(|project| project.path().join(format!("{session_id}.jsonl")));
        files.find(|file| file.exists())
    }

    /// The prompts in the fake CLI's transcript of a conversation, in the order of the file.
    pub fn prompts(&self, session_id: &str) -> Vec<String> {
        let text = self.transcript(session_id);
        let entries = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let prompts = entries.filter(|entry| entry["type"] == "user");
        prompts.filter_map(|entry| entry["message"]["content"].as_str().map(str::to_owned)).collect()
    }
}

impl Lab {
    /// The prompts that the model sees in the fake CLI's transcript of a conversation, in order: those of the branch of
    /// the newest answer, over compactions, and those that were woven into a turn of the CLI's own.
    pub fn context(&self, session_id: &str) -> Vec<String> {
        context(&self.path().join("claude"), session_id)
    }
}

/// The same for a configuration folder of the CLI.
pub fn context(config: &Path, session_id: &str) -> Vec<String> {
    let Ok(projects) = std::fs::read_dir(config.join("projects")) else { return Vec::new() };
    let files = projects.flatten().map(|project| project.path().join(format!("{session_id}.jsonl")));
    let text: String = files.filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    let entries: Vec<serde_json::Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let by_uuid: HashMap<&str, &serde_json::Value> =
        entries.iter().filter_map(|entry| Some((entry["uuid"].as_str()?, entry))).collect();
    let mut at = entries.iter().rev().find(|entry| entry["type"] == "assistant");
    let mut prompts = Vec::new();
    while let Some(entry) = at.filter(|_| prompts.len() <= entries.len()) {
        let woven = entry["attachment"]["prompt"].as_str();
        let said = entry["message"]["content"].as_str().filter(|_| entry["type"] == "user");
        prompts.extend(woven.or(said).map(str::to_owned));
        let parent = entry["parentUuid"].as_str().or_else(|| entry["logicalParentUuid"].as_str());
        at = parent.and_then(|parent| by_uuid.get(parent).copied());
    }
    prompts.reverse();
    prompts
}
/// The id of a session's conversation.
///
/// # Panics
///
/// If the session has none yet.
pub async fn id_of(session: &Session) -> String {
    let status = session.status().await.expect("the session is there");
    status.session_id.expect("a CLI was started").to_string()
}

/// Waits until the session is in this state.
///
/// # Panics
///
/// If it does not come to it in time.
pub async fn reaches(session: &Session, state: SessionState) {
    eventually(&format!("{state:?}"), async || (session.status().await.ok()?.state == state).then_some(()))
        .await;
}

/// Waits until the journal holds the outcome of a turn, and returns it.
///
/// # Panics
///
/// If it holds none in time.
pub async fn outcome_of(host: &Host, turn: TurnId) -> serde_json::Value {
    eventually("the turn is settled", async || {
        host.turn(turn).await.expect("the journal is readable")?.outcome
    })
    .await
}

/// Stops the session and checks that no process of it is left.
///
/// # Panics
///
/// If it does not stop, or leaves a process.
pub async fn end(session: &Session) {
    let id = id_of(session).await;
    session.stop().await.expect("stopped");
    assert_nothing_left(&id);
}

/// Waits until no process carries the cookie of a conversation, while the runtime goes on.
///
/// # Panics
///
/// If one still does after a while.
pub async fn nothing_left(session_id: &str) {
    eventually("no process is left", async || {
        faults::processes_with_cookie(session_id).expect("/proc is readable").is_empty().then_some(())
    })
    .await;
}

impl Lab {
    /// The CLIs that run in this lab, each with its conversation.
    pub fn clis(&self) -> Vec<(u32, String)> {
        let home = format!("HOME={}", self.path().display());
        let pids = std::fs::read_dir("/proc").expect("/proc is readable");
        let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let look = |pid: u32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let mut variables = environ.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            variables.clone().find(|variable| *variable == home)?;
            let cookie = variables
                .find_map(|variable| variable.strip_prefix("TREEWARDEN_SESSION=").map(str::to_owned));
            cookie.map(|cookie| (pid, cookie))
        };
        pids.filter_map(look).collect()
    }

    /// Waits until no CLI runs in this lab, while the runtime goes on.
    pub async fn empty(&self) {
        eventually("no CLI is left", async || self.clis().is_empty().then_some(())).await;
    }
}
