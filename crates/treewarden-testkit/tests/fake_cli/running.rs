//! A fake CLI that a test talks to; it is killed and reaped with the value.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use treewarden_testkit::poll_until;

pub(crate) const LIMIT: Duration = Duration::from_secs(120);
pub(crate) const ID: &str = "11111111-2222-4333-8444-555555555555";

pub(crate) struct Fake {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Fake {
    pub(crate) fn start(home: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_treewarden-fake-claude"))
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("CLAUDE_CONFIG_DIR", home)
            .env("CLAUDE_CODE_SDK_READS_SESSION_STATE", "1")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the fake CLI starts");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines }
    }

    pub(crate) fn send(&mut self, frame: &Value) {
        writeln!(self.stdin.as_mut().expect("stdin is open"), "{frame}").expect("it reads");
    }

    pub(crate) fn prompt(&mut self, uuid: &str, text: &str) {
        self.send(&json!({ "type": "user", "uuid": uuid, "message": { "role": "user", "content": text } }));
    }

    pub(crate) fn control(&mut self, request: &Value) {
        self.send(&json!({ "type": "control_request", "request_id": "r", "request": request }));
    }

    /// The next frame; none if the CLI ended or says nothing for a while.
    pub(crate) fn next(&self) -> Option<Value> {
        self.lines
            .recv_timeout(LIMIT)
            .ok()
            .map(|line| serde_json::from_str(&line).unwrap_or_else(|_| json!(line)))
    }

    /// Whether it says nothing for a while.
    pub(crate) fn is_silent(&self) -> bool {
        self.lines.recv_timeout(Duration::from_millis(300)).is_err()
    }

    /// The frames up to the first one that this says of.
    pub(crate) fn until(&self, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        while let Some(frame) = self.next() {
            let done = last(&frame);
            seen.push(frame);
            if done {
                return seen;
            }
        }
        panic!("it never came: {seen:#?}");
    }

    /// The frames up to the end of a turn.
    pub(crate) fn turn(&self) -> Vec<Value> {
        self.until(|f| f["state"] == "idle")
    }

    pub(crate) fn result(&self) -> Value {
        self.until(|f| f["type"] == "result").pop().expect("a result")
    }

    /// Whether it ends within this time.
    pub(crate) fn ends(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        poll_until(limit, || self.child.try_wait().expect("it is ours"))
    }

    /// Closes stdin, and waits for the end.
    pub(crate) fn close(&mut self) -> Option<i32> {
        self.stdin = None;
        self.ends(LIMIT).expect("it ends").code()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a frame is, in a word or two.
pub(crate) fn name(frame: &Value) -> String {
    let kind = frame["type"].as_str().unwrap_or("?");
    match kind {
        "system" if frame["state"].is_string() => frame["state"].as_str().unwrap_or_default().to_owned(),
        "system" => frame["subtype"].as_str().unwrap_or_default().to_owned(),
        "command_lifecycle" => {
            let own = if frame["command_uuid"] == "a" { "a" } else { "run" };
            format!("{} {own}", frame["state"].as_str().unwrap_or_default())
        }
        "user" if frame["isReplay"] == true => "echo".to_owned(),
        _ => kind.to_owned(),
    }
}

pub(crate) fn names(frames: &[Value]) -> Vec<String> {
    frames.iter().map(name).collect()
}

/// The entries of all transcripts of this home, in the order of the files.
pub(crate) fn entries(home: &Path) -> Vec<Value> {
    let projects = std::fs::read_dir(home.join("projects")).expect("a folder").filter_map(Result::ok);
    let files = projects.flat_map(|dir| std::fs::read_dir(dir.path()).expect("a folder"));
    let texts = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}
