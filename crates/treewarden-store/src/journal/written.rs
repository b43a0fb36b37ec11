//! Which completed turns the CLI must have written: said once for a frame and once for the journal's column, here.
//!
//! Measured with CLI 2.1.332: a turn that asked the model ends with a result that has `terminal_reason` and counts at least
//! one turn; what the CLI answers by itself has neither. An outcome without a result was read from the transcript.

use serde::Deserialize;
use serde_json::value::RawValue;
use treewarden_proto::frame::{Body, Frame};

/// The same for a completed turn, given the column of its outcome.
pub(super) fn is_written_sql(outcome: &str) -> String {
    format!(
        "(coalesce(json_type({outcome}, '$.result'), 'null') = 'null'
          OR {outcome} ->> '$.result.terminal_reason' IS NOT NULL
          OR coalesce({outcome} ->> '$.result.num_turns', 0) >= 1)"
    )
}

/// The fields of a result that only a CLI that asked the model writes.
#[derive(Deserialize)]
struct Marks<'a> {
    #[serde(borrow, default)]
    terminal_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    num_turns: Option<&'a RawValue>,
}

/// Tells whether the CLI must have written the turn that ended with this result.
pub fn is_written(result: &Frame) -> bool {
    if let Ok(marks) = serde_json::from_str::<Marks<'_>>(result.json()) {
        let turns = marks.num_turns.and_then(|turns| turns.get().parse::<f64>().ok());
        return marks.terminal_reason.is_some() || turns.is_some_and(|turns| turns >= 1.0);
    }
    match result.body() {
        Ok(Body::Result(result)) => {
            result.terminal_reason.is_some() || result.num_turns.is_some_and(|turns| turns >= 1)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cli_answers_by_itself_is_written_nowhere() {
        let db = rusqlite::Connection::open_in_memory().expect("a database");
        let help = "/help isn't available in this environment.";
        let cases = [
            (format!(r#"{{"type":"result","num_turns":0,"result":"{help}"}}"#), false),
            (r#"{"type":"result","num_turns":0,"terminal_reason":null}"#.to_owned(), false),
            (r#"{"type":"result"}"#.to_owned(), false),
            (r#"{"type":"system","subtype":"informational","content":"blocked by hook"}"#.to_owned(), false),
            (r#"{"type":"result","num_turns":1}"#.to_owned(), true),
            (r#"{"type":"result","num_turns":0,"terminal_reason":"completed"}"#.to_owned(), true),
            (r#"{"\ud800":1,"type":"result","num_turns":2}"#.to_owned(), true),
        ];
        for (line, expected) in cases {
            let frame = Frame::parse(line.clone().into_bytes().into()).expect("a frame");
            assert_eq!(is_written(&frame), expected, "{line}");
            let row = format!(r#"{{"outcome":"completed","result":{line}}}"#);
            let sql = format!("SELECT {}", is_written_sql("?1"));
            let in_journal: bool = db.query_row(&sql, [row], |row| row.get(0)).expect("it can be asked");
            assert_eq!(in_journal, expected, "{line}");
        }
    }
}
