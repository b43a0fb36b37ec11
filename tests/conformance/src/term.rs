//! Erlang's terms as JSON, and our exit reasons as Erlang's.

use std::fmt;

use serde_json::{Value, json};
use treewarden_otp::supervisor::{ExitReason, FailedToStartChild};

/// An Erlang term that is an error here.
#[derive(Debug, Clone)]
pub(crate) struct Term(pub(crate) Value);

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Term {}

/// The reason that a schedule writes: `"normal"`, `{"shutdown": x}`, a tuple, or any other term.
pub(crate) fn reason(value: &Value) -> ExitReason {
    match normalized(value) {
        Value::String(text) => match text.as_str() {
            "normal" => ExitReason::Normal,
            "shutdown" => ExitReason::Shutdown,
            "killed" => ExitReason::Killed,
            "noproc" => ExitReason::NoProc,
            _ => failure(json!(text)),
        },
        Value::Array(tuple) => match tuple.as_slice() {
            [Value::String(tag), cause] if tag == "shutdown" => {
                ExitReason::shutdown_with(Term(cause.clone()))
            }
            _ => failure(Value::Array(tuple)),
        },
        other => failure(other),
    }
}

/// A term with a stack, which the trace does not show: `error(Term)`.
#[derive(Debug, Clone)]
struct WithStack(Value);

impl fmt::Display for WithStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for WithStack {}

/// The reason of a process that failed with `error(Term)`: `{Term, Stack}`, which is clean for the term `shutdown`.
pub(crate) fn raised(term: Value) -> ExitReason {
    if term == "shutdown" { ExitReason::shutdown_with(WithStack(term)) } else { failure(term) }
}

/// A reason that is abnormal whatever its term is.
pub(crate) fn failure(term: Value) -> ExitReason {
    ExitReason::error(Term(term))
}

/// A term as the trace writes it: `{"shutdown": x}` as a tuple, booleans as atoms.
pub(crate) fn normalized(value: &Value) -> Value {
    match value {
        Value::Object(map) if map.len() == 1 && map.contains_key("shutdown") => {
            json!(["shutdown", normalized(&map["shutdown"])])
        }
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), normalized(value))).collect(),
        Value::Array(items) => items.iter().map(normalized).collect(),
        Value::Bool(flag) => json!(flag.to_string()),
        other => other.clone(),
    }
}

/// A term as it is, but for its booleans, which are atoms.
pub(crate) fn verbatim(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), verbatim(value))).collect(),
        Value::Array(items) => items.iter().map(verbatim).collect(),
        Value::Bool(flag) => json!(flag.to_string()),
        other => other.clone(),
    }
}

/// Our reason as Erlang's term.
pub(crate) fn term(reason: &ExitReason) -> Value {
    match reason {
        ExitReason::Normal => json!("normal"),
        ExitReason::Shutdown => json!("shutdown"),
        ExitReason::ShutdownWith(cause) => match cause.downcast_ref() {
            Some(WithStack(value)) => value.clone(),
            None => json!(["shutdown", cause_term(cause.as_ref())]),
        },
        ExitReason::Killed => json!("killed"),
        ExitReason::NoProc => json!("noproc"),
        ExitReason::Error(cause) => cause_term(cause.as_ref()),
        // The kid panics with its term as JSON: a panic carries only text.
        ExitReason::Panic(text) => {
            json!(["EXIT", serde_json::from_str(text).unwrap_or_else(|_| json!(&**text))])
        }
        other => json!(other.to_string()),
    }
}

fn cause_term(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> Value {
    if let Some(Term(value)) = cause.downcast_ref() {
        value.clone()
    } else if let Some(failed) = cause.downcast_ref::<FailedToStartChild>() {
        json!(["failed_to_start_child", failed.id.as_str(), term(&failed.reason)])
    } else {
        json!(cause.to_string())
    }
}

/// Elixir's `DynamicSupervisor` reports an exception of a start function without the `EXIT` around it.
pub(crate) fn without_exit(value: Value) -> Value {
    match value {
        Value::Array(items) if items.len() == 2 && items[0] == "EXIT" => items[1].clone(),
        other => other,
    }
}

/// `exit(Reason)` as `catch` shows it.
pub(crate) fn exit(reason: Value) -> Value {
    json!(["EXIT", reason])
}

/// What a call to a dead server exits with.
pub(crate) fn noproc() -> Value {
    exit(json!(["noproc", "gen_server:call"]))
}
