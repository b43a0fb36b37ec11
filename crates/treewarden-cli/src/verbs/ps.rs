//! The sessions, as a table.

use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::Value;
use treewarden_service::Request;

use crate::args::{Output, Place};
use crate::client::Client;
use crate::output::{self, Paint};
use crate::shown::{self, Lines};

pub(super) async fn run(output: Output, place: &Place) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(place).await?.call(&Request::Ps {}).await?;
    let sessions = answer["sessions"].as_array().cloned().unwrap_or_default();
    if output.json {
        output::pretty_json(&answer["sessions"])?;
    } else {
        output::text(
            table(&sessions, Paint(output::is_colourful()))
                + &warm(&answer["warm"])
                + &removed(&answer["removed"])
                + &problems(&answer["problems"]),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

const HEAD: [&str; 9] =
    ["NAME", "STATE", "PID", "GEN", "RESTARTS", "TURNS", "QUEUED", "CONTAINMENT", "SESSION"];

/// The sessions as a table, with why a session failed, or was given up, below it, and what keeps its CLI.
pub(crate) fn table(sessions: &[Value], paint: Paint) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    for session in sessions {
        let keys = [
            "name",
            "state",
            "pid",
            "generation",
            "restarts",
            "turns",
            "queued",
            "containment",
            "session_id",
        ];
        rows.push(keys.map(|key| cell(&session[key])).to_vec());
    }
    let mut text = output::table(&rows, |row, column, cell| match (row, column) {
        (0, _) => paint.dim(cell),
        (_, 0) => paint.bold(cell),
        (_, 1) => paint.state(cell),
        (_, 8) => paint.dim(cell),
        _ => cell.to_owned(),
    });
    for session in
        sessions.iter().filter(|session| session["state"] == "failed" || session["state"] == "given_up")
    {
        let reason = session["reason"].as_str().or_else(|| session["last_exit"].as_str());
        let reason = shown::text(reason.unwrap_or("no reason is known"), Lines::Keep);
        text.push_str(&format!("\n{}: {reason}\n", paint.bold(&cell(&session["name"]))));
    }
    for session in sessions {
        for note in notes(session) {
            let note = shown::text(&note, Lines::Keep);
            text.push_str(&format!("\n{}: {note}\n", paint.bold(&cell(&session["name"]))));
        }
    }
    text
}

/// What a session's CLI does by itself, what would be lost with it, why its turns are refused, and what lives on of it.
fn notes(session: &Value) -> Vec<String> {
    let own_work = session["own_work"].as_str().map(|why| match why {
        "task_ended" => "its CLI works by itself: a background task ended".to_owned(),
        "wake_up" => "its CLI works by itself: a wake-up or a scheduled prompt".to_owned(),
        _ => "its CLI works by itself".to_owned(),
    });
    let tasks = session["background_tasks"].as_u64().filter(|count| *count > 0).map(|count| match count {
        1 => "1 background task runs".to_owned(),
        count => format!("{count} background tasks run"),
    });
    let unsaved =
        session["unsaved"].as_str().map(|why| format!("not on disk, and so its CLI is not parked: {why}"));
    let unstored = session["unstored"].as_str().map(|why| format!("not stored yet: {why}"));
    let lost = session["lost"].as_str().map(|why| {
        let name = cell(&session["name"]);
        let adopt = match session["session_id"].as_str() {
            Some(id) => format!("`treewarden adopt {name} {id}` takes over the one that it had"),
            None => format!(
                "`treewarden adopt {name} ID` takes over the one of that id, which is the name of its transcript, `ID.jsonl` below \
                 `projects` in the CLI's config directory"
            ),
        };
        format!("its conversation is lost: {why}; {adopt}, `treewarden clear {name}` begins anew")
    });
    // It says itself what was removed: the session's lease, or the store of them all.
    let removed = session["removed"].as_str().map(str::to_owned);
    let not_gone = session["not_gone"]
        .as_str()
        .map(|why| format!("processes of it live on, and it does not start while they do: failed to {why}"));
    let left = session["may_be_left"]
        .as_str()
        .map(|what| format!("left alone, as nothing says whether it is of the session: {what}"));
    let limit = session["suspended_until"].as_u64().map(|until| limit(until, SystemTime::now()));
    [limit, own_work, tasks, unsaved, unstored, lost, removed, not_gone, left].into_iter().flatten().collect()
}

/// How long a usage limit holds still that is lifted at this second of the Unix epoch.
fn limit(until: u64, now: SystemTime) -> String {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let minutes = until.saturating_sub(now).div_ceil(60);
    format!("the usage limit of its account is lifted in {} h {:02} min", minutes / 60, minutes % 60)
}

/// How many CLIs are kept for the next conversations, if any are to be.
fn warm(warm: &Value) -> String {
    match (warm["ready"].as_u64(), warm["wanted"].as_u64()) {
        (Some(ready), Some(wanted)) if wanted > 0 => format!("\nwarm: {ready} of {wanted}\n"),
        _ => String::new(),
    }
}

/// Why no turn is taken by any session, if that is so.
fn removed(removed: &Value) -> String {
    let shown = |why| format!("\nno turn is taken: {}\n", shown::text(why, Lines::Keep));
    removed.as_str().map_or_else(String::new, shown)
}

/// What of the store is not whole, if anything.
fn problems(problems: &Value) -> String {
    let line = |problem: &Value| {
        let reason = cell(&problem["reason"]);
        // The words say which turn, or whose record, it is.
        match problem["names"].as_array().is_some_and(|names| !names.is_empty()) {
            true => format!("\nstore: {reason}\n"),
            false => format!("\nstore: {}: {reason}\n", cell(&problem["key"])),
        }
    };
    problems.as_array().into_iter().flatten().map(line).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => shown::text(text, Lines::Escape).into_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_limit_is_shown_by_what_is_left_of_it_rounded_up() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (left, shown) in [(7_321, "2 h 03 min"), (60, "0 h 01 min"), (1, "0 h 01 min"), (0, "0 h 00 min")]
        {
            assert!(limit(1_000_000 + left, now).ends_with(shown), "{}", limit(1_000_000 + left, now));
        }
        assert!(limit(5, now).ends_with("0 h 00 min"), "a clock that is ahead");
    }
}
