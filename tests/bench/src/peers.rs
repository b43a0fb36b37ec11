//! Other programs that drive the CLI, at the same firehose and the same empty turns as ours.
//!
//! `just bench-peers-install` puts them below `target/peers`; one that is not there is left out, which is said. Each
//! run of a peer is a process of its own, under a deadline.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Runtime;
use treewarden_testkit::poll_until;

use crate::lab::{self, Lab};
use crate::rounds::median;
use crate::row::{Figure, Must, Row};
use crate::{frames, turns};

const ROUNDS: usize = 3;

/// So long one run of a peer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What a peer's driver prints.
#[derive(serde::Deserialize)]
struct Figures {
    seen: u64,
    frames_per_s: f64,
    turn_s: f64,
}

/// A peer, and as many frames in its one turn as it takes in good time.
struct Peer {
    name: &'static str,
    program: PathBuf,
    args: Vec<PathBuf>,
    frames: u64,
    turns: u32,
}

fn peers() -> Vec<Peer> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = here.join("../../target/peers");
    let rust = installed.join("rust/release/treewarden-bench-peers");
    let sdk = installed.join("node/node_modules/@anthropic-ai/claude-agent-sdk/sdk.mjs");
    let node = if sdk.exists() { "node".into() } else { sdk.clone() };
    let peer = |name, program: &Path, args: &[&Path], frames| Peer {
        name,
        program: program.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        frames,
        turns: 300,
    };
    vec![
        peer("Python SDK", &installed.join("python/bin/python"), &[&here.join("peers/python.py")], 50_000),
        peer("TypeScript SDK", &node, &[&here.join("peers/typescript.mjs"), &sdk], 200_000),
        // It hangs when one turn has 40,000 frames or more.
        peer("claude-agent-sdk-rs", &rust, &["claude-agent-sdk-rs".as_ref()], 20_000),
        peer("claude-codes", &rust, &["claude-codes".as_ref()], 200_000),
    ]
}

impl Peer {
    /// Whether it can be run here.
    fn installed(&self) -> Result<()> {
        ensure!(
            !self.program.is_absolute() || self.program.exists(),
            "{} is not there; `just bench-peers-install` installs it",
            self.program.display()
        );
        Ok(())
    }

    /// Runs its driver once.
    fn run(&self, cli: &Path) -> Result<Figures> {
        let (key, value) = lab::bare_env();
        let output = tempfile::NamedTempFile::new()?;
        let errors = tempfile::NamedTempFile::new()?;
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .arg(cli)
            .args([self.frames.to_string(), self.turns.to_string()])
            .env(key, value)
            .stdin(Stdio::null())
            .stdout(output.reopen()?)
            .stderr(errors.reopen()?)
            .spawn()?;
        let Some(status) = poll_until(LIMIT, || child.try_wait().transpose()) else {
            child.kill()?;
            child.wait()?;
            bail!("it did not end within {LIMIT:?}");
        };
        let status = status?;
        if !status.success() {
            let errors = std::fs::read_to_string(errors.path())?;
            bail!("{status}: {}", errors.trim().lines().last().unwrap_or("it says nothing"));
        }
        let text = std::fs::read_to_string(output.path())?;
        let figures: Figures = serde_json::from_str(text.lines().last().context("it printed nothing")?)?;
        ensure!(figures.seen >= self.frames, "it saw {} of {} frames", figures.seen, self.frames);
        Ok(figures)
    }
}

/// Every peer that is installed, beside a session, in interleaved rounds.
pub(crate) fn compare(runtime: &Runtime) -> Result<Vec<Row>> {
    let cli = lab::bare_cli()?;
    let lab = Lab::new()?;
    let session = runtime.block_on(lab.start(lab.bare()))?;
    let mut peers: Vec<_> = peers().into_iter().map(|peer| (peer, Vec::new(), Vec::new())).collect();
    let (mut our_frames, mut our_turns) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_frames.push(runtime.block_on(frames::one_turn(&session))?);
        our_turns.push(runtime.block_on(turns::each(&session, 2000))?);
        peers.retain_mut(|(peer, frames, turns)| match peer.installed().and_then(|()| peer.run(&cli)) {
            Ok(figures) => {
                frames.push(figures.frames_per_s);
                turns.push(figures.turn_s);
                true
            }
            Err(error) => {
                crate::note(&format!("{}: skipped: {error:#}", peer.name));
                false
            }
        });
    }
    runtime.block_on(session.stop())?;
    let (our_frames, our_turns) = (median(our_frames), median(our_turns));
    let mut rows = Vec::new();
    for (peer, frames, turns) in peers {
        rows.push(
            Row::new(format!("frames: beside {}", peer.name), Figure::Rate(our_frames))
                .peer(Figure::Rate(median(frames)))
                .must(Must::TimesAtLeast(4.0)),
        );
        rows.push(
            Row::new(format!("empty turn: beside {}", peer.name), Figure::Time(our_turns))
                .peer(Figure::Time(median(turns))),
        );
    }
    Ok(rows)
}
