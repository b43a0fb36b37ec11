//! What the host asks the CLI.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::TurnId;
use crate::line::line;
use crate::spec::PermissionMode;

/// A request of the host to the CLI.
///
/// # Examples
///
/// ```
/// use treewarden_proto::control::HostRequest;
///
/// let line = HostRequest::EndSession.encode("r1");
/// assert!(line.ends_with(b"\n"));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum HostRequest {
    /// Says what the host offers; asked again, it gives the state and the requests that still wait.
    Initialize(Map<String, Value>),
    /// Ends the running turn.
    Interrupt {
        /// Whether prompts that wait are dropped too.
        cancel_queued: bool,
    },
    /// Ends the process in good order.
    EndSession,
    /// Changes the permission mode.
    SetPermissionMode(PermissionMode),
    /// Changes the model; none is the default.
    SetModel(Option<String>),
    /// Changes the limit for thinking; none is the default.
    SetMaxThinkingTokens(Option<u64>),
    /// Changes settings; null takes a key out.
    ApplyFlagSettings(Map<String, Value>),
    /// Asks for the settings in force.
    GetSettings,
    /// Asks for the MCP servers and their states.
    McpStatus,
    /// Connects an MCP server again.
    McpReconnect(String),
    /// Turns an MCP server on or off.
    McpToggle {
        /// The server.
        server: String,
        /// Whether it is on.
        enabled: bool,
    },
    /// Replaces the MCP servers that the host added.
    McpSetServers(Map<String, Value>),
    /// Sends a message of an MCP server in the host.
    McpMessage {
        /// The server.
        server: String,
        /// The JSON-RPC message.
        message: Value,
    },
    /// Sets files back to where they were at a prompt.
    RewindFiles {
        /// The prompt.
        user_message_id: TurnId,
        /// Whether to say only what would happen.
        dry_run: bool,
    },
    /// Drops a prompt that waits; the answer says whether it did.
    CancelAsyncMessage(TurnId),
    /// Ends a background task.
    StopTask(String),
    /// Sends running tool calls to the background.
    BackgroundTasks,
    /// Asks how full the context is.
    GetContextUsage,
    /// Asks for the cost and the limits of the account.
    GetUsage,
    /// Asks for the cost as text.
    GetSessionCost,
    /// Asks one thing aside, from the present context, without changing it.
    SideQuestion(String),
    /// Asks for the CLI's version: the cheapest sign of life.
    GetBinaryVersion,
    /// Asks which models there are.
    ListModels,
    /// Any other request, by its subtype and fields.
    Raw(String, Map<String, Value>),
}

impl HostRequest {
    /// The subtype on the wire.
    pub fn subtype(&self) -> &str {
        match self {
            Self::Initialize(_) => "initialize",
            Self::Interrupt { .. } => "interrupt",
            Self::EndSession => "end_session",
            Self::SetPermissionMode(_) => "set_permission_mode",
            Self::SetModel(_) => "set_model",
            Self::SetMaxThinkingTokens(_) => "set_max_thinking_tokens",
            Self::ApplyFlagSettings(_) => "apply_flag_settings",
            Self::GetSettings => "get_settings",
            Self::McpStatus => "mcp_status",
            Self::McpReconnect(_) => "mcp_reconnect",
            Self::McpToggle { .. } => "mcp_toggle",
            Self::McpSetServers(_) => "mcp_set_servers",
            Self::McpMessage { .. } => "mcp_message",
            Self::RewindFiles { .. } => "rewind_files",
            Self::CancelAsyncMessage(_) => "cancel_async_message",
            Self::StopTask(_) => "stop_task",
            Self::BackgroundTasks => "background_tasks",
            Self::GetContextUsage => "get_context_usage",
            Self::GetUsage => "get_usage",
            Self::GetSessionCost => "get_session_cost",
            Self::SideQuestion(_) => "side_question",
            Self::GetBinaryVersion => "get_binary_version",
            Self::ListModels => "list_models",
            Self::Raw(subtype, _) => subtype,
        }
    }

    /// The request as one line, with its line end.
    pub fn encode(&self, request_id: &str) -> Bytes {
        let mut request = self.fields();
        // Last, so that no field of a raw request takes its place.
        request.insert("subtype".to_owned(), self.subtype().into());
        line(&json!({ "type": "control_request", "request_id": request_id, "request": request }))
    }

    fn fields(&self) -> Map<String, Value> {
        match self {
            Self::Initialize(fields) | Self::Raw(_, fields) => fields.clone(),
            // Left out where it is false, which is the CLI's default: the prompts that wait then run as the
            // next turn.
            Self::Interrupt { cancel_queued: true } => one("cancel_queued", true),
            Self::SetPermissionMode(mode) => one("mode", mode.as_str()),
            // `null` is the CLI's word for its default model.
            Self::SetModel(model) => one("model", model.as_deref()),
            Self::SetMaxThinkingTokens(tokens) => one("max_thinking_tokens", *tokens),
            Self::ApplyFlagSettings(settings) => one("settings", settings.clone()),
            // The CLI spells it so here, and `server_name` in `mcp_message`.
            Self::McpReconnect(server) => one("serverName", server.as_str()),
            Self::McpToggle { server, enabled } => two("serverName", server.as_str(), "enabled", *enabled),
            Self::McpSetServers(servers) => one("servers", servers.clone()),
            Self::McpMessage { server, message } => {
                two("server_name", server.as_str(), "message", message.clone())
            }
            Self::RewindFiles { user_message_id, dry_run } => {
                two("user_message_id", user_message_id.to_string(), "dry_run", *dry_run)
            }
            Self::CancelAsyncMessage(turn) => one("message_uuid", turn.to_string()),
            Self::StopTask(task) => one("task_id", task.as_str()),
            Self::SideQuestion(question) => one("question", question.as_str()),
            Self::Interrupt { .. }
            | Self::EndSession
            | Self::GetSettings
            | Self::McpStatus
            | Self::BackgroundTasks
            | Self::GetContextUsage
            | Self::GetUsage
            | Self::GetSessionCost
            | Self::GetBinaryVersion
            | Self::ListModels => Map::new(),
        }
    }
}

impl fmt::Display for HostRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.subtype())
    }
}

fn one(key: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(key.to_owned(), value.into())])
}

fn two(a: &str, a_value: impl Into<Value>, b: &str, b_value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(a.to_owned(), a_value.into()), (b.to_owned(), b_value.into())])
}

/// The line that takes back a request of the host; the CLI does not answer it.
pub fn cancel_line(request_id: &str) -> Bytes {
    line(&json!({ "type": "control_cancel_request", "request_id": request_id }))
}

/// The line that changes variables of a running CLI, such as a token; answered as a control request.
pub fn update_environment_line(request_id: &str, variables: &BTreeMap<String, String>) -> Bytes {
    line(&json!({
        // Of nine names that were tried, the CLI set two, both of tokens (2.1.332), and said success all the
        // same: the `applied` of its answer has those that it set.
        "type": "update_environment_variables",
        "request_id": request_id,
        "variables": variables,
    }))
}
