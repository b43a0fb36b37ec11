//! The config file, read again by the running tree.

use std::process::ExitCode;

use serde_json::Value;
use treewarden_service::Request;

use crate::args::{Output, Place};
use crate::client::Client;
use crate::exit::{Exit, code};
use crate::output;
use crate::shown::{self, Lines};

pub(super) async fn run(request: Request, output: Output, place: &Place) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(place).await?;
    let answer = match client.call(&request).await {
        Ok(answer) => answer,
        // As `check` says it.
        Err(error) if code(&error) == Exit::Config => {
            output::note(error.to_string());
            return Ok(Exit::Config.into());
        }
        Err(error) => return Err(error),
    };
    if output.json {
        output::pretty_json(&answer)?;
    } else {
        output::text(shown::text(answer["text"].as_str().unwrap_or_default(), Lines::Keep))?;
    }
    if matches!(request, Request::Reload { dry_run: true, .. }) {
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
