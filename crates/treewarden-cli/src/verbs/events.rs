//! What happened lately, and what happens.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use treewarden::events::Position;
use treewarden_service::Request;

use crate::args::{Output, Place};
use crate::client::Client;
use crate::output::{self, Paint};
use crate::shown::{self, Lines};

/// How often a follower looks whether it is still read.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(
    follow: bool,
    since: Option<Position>,
    output: Output,
    place: &Place,
) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(place).await?;
    // A follower may be told nothing for hours: that somebody serves it is asked first.
    client.greet().await?;
    client.send(&Request::Events { follow, since }).await?;
    let paint = Paint(output::is_colourful());
    while let Some(event) = next(&mut client, follow).await? {
        if event["type"] == "waiting" {
            output::note(format!("(waiting for {})", event["for"].as_str().unwrap_or("a place")));
            continue;
        }
        if output.json { output::json(&event)? } else { output::line(readable(&event, paint))? }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for the next event; `None` at the end, and when nobody reads what is printed. Who does not follow is told what the tree
/// has at hand.
async fn next(client: &mut Client, follow: bool) -> anyhow::Result<Option<Value>> {
    let item = async { if follow { client.item().await } else { client.item_soon().await } };
    // Kept over the looks: a line that has come in part would be lost with it.
    tokio::pin!(item);
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            biased;
            item = &mut item => return Ok(item?.ok()),
            // The next event would find it out as well, and may come in an hour.
            _ = looks.tick() => if output::is_unread() { return Ok(None) },
        }
    }
}

/// One event as a line: the time of day (UTC), whom it concerns, what it is, and its details.
fn readable(event: &Value, paint: Paint) -> String {
    let millis = event["at"].as_u64().unwrap_or(0);
    // The time of day, in UTC: the date of what happened lately is known.
    let (seconds, millis) = (millis / 1000 % 86_400, millis % 1000);
    let time = format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let what = event["event"].as_str().unwrap_or("?");
    if what == "missed" {
        return format!(
            "{}  {}  {what}  {}",
            paint.dim(&time),
            paint.bold(&format!("{:16}", "-")),
            gap(event)
        );
    }
    let who = event["name"].as_str().or_else(|| event["child"].as_str()).unwrap_or("-");
    let details = event.as_object().into_iter().flatten().filter(|(key, value)| {
        !value.is_null()
            && *value != ""
            && !matches!(key.as_str(), "at" | "boot" | "seq" | "path" | "event" | "name" | "child" | "frame")
    });
    let details = details.map(|(key, value)| match value {
        // One event is one line, whatever stands in it.
        Value::String(text) => format!("{key}={}", shown::text(text, Lines::Escape)),
        other => format!("{key}={}", shown::json(other)),
    });
    let details: Vec<String> = details.collect();
    format!("{}  {}  {what}  {}", paint.dim(&time), paint.bold(&format!("{who:16}")), details.join(" "))
}

/// What was missed, in words.
fn gap(event: &Value) -> String {
    match (event["why"].as_str(), event["events"].as_u64()) {
        (_, Some(1)) => "1 event is not kept any more".to_owned(),
        (_, Some(events)) => format!("{events} events are not kept any more"),
        (Some("not_given"), None) => {
            "the event of --since has not happened yet in this life of the daemon; all that is kept follows".to_owned()
        }
        (_, None) => {
            "the event of --since is of another life of the daemon, and nobody knows what followed it there; all that is \
             kept follows"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gap_is_told_in_words() {
        let said = |why: &str, events: Option<u64>| {
            let event = json!({ "event": "missed", "at": 0, "boot": "x", "events": events, "why": why });
            readable(&event, Paint(false))
        };
        assert!(said("gone", Some(1)).ends_with("missed  1 event is not kept any more"));
        assert!(said("gone", Some(12)).ends_with("missed  12 events are not kept any more"));
        assert!(said("other_life", None).contains("another life of the daemon"));
        let to_come = said("not_given", None);
        let said =
            json!({ "event": "garbage", "at": 0, "name": "a", "why": "x\x1b[2J\ny", "all": ["\u{9b}"] });
        assert!(
            readable(&said, Paint(false)).ends_with("all=[\"\\u009b\"] why=x\\u{1b}[2J\\u{a}y"),
            "{}",
            readable(&said, Paint(false))
        );
        assert!(to_come.contains("has not happened yet") && !to_come.contains("another life"), "{to_come}");
    }
}
