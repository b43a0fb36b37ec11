//! What an outcome says of the CLI's transcript: one rule, for whatever keeps outcomes.
//!
//! Measured with CLI 2.1.332: a turn that asked the model ends with a result that has `terminal_reason` and counts at least
//! one turn; what the CLI answers by itself has neither. An outcome without a result was read from the transcript.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use treewarden_proto::TurnId;
use treewarden_proto::frame::{self, Frame};

/// A completed turn, and what follows from its outcome for the CLI's transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    /// The turn.
    pub turn: TurnId,
    /// The CLI must have written it.
    pub written: bool,
    /// Its outcome has text.
    pub answered: bool,
}

/// The fields of an outcome that decide. What is in the others is not looked at: a CLI writes there what a strict reader refuses.
#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, default)]
    outcome: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Marks<'a> {
    #[serde(borrow, default)]
    terminal_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    num_turns: Option<&'a RawValue>,
}

impl Completed {
    /// What follows from an outcome as it is stored; `None` unless it says `"outcome": "completed"`.
    pub fn of(turn: TurnId, outcome: &str) -> Option<Self> {
        let Ok(read) = serde_json::from_str::<Outcome<'_>>(outcome) else {
            return Self::of_value(turn, &frame::value(outcome).ok()?);
        };
        let answered = read.text.is_some_and(|text| !matches!(text.get(), "\"\"" | "null"));
        let written = read.result.is_none_or(|result| is_demanded(result.get()));
        (read.outcome? == "completed").then_some(Self { turn, written, answered })
    }

    /// The same of one with keys that only a mended text can be read with.
    fn of_value(turn: TurnId, outcome: &Value) -> Option<Self> {
        let answered = !matches!(&outcome["text"], Value::Null) && outcome["text"] != "";
        let written = outcome["result"].is_null() || of_marks(&outcome["result"]);
        (outcome["outcome"] == "completed").then_some(Self { turn, written, answered })
    }
}

/// Tells whether the CLI must have written the turn that ended with this result.
pub fn is_written(result: &Frame) -> bool {
    is_demanded(result.json())
}

fn is_demanded(result: &str) -> bool {
    match serde_json::from_str::<Marks<'_>>(result) {
        Ok(marks) => {
            let turns = marks.num_turns.and_then(|turns| turns.get().parse::<f64>().ok());
            marks.terminal_reason.is_some() || turns.is_some_and(|turns| turns >= 1.0)
        }
        Err(_) => frame::value(result).is_ok_and(|result| of_marks(&result)),
    }
}

fn of_marks(result: &Value) -> bool {
    !result["terminal_reason"].is_null() || result["num_turns"].as_f64().is_some_and(|turns| turns >= 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_says_whether_the_cli_must_have_written_its_turn() {
        let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
        let cases = [
            ("", Some((true, false))),
            (r#","text":null"#, Some((true, false))),
            (r#","text":"""#, Some((true, false))),
            (r#","text":"cut \ud83d""#, Some((true, true))),
            (r#","text":"a","result":null"#, Some((true, true))),
            (r#","result":{"num_turns":3}"#, Some((true, false))),
            (r#","result":{"num_turns":0}"#, Some((false, false))),
            (r#","result":{"num_turns":null,"terminal_reason":null}"#, Some((false, false))),
            (r#","result":{"num_turns":0,"terminal_reason":"completed"}"#, Some((true, false))),
            (r#","result":{}"#, Some((false, false))),
            (r#","result":"said""#, Some((false, false))),
            (r#","result":{"\ud800":1,"num_turns":2}"#, Some((true, false))),
            (r#","\udc00":1,"result":{"num_turns":0}"#, Some((false, false))),
            (r#","result":{"cost":1e999,"num_turns":2}"#, Some((true, false))),
        ];
        let turn = TurnId::new();
        for (more, expected) in cases {
            let said = Completed::of(turn, &format!(r#"{{"outcome":"completed"{more}}}"#));
            assert_eq!(said.map(|said| (said.written, said.answered)), expected, "{more}");
        }
        let nested = format!(r#"{{"outcome":"completed","result":{{"num_turns":1,"deep":{deep}}}}}"#);
        assert!(Completed::of(turn, &nested).expect("completed").written);
        for other in ["{}", "1", r#"{"outcome":"failed"}"#, r#"{"outcome":null}"#, "no JSON"] {
            assert_eq!(Completed::of(turn, other), None, "{other}");
        }
    }

    /// What the CLI answers by itself, and what a hook said in the place of a result, is written nowhere.
    #[test]
    fn the_journal_and_a_frame_say_the_same_of_what_the_cli_wrote() {
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
            let in_journal = Completed::of(TurnId::new(), &row).expect("completed").written;
            assert_eq!(in_journal, expected, "{line}");
        }
    }
}
