//! Tool calls that the CLI refused in a turn, since nobody allowed them: which, and what would allow them.
//!
//! It is for who reads an answer and wonders why it says that something could not be done. It is not for deciding what a tool
//! may do: that is the CLI's, by the options that it was started with. Nothing here may quote more of a call than its name and the
//! program that it was to run, since the rest may be long, and may be secret.
//!
//! The real CLI 2.1.332 lists such calls in `permission_denials` of its `result`, also in a turn that ended well.

use serde_json::Value;
use treewarden_proto::frame::{Frame, PermissionDenial};

use super::Outcome;

/// The longest name that is told; a longer one is cut.
const NAME: usize = 128;

/// A tool call that the CLI refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
#[non_exhaustive]
pub struct Denied {
    /// The tool, as the CLI names it.
    pub tool: String,
    /// What in `allowed_tools` would have let it run: the tool, or for a command of a shell the rule for its program, such as
    /// `Bash(git:*)`.
    pub rule: String,
}

impl Outcome {
    /// The tool calls that were refused in the turn, each once, as far as the CLI told of them.
    pub fn denied(&self) -> Vec<Denied> {
        let result = match self {
            Self::Completed(answer) => answer.result.as_deref(),
            Self::Failed(failure) => failure.result.as_deref(),
            Self::Interrupted | Self::Cancelled => None,
        };
        result.map(Frame::denials).map(each_once).unwrap_or_default()
    }
}

impl Denied {
    /// The same of a `result` frame that was stored as JSON.
    pub fn in_result(result: &Value) -> Vec<Self> {
        let denials = result.get("permission_denials").cloned().unwrap_or_default();
        each_once(serde_json::from_value(denials).unwrap_or_default())
    }

    fn of(denial: &PermissionDenial) -> Option<Self> {
        let tool: String = denial.tool_name.as_ref()?.chars().take(NAME).collect();
        let command = denial.tool_input.as_ref().and_then(|input| input.get("command")?.as_str());
        let program = command.filter(|_| tool == "Bash").and_then(program);
        let rule = program.map_or_else(|| tool.clone(), |program| format!("{tool}({program}:*)"));
        Some(Self { tool, rule })
    }
}

fn each_once(denials: Vec<PermissionDenial>) -> Vec<Denied> {
    let mut all: Vec<Denied> = Vec::new();
    for denied in denials.iter().filter_map(Denied::of) {
        if !all.contains(&denied) {
            all.push(denied);
        }
    }
    all
}

/// The program that a command begins with, if that is a plain word and the command is no more than one: a rule for the first of
/// several would not let the others run.
fn program(command: &str) -> Option<&str> {
    const SEVERAL: [char; 9] = ['|', '&', ';', '`', '$', '(', '<', '>', '\n'];
    let first = command.split_whitespace().next()?;
    let is_plain = first.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    (is_plain && first.len() <= NAME && !command.contains(SEVERAL)).then_some(first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use treewarden_proto::{SessionId, TurnId};

    use super::*;
    use crate::session::Answer;

    fn call(tool: &str, input: &Value) -> Value {
        json!({ "tool_name": tool, "tool_use_id": "toolu_1", "tool_input": input })
    }

    fn rules(denials: &[Value]) -> Vec<String> {
        let all = Denied::in_result(&json!({ "type": "result", "permission_denials": denials }));
        all.into_iter().map(|denied| denied.rule).collect()
    }

    #[test]
    fn a_refused_call_is_told_once_with_the_rule_that_would_allow_it() {
        let denials = [
            call("Bash", &json!({ "command": "git status --short" })),
            call("Bash", &json!({ "command": "git log" })),
            call("Write", &json!({ "file_path": "/etc/passwd", "content": "secret" })),
        ];
        assert_eq!(rules(&denials), ["Bash(git:*)", "Write"]);
    }

    #[test]
    fn a_command_of_several_programs_has_no_rule_but_its_tool() {
        for command in ["git status && rm -rf /", "$(cat x)", "a | b", "\"my tool\" x", "", "a\nb"] {
            assert_eq!(rules(&[call("Bash", &json!({ "command": command }))]), ["Bash"], "{command:?}");
        }
        assert_eq!(rules(&[call("mcp__x__y", &json!({ "command": "git status" }))]), ["mcp__x__y"]);
    }

    #[test]
    fn what_is_no_list_of_refusals_is_none() {
        for told in [json!(null), json!([]), json!("x"), json!([7]), json!([{}])] {
            assert_eq!(Denied::in_result(&json!({ "permission_denials": told })), [], "{told}");
        }
        assert_eq!(Denied::in_result(&json!({})), []);
    }

    #[test]
    fn the_frame_of_an_answer_tells_the_same() {
        let line = json!({
            "type": "result", "subtype": "success", "is_error": false, "result": "I was not allowed to.",
            "permission_denials": [call("Bash", &json!({ "command": "ls -la" }))],
        });
        let mut answer = Answer {
            turn: TurnId::new(),
            session_id: SessionId::random(),
            text: String::new(),
            interruptions: 0,
            stored: true,
            result: Some(Box::new(Frame::parse(line.to_string().into()).expect("a frame"))),
            spent: None,
        };
        let denied = Outcome::Completed(answer.clone()).denied();
        assert_eq!(denied, [Denied { tool: "Bash".into(), rule: "Bash(ls:*)".into() }]);
        answer.result = None;
        assert_eq!(Outcome::Completed(answer).denied(), []);
        assert_eq!(Outcome::Interrupted.denied(), []);
    }
}
