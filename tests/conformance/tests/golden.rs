//! Compares every schedule with the trace that the real Erlang/OTP printed.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use treewarden_conformance::{compare, excused, run, schedule};

fn golden() -> HashMap<String, Value> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/golden.jsonl")).unwrap();
    let traces = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    traces.map(|trace| (trace["name"].as_str().unwrap().to_owned(), trace)).collect()
}

#[tokio::test]
async fn every_trace_equals_the_one_of_erlang_otp() {
    let golden = golden();
    let schedules = schedule::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/schedules"))).unwrap();
    assert_eq!(schedules.len(), golden.len(), "each schedule has a golden trace");
    let mut failed = Vec::new();
    for schedule in &schedules {
        let trace = run(schedule).await;
        let different = compare::differences(schedule, &golden[&schedule.name], &trace);
        let excused = excused::SCHEDULES.iter().any(|(name, _)| *name == schedule.name);
        if !different.is_empty() && !excused {
            failed.push(format!("{}: {:#?}", schedule.name, different[0]));
        }
    }
    assert!(failed.is_empty(), "{} of {} differ:\n{}", failed.len(), schedules.len(), failed.join("\n"));
}
