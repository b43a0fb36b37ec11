//! What the CLI asks the host.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::PermissionAnswer;
use crate::wire::{Wire, put, take, wire};

/// A request of the CLI; the turn waits until it is answered or taken back.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ControlRequest {
    /// The id under which it is answered.
    pub request_id: String,
    /// What is asked.
    pub request: CliRequest,
    /// The other fields of the envelope, as they came.
    pub extra: Map<String, Value>,
}

/// What the CLI asks.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CliRequest {
    /// May this tool call run?
    CanUseTool(Box<CanUseTool>),
    /// A hook of the host is due.
    HookCallback(Box<HookCallback>),
    /// A message for an MCP server in the host.
    McpMessage(McpMessage),
    /// An MCP server wants something from the user.
    Elicitation(Box<Elicitation>),
    /// A dialog for the user.
    RequestUserDialog(RequestUserDialog),
    /// A new login token is needed.
    OauthTokenRefresh(OauthTokenRefresh),
    /// A new token of the host is needed.
    HostAuthTokenRefresh(HostAuthTokenRefresh),
    /// Anything else, as it came; it must be answered with an error.
    Unknown(Map<String, Value>),
}

impl ControlRequest {
    /// Reads the envelope; none if there is no id to answer to.
    pub(crate) fn from_map(mut map: Map<String, Value>) -> Option<Self> {
        let request_id = take(&mut map, "request_id")?;
        // A request of no shape is unknown and still has its id: unanswered, the turn would wait for it
        // without limit.
        let request = CliRequest::from_map(take(&mut map, "request").unwrap_or_default());
        Some(Self { request_id, request, extra: map })
    }

    pub(crate) fn to_map(&self) -> Map<String, Value> {
        let mut map = self.extra.clone();
        map.insert("request_id".to_owned(), self.request_id.as_str().into());
        let request = self.request.to_map();
        if !request.is_empty() {
            map.insert("request".to_owned(), Value::Object(request));
        }
        map
    }
}

impl Serialize for ControlRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = self.to_map();
        put(&mut map, "type", Some(&"control_request"));
        map.serialize(serializer)
    }
}

impl CliRequest {
    /// The subtype on the wire; empty if the request has none.
    pub fn subtype(&self) -> &str {
        match self {
            Self::CanUseTool(_) => "can_use_tool",
            Self::HookCallback(_) => "hook_callback",
            Self::McpMessage(_) => "mcp_message",
            Self::Elicitation(_) => "elicitation",
            Self::RequestUserDialog(_) => "request_user_dialog",
            Self::OauthTokenRefresh(_) => "oauth_token_refresh",
            Self::HostAuthTokenRefresh(_) => "host_auth_token_refresh",
            Self::Unknown(map) => map.get("subtype").and_then(Value::as_str).unwrap_or_default(),
        }
    }

    fn from_map(map: Map<String, Value>) -> Self {
        let read: fn(Map<String, Value>) -> Self = match map.get("subtype").and_then(Value::as_str) {
            Some("can_use_tool") => |map| Self::CanUseTool(Box::new(Wire::from_map(map))),
            Some("hook_callback") => |map| Self::HookCallback(Box::new(Wire::from_map(map))),
            Some("mcp_message") => |map| Self::McpMessage(Wire::from_map(map)),
            Some("elicitation") => |map| Self::Elicitation(Box::new(Wire::from_map(map))),
            Some("request_user_dialog") => |map| Self::RequestUserDialog(Wire::from_map(map)),
            Some("oauth_token_refresh") => |map| Self::OauthTokenRefresh(Wire::from_map(map)),
            Some("host_auth_token_refresh") => |map| Self::HostAuthTokenRefresh(Wire::from_map(map)),
            // With its subtype, which whoever answers it names in the error.
            _ => return Self::Unknown(map),
        };
        let mut map = map;
        map.remove("subtype");
        read(map)
    }

    fn to_map(&self) -> Map<String, Value> {
        let mut map = match self {
            Self::CanUseTool(request) => request.to_map(),
            Self::HookCallback(request) => request.to_map(),
            Self::McpMessage(request) => request.to_map(),
            Self::Elicitation(request) => request.to_map(),
            Self::RequestUserDialog(request) => request.to_map(),
            Self::OauthTokenRefresh(request) => request.to_map(),
            Self::HostAuthTokenRefresh(request) => request.to_map(),
            Self::Unknown(map) => return map.clone(),
        };
        map.insert("subtype".to_owned(), self.subtype().into());
        map
    }
}

wire! {
    /// May this tool call run?
    pub struct CanUseTool {
        /// The tool.
        tool_name: String,
        /// The call's arguments.
        input: Map<String, Value>,
        /// The call's id.
        tool_use_id: String,
        /// Rules that the user might want to add.
        permission_suggestions: Vec<Value>,
        /// The path that was out of bounds.
        blocked_path: String,
        /// Why the host is asked, for people.
        decision_reason: String,
        /// What kind of rule asked.
        decision_reason_type: String,
        /// What to call the dialog.
        title: String,
        /// The tool's name for people.
        display_name: String,
        /// What the call does, for people.
        description: String,
        /// The sub-agent that makes the call.
        agent_id: String,
        /// Whether a person has to decide.
        requires_user_interaction: bool,
    }
}

impl CanUseTool {
    /// Lets the call run as it is.
    pub fn allow(&self) -> PermissionAnswer {
        // The whole input is echoed, since 2.1.197 runs no call without it.
        self.allow_with(self.input.clone().unwrap_or_default())
    }

    /// Lets the call run with other arguments.
    pub fn allow_with(&self, input: Map<String, Value>) -> PermissionAnswer {
        PermissionAnswer::allow(input)
    }
}

wire! {
    /// A hook of the host is due.
    pub struct HookCallback {
        /// The id that the hook was registered with.
        callback_id: String,
        /// What happened.
        input: Map<String, Value>,
        /// The tool call that it is about.
        tool_use_id: String,
        /// How long the CLI waits.
        deadline_ms: f64,
    }
}

impl HookCallback {
    /// The name of the event, such as `PreToolUse`.
    pub fn event(&self) -> Option<&str> {
        self.input.as_ref()?.get("hook_event_name")?.as_str()
    }
}

wire! {
    /// A message for an MCP server in the host.
    pub struct McpMessage {
        /// The server.
        server_name: String,
        /// The JSON-RPC message.
        message: Value,
    }
}

wire! {
    /// An MCP server wants something from the user.
    pub struct Elicitation {
        /// The server.
        mcp_server_name: String,
        /// What it asks.
        message: String,
        /// How: `form` or `url`.
        mode: String,
        /// The page to open.
        url: String,
        /// The id under which it ends out of band.
        elicitation_id: String,
        /// The shape of the answer.
        requested_schema: Value,
    }
}

wire! {
    /// A dialog for the user.
    pub struct RequestUserDialog {
        /// Which dialog.
        dialog_kind: String,
        /// What it shows.
        payload: Value,
        /// The tool call that it is about.
        tool_use_id: String,
    }
}

wire! {
    /// A new login token is needed.
    pub struct OauthTokenRefresh {
        /// The call that was refused.
        refused_call: Value,
    }
}

wire! {
    /// A new token of the host is needed.
    pub struct HostAuthTokenRefresh {
        /// The HTTP status that the old one got.
        status: u16,
    }
}
