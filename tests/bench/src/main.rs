//! What a session adds to the CLI, beside the floor measured in the same run.
//!
//! Prints one table. Absolute figures are the machine's; read the ratios.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod floor;
mod sessions;

use std::time::Duration;

use anyhow::Result;
use treewarden_testkit::fake_cli;

fn main() -> Result<()> {
    let cli = match std::env::var_os("TREEWARDEN_BENCH_CLI") {
        Some(path) => path.into(),
        None => fake_cli::fake_cli_path()?,
    };
    let frames = 1_000_000;
    let turns = 5_000;
    println!("| measure | floor | treewarden | ratio |");
    println!("|---|---|---|---|");
    let floor = |work| floor::firehose(&cli, frames, work);
    let (split, typed, value) =
        (floor(floor::Work::Split)?, floor(floor::Work::Typed)?, floor(floor::Work::Value)?);
    let read = floor(floor::Work::Read)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (rate, peak) = runtime.block_on(sessions::firehose(&cli, frames))?;
    println!(
        "| frames/s: read, split, `Value` | {} / {} / {} | | |",
        millions(read),
        millions(split),
        millions(value)
    );
    println!(
        "| frames/s to one consumer, typed deltas | {} | {} | {:.2} |",
        millions(typed),
        millions(rate),
        rate / typed
    );
    println!("| peak memory of that run | | {} MiB | |", peak >> 20);
    let bare = floor::turn(&cli, turns)?;
    let journal = runtime.block_on(sessions::turn(&cli, turns))?;
    println!(
        "| empty turn, journal on | {} µs | {} µs | {:.2} |",
        micros(bare),
        micros(journal),
        ratio(journal, bare)
    );
    // A crash is recovered from only if there is a conversation on disk, which the fake CLI of the test kit writes.
    let cli = fake_cli::fake_cli_path()?;
    let spawn = floor::spawn_and_wait(&cli, 200)?;
    let respawn = runtime.block_on(sessions::crash_to_spawn(&cli, 50))?;
    println!(
        "| crash to replacement spawned | {} µs | {} µs | {:.2} |",
        micros(spawn),
        micros(respawn),
        ratio(respawn, spawn)
    );
    for count in [10_000, 100_000] {
        let many = runtime.block_on(sessions::many(&cli, count))?;
        println!(
            "| {count} declared sessions | | start {:.2} s, stop {:.2} s, {} B each | |",
            many.start.as_secs_f64(),
            many.stop.as_secs_f64(),
            many.bytes
        );
    }
    Ok(())
}

fn millions(rate: f64) -> String {
    format!("{:.2} M", rate / 1e6)
}

fn micros(time: Duration) -> String {
    format!("{:.0}", time.as_secs_f64() * 1e6)
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}
