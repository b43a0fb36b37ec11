//! Compares two traces by the oracle's rules.

use serde_json::Value;

use crate::schedule::Schedule;

/// What the dying process logs about itself: racy in Erlang, and nothing that we have.
const OWN_REPORTS: [&str; 2] = ["crash_report", "gen_error"];

/// A step whose events differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The step.
    pub step: String,
    /// The oracle's events.
    pub expected: Vec<String>,
    /// Ours.
    pub found: Vec<String>,
}

/// Lists the steps in which two traces differ.
#[must_use]
pub fn differences(schedule: &Schedule, expected: &Value, found: &Value) -> Vec<Difference> {
    let (expected, found) = (steps(schedule, expected), steps(schedule, found));
    let length = expected.len().max(found.len());
    let none = || (String::from("(no such step)"), Vec::new());
    let mut different = Vec::new();
    for index in 0..length {
        let (step, expected) = expected.get(index).cloned().unwrap_or_else(none);
        let (other, found) = found.get(index).cloned().unwrap_or_else(none);
        if step != other || expected != found {
            different.push(Difference { step, expected, found });
        }
    }
    different
}

fn steps(schedule: &Schedule, trace: &Value) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for event in trace["trace"].as_array().into_iter().flatten() {
        let kind = event["ev"].as_str().unwrap_or_default();
        let text = clean(event).to_string();
        if kind == "step" {
            steps.push((text, Vec::new()));
        } else if !OWN_REPORTS.contains(&kind) && !schedule.drop.iter().any(|dropped| dropped == kind) {
            let text = if schedule.mask_n { mask(&text) } else { text };
            if let Some((_, events)) = steps.last_mut() {
                events.push(text);
            }
        }
    }
    if schedule.unordered {
        for (_, events) in &mut steps {
            events.sort();
        }
    }
    steps
}

/// Without the keys that only inform. Objects print with sorted keys.
fn clean(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !key.starts_with('_'));
            kept.map(|(key, value)| (key.clone(), clean(value))).collect()
        }
        Value::Array(items) => items.iter().map(clean).collect(),
        other => other.clone(),
    }
}

/// Incarnation numbers as `N`.
fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) =
        [rest.find("\"n\":").map(|at| at + 4), rest.find('#').map(|at| at + 1)].into_iter().flatten().min()
    {
        masked.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 {
            masked.push('N');
        }
        rest = &rest[digits..];
    }
    masked.push_str(rest);
    masked
}
