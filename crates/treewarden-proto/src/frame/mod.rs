//! One line of the CLI's stdout: what it is at a glance, and its typed body on demand.
//!
//! [`Frame::parse`] reads a line once and remembers where the few fields stand that decide where a frame goes;
//! it copies nothing and allocates nothing. [`Frame::body`] decodes the rest when somebody wants it.
//!
//! It promises that no JSON object is refused: unknown types, subtypes, blocks and fields, and known fields of an
//! unexpected shape, are kept as they came. Key order means nothing, and keys are never rewritten.
//! It does not split a byte stream into lines, and it does not count what it did not know.

mod body;
mod content;
mod head;
mod json;
mod kind;
mod repair;
mod result;
mod scan;
mod spent;
mod system;
mod turn_ids;

pub use body::{
    AssistantFrame, AuthStatus, Body, BodyError, CommandLifecycle, CommandState, ControlCancelRequest,
    ConversationReset, KeepAlive, PromptSuggestion, RateLimitEvent, RateLimitInfo, StreamEvent, ToolProgress,
    ToolUseSummary, TranscriptMirror, UserMessage,
};
pub use content::{
    Block, Content, MediaBlock, Message, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock, Usage,
};
pub use head::{Frame, NotAFrame};
pub use kind::{FrameKind, InternalKind, SystemKind};
pub use repair::{repair, value};
pub use result::{PermissionDenial, ResultFrame, ResultSubtype, TerminalReason};
pub use spent::{ModelUsage, Spent, TokenUsage};
pub use system::{
    ApiRetry, BackgroundTasksChanged, CompactBoundary, ControlRequestProgress, Hook, Informational, Init,
    LocalCommandOutput, McpServer, ModelFallback, Notification, PermissionDenied, PromptSubmitOutcome,
    SessionState, SessionStateChanged, SessionWritesLost, Status, SystemBody, Task, ThinkingTokens,
};
pub use turn_ids::TurnIds;
