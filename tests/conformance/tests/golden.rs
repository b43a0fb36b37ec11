//! Compares every schedule with the trace that the real Erlang/OTP printed.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use treewarden_conformance::schedule::Schedule;
use treewarden_conformance::{compare, excused, run, schedule};

fn golden() -> HashMap<String, Value> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/golden.jsonl")).unwrap();
    let traces = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    traces.map(|trace| (trace["name"].as_str().unwrap().to_owned(), trace)).collect()
}

/// Settling is waiting, so many schedules are run at once.
const THREADS: usize = 16;

#[test]
fn every_trace_equals_the_one_of_erlang_otp() {
    let golden = golden();
    let schedules = schedule::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/schedules"))).unwrap();
    assert_eq!(schedules.len(), golden.len(), "each schedule has a golden trace");
    let failed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|first| {
                let (golden, mine) = (&golden, schedules.iter().skip(first).step_by(THREADS));
                scope.spawn(move || {
                    mine.filter_map(|schedule| difference(schedule, golden)).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{} of {} differ:\n{}", failed.len(), schedules.len(), failed.join("\n"));
}

fn difference(schedule: &Schedule, golden: &HashMap<String, Value>) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let trace = runtime.block_on(run(schedule));
    let different = compare::differences(schedule, &golden[&schedule.name], &trace);
    let excused = excused::SCHEDULES.iter().any(|(name, _)| *name == schedule.name);
    (!different.is_empty() && !excused).then(|| format!("{}: {:#?}", schedule.name, different[0]))
}
