//! What the host says to a request of the CLI.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::line::line;

/// An answer to a request of the CLI.
///
/// # Examples
///
/// ```
/// use treewarden_proto::control::{Answer, PermissionAnswer};
///
/// let answer: Answer = PermissionAnswer::deny("not on this machine").into();
/// assert!(answer.encode("r1").ends_with(b"\n"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The answer itself; its shape depends on the request.
    Success(Value),
    /// The request failed. For a tool call prefer [`PermissionAnswer::deny`], for a hook its own output.
    Error(String),
}

impl Answer {
    /// The answer to a hook: its output.
    pub fn hook(output: Value) -> Self {
        Self::Success(output)
    }

    /// The answer to a message for an MCP server: the JSON-RPC response.
    pub fn mcp(response: &Value) -> Self {
        // The response must have the `id` of its request: with another, or none, the CLI waits for it without
        // limit (2.1.332).
        Self::Success(json!({ "mcp_response": response }))
    }

    /// The answer to an elicitation that nobody takes part in.
    pub fn decline_elicitation() -> Self {
        Self::Success(json!({ "action": "decline" }))
    }

    /// The answer to a dialog that nobody sees.
    pub fn cancel_dialog() -> Self {
        Self::Success(json!({ "behavior": "cancelled" }))
    }

    /// The answer as one line, with its line end.
    pub fn encode(&self, request_id: &str) -> Bytes {
        let response = match self {
            Self::Success(value) => {
                json!({ "subtype": "success", "request_id": request_id, "response": value })
            }
            // To a hook an error is an empty answer, and the call goes on (2.1.332): a gate must refuse in
            // its output.
            Self::Error(error) => json!({ "subtype": "error", "request_id": request_id, "error": error }),
        };
        line(&json!({ "type": "control_response", "response": response }))
    }
}

/// The decision on a tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct PermissionAnswer(Map<String, Value>);

impl PermissionAnswer {
    /// Lets the call run with these arguments, which old CLIs need even when they are unchanged.
    pub fn allow(input: Map<String, Value>) -> Self {
        let mut answer = Map::new();
        answer.insert("behavior".to_owned(), "allow".into());
        // 2.1.197 does not run a call that is allowed without it; 2.1.332 does.
        answer.insert("updatedInput".to_owned(), Value::Object(input));
        Self(answer)
    }

    /// Refuses the call; the model reads the message and the turn goes on.
    pub fn deny(message: impl Into<String>) -> Self {
        let mut answer = Map::new();
        answer.insert("behavior".to_owned(), "deny".into());
        // A refusal without a message is no valid one: the call is not run either, but the model is told of a
        // broken host.
        answer.insert("message".to_owned(), message.into().into());
        Self(answer)
    }

    /// Ends the turn as well, if the call is refused.
    #[must_use]
    pub fn interrupt(mut self) -> Self {
        // Only a refusal has this field. With it the CLI tells the model a text of its own, in place of the
        // message (2.1.332).
        if self.0.get("behavior").and_then(Value::as_str) == Some("deny") {
            self.0.insert("interrupt".to_owned(), true.into());
        }
        self
    }

    /// Adds rules for later calls, if the call is allowed.
    #[must_use]
    pub fn updated_permissions(mut self, updates: Vec<Value>) -> Self {
        // Only an answer that allows has rules. One for `localSettings`, which the CLI suggests first, is
        // written to disk and holds for all sessions in the directory (2.1.332).
        if self.is_allow() {
            self.0.insert("updatedPermissions".to_owned(), updates.into());
        }
        self
    }

    /// Whether the call may run.
    pub fn is_allow(&self) -> bool {
        self.0.get("behavior").and_then(Value::as_str) == Some("allow")
    }
}

impl From<PermissionAnswer> for Answer {
    fn from(answer: PermissionAnswer) -> Self {
        Self::Success(Value::Object(answer.0))
    }
}
