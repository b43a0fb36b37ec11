//! The config file, read again by the running tree.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::args::{Output, Place};
use crate::client::Client;
use crate::exit::{Exit, code};
use crate::output;
use crate::wire::Request;

/// What the caller allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) dry_run: bool,
    pub(super) allow_empty: bool,
}

pub(super) async fn run(
    file: Option<PathBuf>,
    how: How,
    output: Output,
    place: &Place,
) -> anyhow::Result<ExitCode> {
    let How { dry_run, allow_empty } = how;
    let file = file.map(std::path::absolute).transpose()?;
    let mut client = Client::connect(place).await?;
    let answer = match client.call(&Request::Reload { file, dry_run, allow_empty }).await {
        Ok(answer) => answer,
        // As `check` says it.
        Err(error) if code(&error) == Exit::Config => {
            output::note(error.to_string());
            return Ok(Exit::Config.into());
        }
        Err(error) => return Err(error),
    };
    if output.json {
        output::line(serde_json::to_string_pretty(&answer)?)?;
    } else {
        output::text(answer["text"].as_str().unwrap_or_default())?;
    }
    if dry_run {
        output::note("nothing was changed: this was a dry run");
    }
    let failed = answer["failed"].as_array().map(Vec::as_slice).unwrap_or_default();
    for failed in failed {
        output::note(format!(
            "error: {} was not applied: {}",
            said(&failed["path"]),
            said(&failed["reason"])
        ));
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { Exit::Failed.into() })
}

fn said(value: &Value) -> &str {
    match value.as_str() {
        Some("") => "(the tree)",
        Some(text) => text,
        None => "?",
    }
}
