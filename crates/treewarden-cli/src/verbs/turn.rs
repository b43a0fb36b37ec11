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
    if report["stored"] == false {
        output::note("warning: the outcome is not stored yet; `treewarden ps` says why");
    }
    Ok(())
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
