//! The same work through sessions.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use treewarden::session::Event;
use treewarden::{Host, Session, SessionOptions, SessionSpec, Supervisor};
use treewarden_testkit::faults;

struct Lab {
    _dir: tempfile::TempDir,
    host: Host,
    spec: SessionSpec,
}

fn lab(cli: &Path) -> Result<Lab> {
    let dir = tempfile::tempdir()?;
    let host = Host::options().state_dir(dir.path().join("state")).open()?;
    let spec = SessionSpec::new()
        .cli_path(cli)
        .cwd(dir.path())
        .include_partial_messages(true)
        .timeout(Duration::from_secs(600))
        .env("HOME", dir.path().display().to_string());
    Ok(Lab { _dir: dir, host, spec })
}

async fn session(lab: &Lab) -> Result<Session> {
    let options = SessionOptions::from(lab.spec.clone()).host(&lab.host).max_restarts(1000);
    Ok(Session::start(options).await?)
}

/// Frames a second to one consumer of typed text deltas, and the peak memory of this process.
pub(crate) async fn firehose(cli: &Path, frames: u64) -> Result<(f64, u64)> {
    let lab = lab(cli)?;
    let session = session(&lab).await?;
    session.query("N=0").await?;
    let began = Instant::now();
    let mut turn = session.stream(format!("N={frames}")).await?;
    let (mut deltas, mut bytes) = (0, 0);
    while let Some(event) = turn.next().await {
        if let Event::Frame(frame) = event
            && let Some(text) = frame.text_delta()
        {
            deltas += 1;
            bytes += text.len();
        }
    }
    let elapsed = began.elapsed();
    anyhow::ensure!(deltas == frames && bytes > 0, "{deltas} of {frames} deltas came");
    session.stop().await?;
    Ok((frames as f64 / elapsed.as_secs_f64(), memory("VmHWM:")))
}

/// The time of an empty turn.
pub(crate) async fn turn(cli: &Path, turns: u32) -> Result<Duration> {
    let lab = lab(cli)?;
    let session = session(&lab).await?;
    session.query("N=0").await?;
    let worker = session.clone();
    // In a task of its own, as in a service: `block_on` adds a wake-up to every turn.
    let each = tokio::spawn(async move {
        let began = Instant::now();
        for _ in 0..turns {
            worker.query("N=0").await?;
        }
        Ok::<_, treewarden::session::QueryError>(began.elapsed() / turns)
    })
    .await??;
    session.stop().await?;
    Ok(each)
}

/// The time from the kill of an idle CLI, with a turn at once, to the spawn of the next.
pub(crate) async fn crash_to_spawn(cli: &Path, rounds: u32) -> Result<Duration> {
    let lab = lab(cli)?;
    let session = session(&lab).await?;
    session.query("N=0").await?;
    let mut events = lab.host.subscribe();
    let mut total = Duration::ZERO;
    for _ in 0..rounds {
        let status = session.status()?;
        let pid = status.pid.context("a CLI lives")?;
        let began = Instant::now();
        let turn = session.stream("STREAM=10000:20").await?;
        faults::kill(pid)?;
        while session.status()?.pid.is_none_or(|now| now == pid) {
            let _more = events.recv().await;
        }
        total += began.elapsed();
        drop(turn);
        session.query("N=0").await?;
    }
    session.stop().await?;
    Ok(total / rounds)
}

/// What many declared sessions cost.
pub(crate) struct Many {
    pub(crate) start: Duration,
    pub(crate) stop: Duration,
    pub(crate) bytes: u64,
}

/// Starts and stops this many sessions that never run a turn.
pub(crate) async fn many(cli: &Path, count: u64) -> Result<Many> {
    let lab = lab(cli)?;
    let before = memory("VmRSS:");
    let began = Instant::now();
    let mut builder = Supervisor::builder();
    for n in 0..count {
        let spec = lab.spec.clone().name(format!("session-{n}").parse()?);
        builder = builder.child(SessionOptions::from(spec).child_spec(&lab.host)?);
    }
    let supervisor = builder.start().await?;
    let start = began.elapsed();
    let bytes = memory("VmRSS:").saturating_sub(before) / count;
    let began = Instant::now();
    supervisor.stop(treewarden::ExitReason::Shutdown).await;
    Ok(Many { start, stop: began.elapsed(), bytes })
}

/// A figure of this process's memory, in bytes.
fn memory(figure: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}
