//! The floor under any driver of the CLI on this machine: one thread, blocking pipes, no runtime.

use std::borrow::Cow;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::value::RawValue;

use crate::lab;
use crate::rounds::median;

/// What is done with each line of the firehose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The pipe is read, and nothing else.
    Read,
    /// Lines are split.
    Split,
    /// Each line is parsed as far as a reader of deltas needs it.
    Typed,
    /// Each line is parsed whole.
    Value,
}

/// As much of a frame as tells where it goes.
#[derive(serde::Deserialize)]
pub(crate) struct Peek<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) event: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) message: Option<&'a RawValue>,
}

const STREAM: [&str; 5] = [
    "-p",
    "--input-format=stream-json",
    "--output-format=stream-json",
    "--verbose",
    "--include-partial-messages",
];

/// A CLI behind two blocking pipes; it is killed with the value unless it ended.
struct Bare {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
}

impl Bare {
    fn spawn(cli: &Path) -> Result<Self> {
        let mut child =
            command(cli).args(STREAM).spawn().with_context(|| format!("spawn {}", cli.display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Ok(Self { child, stdin, stdout })
    }

    fn write(&mut self, text: &str) -> Result<()> {
        Ok(self.stdin.as_mut().context("stdin is open")?.write_all(prompt(text).as_bytes())?)
    }

    fn stdout(&mut self) -> Result<ChildStdout> {
        self.stdout.take().context("stdout is read once")
    }

    fn end(mut self) -> Result<()> {
        self.stdin = None;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

fn command(cli: &Path) -> Command {
    let (key, value) = lab::bare_env();
    let mut command = Command::new(cli);
    command.env(key, value).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn prompt(text: &str) -> String {
    let message = serde_json::json!({ "type": "user", "message": { "role": "user", "content": text } });
    format!("{message}\n")
}

/// Frames a second of one firehose turn.
pub(crate) fn firehose(cli: &Path, frames: u64, work: Work) -> Result<f64> {
    let elapsed = turn_of(cli, &format!("N={frames}"), work)?;
    Ok(frames as f64 / elapsed.as_secs_f64())
}

/// How long the one turn of a CLI takes, from the prompt to the end of its stdout.
pub(crate) fn turn_of(cli: &Path, text: &str, work: Work) -> Result<Duration> {
    let mut bare = Bare::spawn(cli)?;
    let stdout = bare.stdout()?;
    let began = Instant::now();
    bare.write(text)?;
    bare.stdin = None;
    read(stdout, work)?;
    let elapsed = began.elapsed();
    bare.end()?;
    Ok(elapsed)
}

fn read(mut stdout: ChildStdout, work: Work) -> Result<()> {
    let mut count = 0u64;
    if work == Work::Read {
        let mut chunk = vec![0; 1 << 16];
        while stdout.read(&mut chunk)? > 0 {}
        return Ok(());
    }
    let mut reader = BufReader::with_capacity(1 << 16, stdout);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        count += u64::from(match work {
            Work::Typed => {
                let peek: Peek<'_> = serde_json::from_slice(&line)?;
                peek.kind == "stream_event" && peek.event.is_some() || peek.message.is_some()
            }
            Work::Value => serde_json::from_slice::<serde_json::Value>(&line)?["type"] == "stream_event",
            Work::Read | Work::Split => true,
        });
        line.clear();
    }
    black_box(count);
    Ok(())
}

/// The time of a bare turn: one line written, lines read to the result.
pub(crate) fn turn(cli: &Path, turns: u32) -> Result<Duration> {
    let mut bare = Bare::spawn(cli)?;
    let mut reader = BufReader::new(bare.stdout()?);
    let line = prompt("N=0");
    let mut answer = String::new();
    let mut stdin = bare.stdin.take().context("stdin is open")?;
    let mut one = || -> Result<()> {
        stdin.write_all(line.as_bytes())?;
        loop {
            answer.clear();
            anyhow::ensure!(reader.read_line(&mut answer)? > 0, "the CLI ended");
            if answer.contains("\"type\":\"result\"") {
                return Ok(());
            }
        }
    };
    one()?;
    let began = Instant::now();
    for _ in 0..turns {
        one()?;
    }
    let each = began.elapsed() / turns;
    drop(stdin);
    bare.end()?;
    Ok(each)
}

/// The time of a bare spawn and wait.
pub(crate) fn spawn_and_wait(cli: &Path, spawns: u32) -> Result<Duration> {
    let began = Instant::now();
    for _ in 0..spawns {
        let mut child = command(cli).arg("--version").spawn()?;
        child.wait()?;
    }
    Ok(began.elapsed() / spawns)
}

/// The time from the kill of a CLI that streams a turn, through its reaping, to the spawn of another like it.
pub(crate) fn kill_and_spawn(cli: &Path, home: &Path, times: u32) -> Result<f64> {
    let spawn = || {
        let mut command = Command::new(cli);
        command.args(STREAM).env("HOME", home).current_dir(home);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        anyhow::Ok(Bare { child, stdin, stdout })
    };
    let mut taken = Vec::new();
    let mut bare = spawn()?;
    for _ in 0..times {
        let mut reader = BufReader::new(bare.stdout()?);
        bare.write("STREAM=10000:20")?;
        let mut line = String::new();
        while !line.contains("\"type\":\"stream_event\"") {
            line.clear();
            anyhow::ensure!(reader.read_line(&mut line)? > 0, "the CLI ended");
        }
        let began = Instant::now();
        bare.child.kill()?;
        bare.child.wait()?;
        let next = spawn()?;
        taken.push(began.elapsed().as_secs_f64());
        bare = next;
    }
    Ok(median(taken))
}

/// The time of one append that the disk has: 4 KiB, then `fdatasync`.
pub(crate) fn append_and_sync(dir: &Path, times: u32) -> Result<Duration> {
    append(dir, times, true)
}

/// The time of one append that the kernel has: 4 KiB.
pub(crate) fn append_only(dir: &Path, times: u32) -> Result<Duration> {
    append(dir, times, false)
}

fn append(dir: &Path, times: u32, sync: bool) -> Result<Duration> {
    let path = dir.join("floor");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
    let began = Instant::now();
    for _ in 0..times {
        file.write_all(&[b'x'; 4096])?;
        if sync {
            file.sync_data()?;
        }
    }
    let each = began.elapsed() / times;
    std::fs::remove_file(path)?;
    Ok(each)
}
