//! Prints the traces of schedules, one JSON line each; makes random schedules; compares with the oracle's traces.
//!
//! ```text
//! treewarden-conformance [FILE|DIR…]                 the traces; without arguments, of all schedules here
//! treewarden-conformance --random COUNT [SEED]       random schedules, as one JSON array
//! treewarden-conformance --compare GOLDEN [FILE|DIR…]  runs the schedules and shows where they differ
//! ```

#![expect(clippy::print_stdout, reason = "printing traces is what this command is for")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use treewarden_conformance::schedule::{self, Schedule};
use treewarden_conformance::{compare, excused, random, run};

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--random") => {
            let count: u64 = arguments.get(1).context("say how many schedules")?.parse()?;
            let seed: u64 = arguments.get(2).map_or(Ok(1), |seed| seed.parse())?;
            let schedules: Vec<Value> = (seed..seed + count).map(random::schedule).collect();
            println!("{}", serde_json::to_string_pretty(&schedules)?);
            Ok(ExitCode::SUCCESS)
        }
        Some("--compare") => {
            let golden = arguments.get(1).context("name the file with the oracle's traces")?;
            compare_all(Path::new(golden), load(&arguments[2..])?)
        }
        _ => {
            let mut all_run = true;
            for schedule in load(&arguments)? {
                // One that cannot be run costs only its own trace.
                let line = schedule.check().and_then(|()| trace(&schedule)).unwrap_or_else(|error| {
                    all_run = false;
                    json!({"name": schedule.name, "error": format!("{error:#}")})
                });
                println!("{}", serde_json::to_string(&line)?);
            }
            Ok(if all_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn load(paths: &[String]) -> anyhow::Result<Vec<Schedule>> {
    let mut paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    if paths.is_empty() {
        paths.push(concat!(env!("CARGO_MANIFEST_DIR"), "/schedules").into());
    }
    let mut schedules = Vec::new();
    for path in paths {
        schedules.extend(schedule::load(&path)?);
    }
    Ok(schedules)
}

fn trace(schedule: &Schedule) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(run(schedule)))
}

fn compare_all(golden: &Path, schedules: Vec<Schedule>) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(golden).with_context(|| format!("read {}", golden.display()))?;
    let mut expected = HashMap::new();
    for line in text.lines() {
        let trace: Value = serde_json::from_str(line).context("understand the oracle's traces")?;
        expected.insert(trace["name"].as_str().unwrap_or_default().to_owned(), trace);
    }
    let (mut differing, count) = (0, schedules.len());
    for schedule in schedules {
        let golden = expected.get(&schedule.name);
        ensure!(golden.is_some(), "the oracle has no trace of {}", schedule.name);
        schedule.check().with_context(|| format!("schedule {}", schedule.name))?;
        let found = trace(&schedule)?;
        let different =
            golden.map_or_else(Vec::new, |golden| compare::differences(&schedule, golden, &found));
        if different.is_empty() {
            continue;
        }
        let reason = excused::SCHEDULES.iter().find(|(name, _)| *name == schedule.name);
        match reason {
            Some((name, why)) => println!("excused {name}: {why}"),
            None => {
                differing += 1;
                println!("DIFF {}\n{:#?}", schedule.name, different[0]);
            }
        }
    }
    println!("{differing} differing of {count}");
    Ok(if differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
