//! The real CLI is installed on first use, and its turns reach the mock API and no other.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use treewarden_testkit::mock_api::MockApi;
use treewarden_testkit::real_cli::{PINNED_VERSION, RealCli};

const LIMIT: Duration = Duration::from_secs(120);

/// A running CLI; it is killed and reaped with the value.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    frames: Receiver<Value>,
}

impl Running {
    fn start(cli: &RealCli, home: &Path, api: &MockApi, args: &[&str]) -> Self {
        let mut child = Command::new(cli.path())
            .args(["--output-format", "stream-json", "--input-format", "stream-json", "--verbose"])
            .args(["--dangerously-skip-permissions"])
            .args(args)
            .env_clear()
            .envs(cli.environment(home, api))
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the real CLI starts");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, frames) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(frame) = serde_json::from_str(&line) else { continue };
                if sender.send(frame).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, frames }
    }

    /// Sends a prompt, and returns the frames up to its result.
    fn ask(&mut self, text: &str) -> Vec<Value> {
        let frame = json!({ "type": "user", "message": { "role": "user", "content": text } });
        writeln!(self.stdin.as_mut().expect("stdin is open"), "{frame}").expect("the CLI reads");
        let mut seen = Vec::new();
        loop {
            seen.push(self.frames.recv_timeout(LIMIT).expect("a frame comes"));
            if seen.last().is_some_and(|f| f["type"] == "result") {
                return seen;
            }
        }
    }

    /// Closes stdin and waits for the end.
    fn end(&mut self) -> Option<i32> {
        self.stdin = None;
        let ended = treewarden_testkit::poll_until(LIMIT, || self.child.try_wait().transpose());
        ended.expect("the CLI ends when its stdin does").expect("it can be waited for").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_pinned_version_is_installed_once_and_says_its_version() {
    let Some(cli) = RealCli::for_test() else { return };
    assert_eq!(cli.version(), PINNED_VERSION);
    let again = RealCli::install().expect("it is installed");
    assert_eq!(again, cli);
    let output = Command::new(cli.path()).arg("--version").output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(PINNED_VERSION));
}

#[test]
fn a_version_that_is_none_is_refused_before_npm_is_asked() {
    for bad in ["", "latest", "2.1", "2.1.330 --global", "../x.1.2"] {
        let error = RealCli::install_version(bad).expect_err(bad).to_string();
        assert!(error.contains("is not a version"), "{error}");
    }
}

#[tokio::test]
async fn the_real_cli_answers_a_text_turn_and_runs_a_tool() {
    let Some(cli) = tokio::task::spawn_blocking(RealCli::for_test).await.expect("installed") else { return };
    let api = MockApi::start().await.expect("a free port");
    let home = tempfile::tempdir().expect("a directory");
    let mut running = Running::start(&cli, home.path(), &api, &[]);
    let work = tokio::task::spawn_blocking(move || {
        let text = running.ask("PROMPT-one hello");
        let tool = running.ask("PROMPT-two BASH=echo made > made.txt;;");
        (text, tool, running.end())
    });
    let (text, tool, code) = work.await.expect("the turns end");
    assert_eq!(code, Some(0));
    let result = |frames: &[Value]| frames.last().map(|f| f["result"].clone()).unwrap_or_default();
    assert_eq!(result(&text), "word0 word1 word2 answer to PROMPT-one");
    assert_eq!(result(&tool), "word0 word1 word2 answer to PROMPT-two");
    assert_eq!(std::fs::read_to_string(home.path().join("made.txt")).expect("the tool ran"), "made\n");
    assert_eq!(api.prompts_in_last_context(), ["PROMPT-one", "PROMPT-two"]);
}
