//! What a session adds to the CLI, beside the floor measured in the same run: one table.
//!
//! `treewarden-bench [--baseline CAPTION] [NAME…]` runs the measures whose names begin with one of these, or all but the
//! peers. Each runs in a process of its own, so that the memory of one is not the memory of the next, and under a
//! deadline. What cannot be measured here is said on stderr, and the rest goes on. `--baseline` also writes the table to
//! `tests/bench/baseline.md`, under that caption, and its figures into the README. What the rows mean is in
//! `docs/benchmarks.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is what it is for")]

mod baseline;
mod floor;
mod frames;
mod journal;
mod lab;
mod many;
mod peers;
mod pushback;
mod respawn;
mod rounds;
mod row;
mod turns;

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::runtime::Runtime;

use crate::row::{HEAD, Row};

type Measure = fn(&Runtime) -> Result<Vec<Row>>;

/// All measures, in the order of the table.
const MEASURES: &[(&str, Measure)] = &[
    ("frames-one", frames::one_consumer),
    ("frames-eight", frames::eight_consumers),
    ("frames-long", frames::long),
    ("turns", turns::empty),
    ("journal", journal::turn),
    ("respawn-spawned", respawn::spawned),
    ("respawn-answered", respawn::answered),
    ("many-10k", many::ten_thousand),
    ("many-100k", many::hundred_thousand),
    ("many-records", many::with_records),
    ("pushback-memory", pushback::memory),
    ("pushback-interrupt", pushback::interrupt),
    ("pushback-neighbour", pushback::neighbour),
    (PEERS, peers::compare),
];

/// Runs only if it is asked for.
const PEERS: &str = "peers";

/// So long one measure may take.
const LIMIT: Duration = Duration::from_secs(180);

/// The argument by which this program runs one measure itself.
const ONE: &str = "--one";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let (caption, names) = match args {
        [first, name] if first == ONE => return one(name),
        [first, caption, names @ ..] if first == "--baseline" => (Some(caption), names),
        names => (None, names),
    };
    if let Some(name) = names.iter().find(|name| !MEASURES.iter().any(|(known, _)| known.starts_with(*name)))
    {
        let known: Vec<_> = MEASURES.iter().map(|(name, _)| *name).collect();
        bail!("no measure begins with {name:?}; there are {}", known.join(", "));
    }
    let asked = |name: &str| names.iter().any(|asked| name.starts_with(asked.as_str()));
    println!("{HEAD}");
    let mut table = format!("{HEAD}\n");
    for (name, _) in MEASURES {
        if asked(name) || (names.is_empty() && *name != PEERS) {
            for row in in_a_process(name)? {
                table.push_str(&row);
                table.push('\n');
            }
        }
    }
    if let Some(caption) = caption {
        baseline::write(caption, &table)?;
    }
    Ok(())
}

/// Measures here, and prints the rows.
fn one(name: &str) -> Result<()> {
    let (_, measure) = MEASURES.iter().find(|(known, _)| *known == name).context("an unknown measure")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for row in measure(&runtime)? {
        println!("{row}");
    }
    Ok(())
}

/// Measures in a process of its own, and passes its rows on as they come.
fn in_a_process(name: &str) -> Result<Vec<String>> {
    let mut child =
        Command::new(std::env::current_exe()?).args([ONE, name]).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let until = Instant::now() + LIMIT;
    let mut rows = Vec::new();
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(row) => {
                println!("{row}");
                rows.push(row);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                note(&format!("{name}: not measured within {LIMIT:?}"));
                child.kill()?;
                break;
            }
        }
    }
    if !child.wait()?.success() {
        note(&format!("{name}: left out, see above"));
    }
    drop(lines);
    drop(reader.join());
    Ok(rows)
}

/// Says why something is left out of the table.
fn note(text: &str) {
    eprintln!("{text}");
}
