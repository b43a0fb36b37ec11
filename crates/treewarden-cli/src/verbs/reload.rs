//! The config file, read again by the running tree.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::args::{Output, Place};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::wire::{Code, Reply, Request};

pub(super) async fn run(
    file: Option<PathBuf>,
    dry_run: bool,
    output: Output,
    place: &Place,
) -> anyhow::Result<ExitCode> {
    let file = file.map(std::path::absolute).transpose()?;
    let mut client = Client::connect(place).await?;
    client.send(&Request::Reload { file, dry_run }).await?;
    let answer = loop {
        match client.next().await? {
            Reply::Item(_) => {}
            Reply::Ok(answer) => break answer,
            // As `check` says it.
            Reply::Error(refusal) if refusal.code == Code::Config => {
                output::note(refusal.message);
                return Ok(Exit::Config.into());
            }
            Reply::Error(refusal) => return Err(Failure::new(refusal.code.exit(), refusal.message).into()),
        }
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
