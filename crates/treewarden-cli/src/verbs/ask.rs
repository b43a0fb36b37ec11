//! One prompt, one answer.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;
use treewarden_service::{Request, Streaming};

use super::printed::Printed;
use super::turn;
use crate::args::{Ask, Output};
use crate::client::{Client, TreeEnded};
use crate::lines::MAX_REQUEST;
use crate::output;

pub(super) async fn run(ask: Ask) -> anyhow::Result<ExitCode> {
    let Ask { name, prompt, command, stream, detach, output, place } = ask;
    let prompt = if prompt == "-" { from_stdin()? } else { prompt };
    let mut client = Client::connect(&place).await?;
    let stream = match (stream, output.json) {
        (false, _) => Streaming::None,
        (true, false) => Streaming::Text,
        (true, true) => Streaming::Frames,
    };
    let request = Request::Ask { name: name.clone(), prompt, command, stream, detach };
    let first = client.ask(&request, &place).await?;
    let report = follow(&mut client, first, &name, stream, output).await?;
    if detach {
        let id = report["turn"].as_str().unwrap_or_default();
        if output.json {
            output::json(&report)?
        } else {
            output::line(id)?
        }
        return Ok(ExitCode::SUCCESS);
    }
    turn::show(&report, output, stream == Streaming::None)?;
    Ok(turn::code(&report))
}

fn from_stdin() -> anyhow::Result<String> {
    let mut text = Vec::new();
    // One byte more than may be sent, to tell a prompt that is too long from one that just fits: cut, it would ask something
    // else.
    std::io::stdin()
        .take(MAX_REQUEST + 1)
        .read_to_end(&mut text)
        .context("cannot read the prompt from stdin")?;
    if text.len() as u64 > MAX_REQUEST {
        anyhow::bail!(
            "the prompt is longer than {MAX_REQUEST} bytes; put it in a file, and name that in the prompt"
        );
    }
    let text = String::from_utf8(text).context("the prompt from stdin is not UTF-8")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Prints what comes before the outcome, of which the first part is there, and returns the report of the turn.
pub(super) async fn follow(
    client: &mut Client,
    first: Result<Value, Value>,
    name: &str,
    stream: Streaming,
    output: Output,
) -> anyhow::Result<Value> {
    let (mut printed, mut opened, mut first) = (Printed::default(), None::<String>, Some(first));
    let report = loop {
        let said = match first.take() {
            Some(first) => Ok(first),
            None => client.item().await,
        };
        let item = match (said, &opened) {
            (Ok(Ok(item)), _) => item,
            (Ok(Err(report)), _) => break report,
            // The turn is stored, and whoever asked has its id from nowhere else.
            (Err(error), Some(turn)) if error.is::<TreeEnded>() => break turn::untold(turn, Some(name)),
            (Err(error), _) => return Err(error),
        };
        if item["type"] == "opened" {
            opened = item["turn"].as_str().map(str::to_owned);
        }
        if stream == Streaming::Frames && output.json {
            output::json(&item)?;
            continue;
        }
        match item["type"].as_str() {
            // One answer is asked for, and not how the model came to it.
            Some("tool") => {}
            // Where nothing was shown, nothing is told anew.
            Some("resumed") if stream != Streaming::Text => {}
            _ => printed.item(&item)?,
        }
    };
    // A person's prompt begins on a line of its own, and a file ends with one.
    printed.end_line()?;
    Ok(report)
}
