//! What happened lately, and what happens.

use std::process::ExitCode;

use serde_json::Value;
use treewarden::events::Position;
use treewarden_service::Request;

use crate::args::{Output, Place};
use crate::client::Client;
use crate::output::{self, Paint};

pub(super) async fn run(
    follow: bool,
    since: Option<Position>,
    output: Output,
    place: &Place,
) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(place).await?;
    client.send(&Request::Events { follow, since }).await?;
    let paint = Paint(output::is_colourful());
    while let Ok(event) = client.item().await? {
        if event["type"] == "waiting" {
            output::note(format!("(waiting for {})", event["for"].as_str().unwrap_or("a place")));
            continue;
        }
        output::line(if output.json { event.to_string() } else { readable(&event, paint) })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One event as a line: the time of day (UTC), whom it concerns, what it is, and its details.
fn readable(event: &Value, paint: Paint) -> String {
    let millis = event["at"].as_u64().unwrap_or(0);
    // The time of day, in UTC: the date of what happened lately is known.
    let (seconds, millis) = (millis / 1000 % 86_400, millis % 1000);
    let time = format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let what = event["event"].as_str().unwrap_or("?");
    let who = event["name"].as_str().or_else(|| event["child"].as_str()).unwrap_or("-");
    let details = event.as_object().into_iter().flatten().filter(|(key, value)| {
        !value.is_null()
            && *value != ""
            && !matches!(key.as_str(), "at" | "boot" | "seq" | "path" | "event" | "name" | "child" | "frame")
    });
    let details = details.map(|(key, value)| match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    });
    let details: Vec<String> = details.collect();
    format!("{}  {}  {what}  {}", paint.dim(&time), paint.bold(&format!("{who:16}")), details.join(" "))
}
