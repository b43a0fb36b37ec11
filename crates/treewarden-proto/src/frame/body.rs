//! The typed body of a frame.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::content::Message;
use super::repair::value;
use super::system::SystemBody;
use super::{Frame, FrameKind, ResultFrame};
use crate::control::{ControlRequest, ControlResponse};
use crate::wire::{Wire, wire, words};
use crate::{SessionId, TurnId};

/// The typed body of a frame; every field that is not typed is in its `extra`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Body {
    /// A message of the user's side.
    User(Box<UserMessage>),
    /// One content block of the model's answer.
    Assistant(Box<AssistantFrame>),
    /// A raw event of the model's stream.
    StreamEvent(Box<StreamEvent>),
    /// The end of a turn.
    Result(Box<ResultFrame>),
    /// Anything about the session itself.
    System(SystemBody),
    /// The life of one prompt.
    CommandLifecycle(CommandLifecycle),
    /// The CLI asks us something.
    ControlRequest(Box<ControlRequest>),
    /// The CLI answers a request of ours, or echoes our answer.
    ControlResponse(Box<ControlResponse>),
    /// The CLI takes a request back.
    ControlCancelRequest(ControlCancelRequest),
    /// The conversation goes on under another session id.
    ConversationReset(ConversationReset),
    /// The usage limits of the account changed.
    RateLimitEvent(Box<RateLimitEvent>),
    /// Nothing but a sign of life.
    KeepAlive(KeepAlive),
    /// A tool is still running.
    ToolProgress(ToolProgress),
    /// A summary of finished tool calls.
    ToolUseSummary(ToolUseSummary),
    /// What the user might ask next.
    PromptSuggestion(PromptSuggestion),
    /// The state of a login.
    AuthStatus(AuthStatus),
    /// Lines that the CLI wrote to its transcript.
    TranscriptMirror(TranscriptMirror),
    /// Any other frame, as it came.
    Other(Map<String, Value>),
}

/// A frame whose body means nothing, because the one field is missing without which it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("decode a {kind} frame: it has no {missing}")]
pub struct BodyError {
    kind: String,
    missing: &'static str,
}

impl Frame {
    /// Decodes the body.
    ///
    /// What it does not know is kept, and so is a known field of an unexpected shape. A `result` is always
    /// decodable.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if a control frame has no `request_id`, so that nobody could answer it.
    pub fn body(&self) -> Result<Body, BodyError> {
        let mut map = object(self.raw());
        let kind = self.kind();
        // The variant says the type of the others; of these two only the text does, and is needed to write
        // the frame again.
        if !matches!(kind, FrameKind::Unknown | FrameKind::Internal(_)) {
            map.remove("type");
        }
        let unusable = |missing| BodyError { kind: self.type_name().into_owned(), missing };
        Ok(match kind {
            FrameKind::User => Body::User(Box::new(Wire::from_map(map))),
            FrameKind::Assistant => Body::Assistant(Box::new(Wire::from_map(map))),
            FrameKind::StreamEvent => Body::StreamEvent(Box::new(Wire::from_map(map))),
            FrameKind::Result => Body::Result(Box::new(Wire::from_map(map))),
            FrameKind::System(system) => Body::System(SystemBody::from_map(system, map)),
            FrameKind::CommandLifecycle => Body::CommandLifecycle(Wire::from_map(map)),
            FrameKind::ControlRequest => {
                // Not `Other`: a request that cannot be answered stops the turn, so that somebody has to be
                // told.
                let request = ControlRequest::from_map(map).ok_or_else(|| unusable("request_id"))?;
                Body::ControlRequest(Box::new(request))
            }
            FrameKind::ControlResponse => {
                let response =
                    ControlResponse::from_map(map).ok_or_else(|| unusable("response.request_id"))?;
                Body::ControlResponse(Box::new(response))
            }
            FrameKind::ControlCancelRequest => Body::ControlCancelRequest(Wire::from_map(map)),
            FrameKind::ConversationReset => Body::ConversationReset(Wire::from_map(map)),
            FrameKind::RateLimitEvent => Body::RateLimitEvent(Box::new(Wire::from_map(map))),
            FrameKind::KeepAlive => Body::KeepAlive(Wire::from_map(map)),
            FrameKind::ToolProgress => Body::ToolProgress(Wire::from_map(map)),
            FrameKind::ToolUseSummary => Body::ToolUseSummary(Wire::from_map(map)),
            FrameKind::PromptSuggestion => Body::PromptSuggestion(Wire::from_map(map)),
            FrameKind::AuthStatus => Body::AuthStatus(Wire::from_map(map)),
            FrameKind::TranscriptMirror => Body::TranscriptMirror(Wire::from_map(map)),
            FrameKind::Internal(_) | FrameKind::Unknown => Body::Other(map),
        })
    }
}

