//! The sessions, as a table.

use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::Value;
use treewarden_service::Request;

use crate::args::{Output, Place};
use crate::client::Client;
use crate::output::{self, Paint};
use crate::shown::{self, Lines};
use crate::verbs::lost::made_again;

pub(super) async fn run(output: Output, place: &Place) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(place).await?.call(&Request::Ps {}).await?;
    let mut sessions = answer["sessions"].as_array().cloned().unwrap_or_default();
    if output.json {
        output::pretty_json(&answer["sessions"])?;
    } else {
        say_once(&mut sessions, &answer["removed"]);
        output::text(
            table(&sessions, Paint(output::is_colourful()))
                + &warm(&answer["warm"])
                + &removed(&answer["removed"])
                + &lost(&answer["lost"])
                + &problems(&answer["problems"]),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Leaves out of each session what was removed of them all, which a line of its own says.
fn say_once(sessions: &mut [Value], removed: &Value) {
    for session in sessions.iter_mut().filter(|session| !removed.is_null() && session["removed"] == *removed)
    {
        session["removed"] = Value::Null;
    }
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
        let name = cell(&session["name"]);
        let ends = ends(session["state"].as_str().unwrap_or_default(), &name);
        text.push_str(&format!("\n{}: {reason}{ends}\n", paint.bold(&name)));
    }
    for session in sessions {
        for note in notes(session) {
            let note = shown::text(&note, Lines::Keep);
            text.push_str(&format!("\n{}: {note}\n", paint.bold(&cell(&session["name"]))));
        }
    }
    text
}

/// What ends each kind of line about a session, by the key of its JSON, as `docs/command.md` has it; a line that is not here is no
/// problem, or says itself what ends it.
const ENDS: [(&str, &str); 8] = [
    ("failed", "the next turn tries once more, and `treewarden restart NAME` lets it begin afresh"),
    ("given_up", "`treewarden restart NAME` starts it again"),
    (
        "unsaved",
        "this is over when its CLI has written it; `treewarden restart NAME --force` goes on without what is not on disk",
    ),
    ("unstored", "this is over when the store takes it"),
    ("lost", "`treewarden clear NAME` begins anew"),
    ("removed", "this is over once its lease can be had again"),
    ("not_gone", "this is over when they have ended: end them by hand"),
    ("may_be_left", "this is over when they have ended"),
];

/// What ends a line of this key of a session, which is named in it.
fn ends(key: &str, name: &str) -> String {
    let row = ENDS.iter().find(|(known, _)| *known == key);
    row.map(|(_, ends)| format!("; {}", ends.replace("NAME", name))).unwrap_or_default()
}

/// What a session's CLI does by itself, what would be lost with it, why its turns are refused, and what lives on of it.
fn notes(session: &Value) -> Vec<String> {
    let name = cell(&session["name"]);
    let problem =
        |key: &str, words: &str| session[key].as_str().map(|why| format!("{words}{why}{}", ends(key, &name)));
    let own_work = session["own_work"].as_str().map(|why| match why {
        "task_ended" => "its CLI works by itself: a background task ended".to_owned(),
        "wake_up" => "its CLI works by itself: a wake-up or a scheduled prompt".to_owned(),
        _ => "its CLI works by itself".to_owned(),
    });
    let tasks = session["background_tasks"].as_u64().filter(|count| *count > 0).map(|count| match count {
        1 => "1 background task runs".to_owned(),
        count => format!("{count} background tasks run"),
    });
    let lost = session["lost"].as_str().map(|why| {
        let adopt = match session["session_id"].as_str() {
            Some(id) => format!("`treewarden adopt {name} {id}` takes over the one that it had"),
            None => format!(
                "`treewarden adopt {name} ID` takes over the one of that id, which is the name of its transcript, `ID.jsonl` below \
                 `projects` in the CLI's config directory"
            ),
        };
        format!("its conversation is lost: {why}; {adopt}{}", ends("lost", &name))
    });
    let limit = session["suspended_until"].as_u64().map(|until| limit(until, SystemTime::now()));
    let problems = [
        problem("unsaved", "not on disk, and so its CLI is not parked: "),
        problem("unstored", "not stored yet: "),
        lost,
        // It says itself what was removed: what is removed of them all is said once, and not here.
        problem("removed", ""),
        problem("not_gone", "processes of it live on, and it does not start while they do: failed to "),
        problem("may_be_left", "left alone, as nothing says whether it is of the session: "),
    ];
    [limit, own_work, tasks].into_iter().chain(problems).flatten().collect()
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

/// The lost names that no session has, each with what has it go on.
fn lost(lost: &Value) -> String {
    const SHOWN: usize = 20;
    let all = lost.as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |lost: &Value| {
        let (name, id) = (cell(&lost["name"]), lost["session_id"].as_str().unwrap_or("ID"));
        format!(
            "\n{name}: its conversation is lost, and no session has the name: {}; `treewarden adopt {name} {id}` takes over the \
             conversation that it had, `treewarden clear {name}` begins anew\n",
            made_again(lost)
        )
    };
    let mut text: String = all.iter().take(SHOWN).map(line).collect();
    if all.len() > SHOWN {
        text.push_str(&format!("\n{} more lost names have no session\n", all.len() - SHOWN));
    }
    text
}

/// What of the store is not whole, if anything.
fn problems(problems: &Value) -> String {
    let line = |problem: &Value| {
        let reason = match problem["ends"].as_str() {
            Some(ends) => format!("{}; {}", cell(&problem["reason"]), shown::text(ends, Lines::Escape)),
            // A daemon of an earlier version does not say it.
            None => cell(&problem["reason"]),
        };
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
    fn what_ends_each_line_is_documented_in_the_same_words() {
        let page = include_str!("../../../../docs/command.md");
        for (key, ends) in ENDS {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{key}` | a session ")));
            assert!(row.is_some_and(|row| row.contains(ends)), "{key}: {ends}");
        }
        for (kind, of_a_session, otherwise) in treewarden_store::ENDS {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{kind}` | the store ")));
            assert!(row.is_some_and(|row| row.contains(of_a_session)), "{kind}: {of_a_session}");
            assert!(row.is_some_and(|row| row.contains(otherwise)), "{kind}: {otherwise}");
        }
    }

    #[test]
    fn a_problem_of_a_session_says_what_ends_it() {
        let session = serde_json::json!({ "name": "a", "state": "failed", "reason": "no such program", "unstored": "the disk is full" });
        let text = table(&[session], Paint(false));
        assert!(
            text.contains("a: no such program; the next turn tries once more, and `treewarden restart a`"),
            "{text}"
        );
        assert!(
            text.contains("not stored yet: the disk is full; this is over when the store takes it"),
            "{text}"
        );
    }

    #[test]
    fn what_was_removed_of_all_sessions_is_said_once() {
        let session = |removed: &str| serde_json::json!({ "name": "a", "removed": removed });
        let mut sessions = [session("the directory"), session("its lease")];
        say_once(&mut sessions, &"the directory".into());
        assert_eq!((&sessions[0]["removed"], &sessions[1]["removed"]), (&Value::Null, &"its lease".into()));
        say_once(&mut sessions, &Value::Null);
        assert!(
            table(&sessions, Paint(false))
                .contains("a: its lease; this is over once its lease can be had again")
        );
    }

    #[test]
    fn a_lost_name_that_no_session_has_says_what_makes_it_again() {
        let lost = serde_json::json!([{ "name": "alice", "session_id": "d4568e9c", "template": "chat" }, { "name": "bob" }]);
        let text = super::lost(&lost);
        assert!(
            text.contains("`treewarden new chat alice`")
                && text.contains("`treewarden adopt alice d4568e9c`"),
            "{text}"
        );
        assert!(
            text.contains("`treewarden new TEMPLATE bob`") && text.contains("`treewarden adopt bob ID`"),
            "{text}"
        );
        let gone = serde_json::json!([{ "name": "alice", "template": "chat", "has_template": false }]);
        let text = super::lost(&gone);
        assert!(
            !text.contains("treewarden new") && text.contains("no template chat now; declare that"),
            "{text}"
        );
        assert_eq!(super::lost(&Value::Null), "");
        let many: Vec<_> = (0..25).map(|n| serde_json::json!({ "name": format!("s{n}") })).collect();
        assert!(super::lost(&Value::Array(many)).contains("5 more lost names have no session"));
    }

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
