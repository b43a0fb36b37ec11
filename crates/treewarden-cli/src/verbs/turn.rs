//! What became of a turn, and how that is shown.

use std::process::ExitCode;

use serde_json::Value;
use treewarden::TurnId;
use treewarden_service::Request;

use crate::args::{Output, Place};
use crate::client::Client;
use crate::exit::Exit;
use crate::output;

pub(super) async fn run(turn: TurnId, wait: bool, output: Output, place: &Place) -> anyhow::Result<ExitCode> {
    let report = Client::connect(place).await?.call(&Request::Turn { turn, wait }).await?;
    show(&report, output, true)?;
    Ok(code(&report))
}

/// Prints a turn: all of it as JSON, or its text; what went wrong goes to stderr.
pub(super) fn show(report: &Value, output: Output, with_text: bool) -> anyhow::Result<()> {
    if output.json {
        output::line(report.to_string())?;
        return Ok(());
    }
    match report["outcome"].as_str() {
        Some("completed") if with_text => output::line(report["text"].as_str().unwrap_or_default())?,
        Some("completed") => {}
        Some("failed") => {
            let message = report["message"].as_str().unwrap_or("no reason is known");
            output::note(format!("error: the turn failed: {message}"));
        }
        Some(outcome) => output::note(format!("the turn was {outcome}")),
        None => output::note("the turn is still open"),
    }
    Ok(())
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