/// The line as an object; a field that no [`Value`] can hold is its JSON text.
fn object(line: &[u8]) -> Map<String, Value> {
    if let Ok(map) = serde_json::from_slice(line) {
        return map;
    }
    // A number out of range, or too deep a field, costs that field its value and not the frame its body.
    match value(&String::from_utf8_lossy(line)) {
        Ok(Value::Object(map)) => map,
        // No line comes here that is no object: `Frame::parse` has refused it.
        _ => Map::new(),
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, mut map) = match self {
            Self::User(body) => ("user", body.to_map()),
            Self::Assistant(body) => ("assistant", body.to_map()),
            Self::StreamEvent(body) => ("stream_event", body.to_map()),
            Self::Result(body) => ("result", body.to_map()),
            Self::System(body) => ("system", body.to_map()),
            Self::CommandLifecycle(body) => ("command_lifecycle", body.to_map()),
            Self::ControlRequest(body) => ("control_request", body.to_map()),
            Self::ControlResponse(body) => ("control_response", body.to_map()),
            Self::ControlCancelRequest(body) => ("control_cancel_request", body.to_map()),
            Self::ConversationReset(body) => ("conversation_reset", body.to_map()),
            Self::RateLimitEvent(body) => ("rate_limit_event", body.to_map()),
            Self::KeepAlive(body) => ("keep_alive", body.to_map()),
            Self::ToolProgress(body) => ("tool_progress", body.to_map()),
            Self::ToolUseSummary(body) => ("tool_use_summary", body.to_map()),
            Self::PromptSuggestion(body) => ("prompt_suggestion", body.to_map()),
            Self::AuthStatus(body) => ("auth_status", body.to_map()),
            Self::TranscriptMirror(body) => ("transcript_mirror", body.to_map()),
            Self::Other(map) => return map.serialize(serializer),
        };
        map.insert("type".to_owned(), kind.into());
        map.serialize(serializer)
    }
}

wire! {
    /// A message of the user's side: a tool result, an echo of our own prompt, synthetic context.
    pub struct UserMessage {
        /// The message.
        message: Message,
        /// The id of the frame; for an echo, that of the prompt.
        uuid: String,
        /// The conversation.
        session_id: SessionId,
        /// The tool call whose sub-agent it belongs to.
        parent_tool_use_id: String,
        /// Whether it is the echo of a prompt that the host sent.
        is_replay: bool = "isReplay",
        /// Whether the CLI made it up.
        is_synthetic: bool = "isSynthetic",
        /// The tool's own, typed output.
        tool_use_result: Value,
        /// Where it came from; absent for a prompt of the host.
        origin: Value,
    }
}

