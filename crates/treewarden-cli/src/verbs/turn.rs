//! What became of a turn, and how that is shown.

use std::process::ExitCode;

use serde_json::{Value, json};
use treewarden::TurnId;
use treewarden_service::Request;

use crate::args::{Output, Place};
use crate::client::{Client, TreeEnded};
use crate::exit::Exit;
use crate::{output, shown};

pub(super) async fn run(turn: TurnId, wait: bool, output: Output, place: &Place) -> anyhow::Result<ExitCode> {
    let report = match Client::connect(place).await?.call(&Request::Turn { turn, wait }).await {
        Err(error) if wait && error.is::<TreeEnded>() => untold(&turn.to_string(), None),
        answered => answered?,
    };
    show(&report, output, true)?;
    Ok(code(&report))
}

/// What is known of a turn whose tree ended first, with the keys of a report.
pub(super) fn untold(turn: &str, name: Option<&str>) -> Value {
    json!({
        "turn": turn,
        "name": name,
        "outcome": null,
        "text": null,
        "session_id": null,
        "interruptions": null,
        "failure": null,
        "denied": [],
        "message": "the tree ended before it told how the turn came out: ask when it runs again",
        "result": null,
    })
}

/// Prints a turn: all of it as JSON, or its text; what went wrong goes to stderr.
pub(super) fn show(report: &Value, output: Output, with_text: bool) -> anyhow::Result<()> {
    if output.json {
        output::json(report)?;
        return Ok(());
    }
    match report["outcome"].as_str() {
        Some("completed") if with_text => {
            output::line(shown::answer(report["text"].as_str().unwrap_or_default()))?
        }
        Some("completed") => {}
        Some("failed") => {
            let message = report["message"].as_str().unwrap_or("no reason is known");
            output::note(format!("error: the turn failed: {message}"));
        }
        Some(outcome) => output::note(format!("the turn was {outcome}")),
        None => output::note(open(report)),
    }
    if let Some(note) = not_stored(report) {
        output::note(note);
    }
    if let Some(note) = denied(&report["denied"]) {
        output::note(note);
    }
    Ok(())
}

/// An outcome that the store does not take, in words; none where the tree stores no turns.
fn not_stored(report: &Value) -> Option<String> {
    let said = "warning: the outcome is not stored yet; `treewarden ps` says why";
    match (report["stored"] == false, report.get("unstored")) {
        (false, _) | (true, Some(Value::Null)) => None,
        (true, Some(Value::String(why))) => Some(format!("{said}: {why}")),
        // A daemon of an earlier version does not say it here.
        (true, _) => Some(said.to_owned()),
    }
}

/// Which tools the CLI refused, and what would allow them.
fn denied(denied: &Value) -> Option<String> {
    const SHOWN: usize = 5;
    let all: Vec<_> = denied
        .as_array()?
        .iter()
        .filter_map(|one| Some((one["tool"].as_str()?, one["rule"].as_str()?)))
        .collect();
    if all.is_empty() {
        return None;
    }
    let mut tools: Vec<_> = all.iter().map(|(tool, _)| *tool).collect();
    tools.dedup();
    let rules: Vec<_> = all.iter().take(SHOWN).map(|(_, rule)| format!("{rule:?}")).collect();
    let more = all.len() - rules.len();
    let more = if more > 0 { format!(" and {more} more, which --json lists,") } else { String::new() };
    Some(format!(
        "note: the CLI did not let the model use {}: in the session's `allowed_tools`, {}{more} would let it, unless a rule or a \
         hook forbids that; so would another `permission_mode`",
        tools.join(", "),
        rules.join(", "),
    ))
}

/// An open turn in words; where nobody works at it, why, and what has it go on.
fn open(report: &Value) -> String {
    match (report["message"].as_str(), report["turn"].as_str()) {
        (Some(why), Some(turn)) => {
            format!("{why}. Then `treewarden turn --wait {turn}` waits for its outcome")
        }
        _ => "the turn is still open".to_owned(),
    }
}

/// The exit code that an outcome leads to.
pub(super) fn code(report: &Value) -> ExitCode {
    match report["outcome"].as_str() {
        Some("completed") => ExitCode::SUCCESS,
        Some("interrupted" | "cancelled") => Exit::Interrupted.into(),
        None => Exit::Open.into(),
        Some(_) => Exit::Failed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_said_not_to_be_stored_where_the_tree_stores_turns() {
        assert_eq!(not_stored(&json!({ "stored": true, "unstored": null })), None);
        assert_eq!(
            not_stored(&json!({ "stored": false, "unstored": null })),
            None,
            "durability = \"nothing\""
        );
        let said = not_stored(&json!({ "stored": false, "unstored": "the disk is full" })).expect("said");
        assert!(said.contains("not stored yet") && said.ends_with("the disk is full"), "{said}");
        assert!(not_stored(&json!({ "stored": false })).is_some(), "as an earlier version says it");
    }

    #[test]
    fn refused_tools_are_named_with_the_rules_that_would_allow_them() {
        assert_eq!(denied(&json!([])), None);
        assert_eq!(denied(&Value::Null), None);
        let one = |n: usize| json!({ "tool": "Bash", "rule": format!("Bash(p{n}:*)") });
        let said = denied(&json!([one(0)])).expect("said");
        assert!(said.contains("use Bash: ") && said.contains("\"Bash(p0:*)\" would let it"), "{said}");
        let said = denied(&(0..7).map(one).collect()).expect("said");
        assert!(said.contains("\"Bash(p4:*)\" and 2 more") && !said.contains("p5"), "{said}");
    }
}
