//! The floor under any driver of the CLI on this machine: one thread, blocking pipes, no runtime.

use std::borrow::Cow;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::value::RawValue;

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

#[derive(serde::Deserialize)]
struct Peek<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

fn spawn(cli: &Path, args: &[&str]) -> Result<Child> {
    Command::new(cli)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("spawn {}", cli.display()))
}

fn prompt(text: &str) -> String {
    let message = serde_json::json!({ "type": "user", "message": { "role": "user", "content": text } });
    format!("{message}\n")
}

const STREAM: [&str; 5] = [
    "-p",
    "--input-format=stream-json",
    "--output-format=stream-json",
    "--verbose",
    "--include-partial-messages",
];

/// Frames a second of one firehose turn.
pub(crate) fn firehose(cli: &Path, frames: u64, work: Work) -> Result<f64> {
    let mut child = spawn(cli, &STREAM)?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let mut stdout = child.stdout.take().context("stdout")?;
    let began = Instant::now();
    stdin.write_all(prompt(&format!("N={frames}")).as_bytes())?;
    drop(stdin);
    let mut count = 0u64;
    if work == Work::Read {
        let mut chunk = vec![0; 1 << 16];
        while stdout.read(&mut chunk)? > 0 {}
    } else {
        let mut reader = BufReader::with_capacity(1 << 16, stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            count += u64::from(match work {
                Work::Typed => {
                    let peek: Peek<'_> = serde_json::from_slice(&line)?;
                    peek.kind == "stream_event" && peek.event.is_some()
                }
                Work::Value => serde_json::from_slice::<serde_json::Value>(&line)?["type"] == "stream_event",
                Work::Read | Work::Split => true,
            });
            line.clear();
        }
    }
    black_box(count);
    let elapsed = began.elapsed();
    child.wait()?;
    Ok(frames as f64 / elapsed.as_secs_f64())
}

/// The time of a bare turn: one line written, lines read to the result.
pub(crate) fn turn(cli: &Path, turns: u32) -> Result<Duration> {
    let mut child = spawn(cli, &STREAM)?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let mut reader = BufReader::new(child.stdout.take().context("stdout")?);
    let line = prompt("N=0");
    let mut answer = String::new();
    let mut one = || -> Result<()> {
        stdin.write_all(line.as_bytes())?;
        loop {
            answer.clear();
            reader.read_line(&mut answer)?;
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
    child.wait()?;
    Ok(each)
}

/// The time of a bare spawn and wait.
pub(crate) fn spawn_and_wait(cli: &Path, spawns: u32) -> Result<Duration> {
    let began = Instant::now();
    for _ in 0..spawns {
        let mut child = spawn(cli, &["--version"])?;
        child.wait()?;
    }
    Ok(began.elapsed() / spawns)
}