wire! {
    /// One content block of the model's answer; frames of one answer share `message.id`.
    pub struct AssistantFrame {
        /// The message, with this one block as its content.
        message: Message,
        /// The id of the frame.
        uuid: String,
        /// The conversation.
        session_id: SessionId,
        /// The tool call whose sub-agent speaks.
        parent_tool_use_id: String,
        /// The kind of API error, if the block is one.
        error: String,
        /// Frames that this one replaces.
        supersedes: Vec<String>,
        /// Whether it was cut off by an interrupt.
        aborted: bool,
        /// Whether the text is an error of the API and not the model's.
        is_api_error_message: bool,
        /// The HTTP status of that error.
        api_error_status: u16,
        /// The prompt that it answers.
        user_message_uuid: String,
        /// The prompts that it answers.
        user_message_uuids: Vec<String>,
        /// Why a turn runs that was not asked in this process.
        resume_reason: String,
    }
}

wire! {
    /// A raw event of the model's stream.
    pub struct StreamEvent {
        /// The event of the Messages API.
        event: Value,
        /// The id of the frame.
        uuid: String,
        /// The conversation.
        session_id: SessionId,
        /// The tool call whose sub-agent speaks.
        parent_tool_use_id: String,
        /// The time to the first token.
        ttft_ms: f64,
    }
}

wire! {
    /// The life of one prompt that carried a `uuid`.
    pub struct CommandLifecycle {
        /// The prompt.
        command_uuid: TurnId,
        /// Where it is.
        state: CommandState,
    }
}

words! {
    /// Where a prompt is.
    pub enum CommandState {
        /// It waits.
        Queued = "queued",
        /// It runs.
        Started = "started",
        /// It is done.
        Completed = "completed",
        /// It was cancelled or interrupted.
        Cancelled = "cancelled",
        /// It was dropped.
        Discarded = "discarded",
        /// It was refused.
        Refused = "refused",
    }
}

wire! {
    /// The CLI takes a request back: it must not be answered any more.
    pub struct ControlCancelRequest {
        /// The request.
        request_id: String,
    }
}

wire! {
    /// The conversation goes on under another session id.
    pub struct ConversationReset {
        /// The new id.
        new_conversation_id: SessionId,
        /// Why: `clear`, `plan_mode_exit`, `fresh_session` or `onboarding`.
        trigger: String,
        /// The prompt that did it.
        user_message_uuid: String,
    }
}

wire! {
    /// The usage limits of the account changed.
    pub struct RateLimitEvent {
        /// The limits.
        rate_limit_info: RateLimitInfo,
    }
}

wire! {
    /// A usage limit of the account.
    pub struct RateLimitInfo {
        /// `allowed`, `allowed_warning` or `rejected`.
        status: String,
        /// When the limit ends, in seconds since the epoch.
        resets_at: f64 = "resetsAt",
        /// Which limit it is.
        rate_limit_type: String = "rateLimitType",
        /// How much of it is used, from 0 to 1.
        utilization: f64,
    }
}

wire! {
    /// Nothing but a sign of life.
    pub struct KeepAlive {
        /// What the CLI had come to while it started.
        startup_mark: Value,
    }
}

wire! {
    /// A tool is still running.
    pub struct ToolProgress {
        /// The call.
        tool_use_id: String,
        /// The tool.
        tool_name: String,
        /// The call whose sub-agent made this one.
        parent_tool_use_id: String,
        /// How long it has run.
        elapsed_time_seconds: f64,
    }
}

wire! {
    /// A summary of finished tool calls.
    pub struct ToolUseSummary {
        /// The summary.
        summary: String,
        /// The calls.
        preceding_tool_use_ids: Vec<String>,
    }
}

wire! {
    /// What the user might ask next.
    pub struct PromptSuggestion {
        /// The prompt.
        suggestion: String,
    }
}

wire! {
    /// The state of a login.
    pub struct AuthStatus {
        /// Whether it goes on.
        is_authenticating: bool = "isAuthenticating",
        /// What it printed.
        output: Vec<String>,
        /// Why it failed.
        error: String,
    }
}

wire! {
    /// Lines that the CLI wrote to its transcript.
    pub struct TranscriptMirror {
        /// The transcript.
        file_path: String = "filePath",
        /// The entries.
        entries: Vec<Value>,
    }
}
