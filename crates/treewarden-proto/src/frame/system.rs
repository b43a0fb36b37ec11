//! The bodies of `system` frames.
//!
//! The subtypes that a host acts on are typed; the others are recognised by name and kept raw.

use serde_json::{Map, Value};

use super::SystemKind;
use crate::SessionId;
use crate::spec::PermissionMode;
use crate::wire::{Wire, wire, words};

/// Declares the enum of typed bodies, with reading and writing.
macro_rules! bodies {
    ($($(#[$doc:meta])* $kind:ident($body:ident),)*) => {
        /// The body of a `system` frame.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum SystemBody {
            $($(#[$doc])* $kind(Box<$body>),)*
            /// Any other subtype, as it came.
            Other(SystemKind, Map<String, Value>),
        }

        impl SystemBody {
            /// The subtype.
            pub const fn kind(&self) -> SystemKind {
                match self {
                    $(Self::$kind(_) => SystemKind::$kind,)*
                    Self::Other(kind, _) => *kind,
                }
            }

            pub(super) fn from_map(kind: SystemKind, mut map: Map<String, Value>) -> Self {
                match kind {
                    $(SystemKind::$kind => {
                        // Written again from the kind, below.
                        map.remove("subtype");
                        Self::$kind(Box::new(Wire::from_map(map)))
                    })*
                    // The subtype stays in the map: of an unknown one, only that has the text.
                    _ => Self::Other(kind, map),
                }
            }

            pub(super) fn to_map(&self) -> Map<String, Value> {
                let mut map = match self {
                    $(Self::$kind(body) => body.to_map(),)*
                    Self::Other(_, map) => map.clone(),
                };
                if let Some(name) = self.kind().name() {
                    map.insert("subtype".to_owned(), name.into());
                }
                map
            }
        }
    };
}

bodies! {
    /// The start of a turn.
    Init(Init),
    /// What the CLI is doing.
    Status(Status),
    /// The context was summarised.
    CompactBoundary(CompactBoundary),
    /// The API failed and is tried again.
    ApiRetry(ApiRetry),
    /// The session runs, waits or is idle.
    SessionStateChanged(SessionStateChanged),
    /// The transcript could not be written.
    SessionWritesLost(SessionWritesLost),
    /// Text for people.
    Informational(Informational),
    /// A notice for people.
    Notification(Notification),
    /// What a command of the CLI printed.
    LocalCommandOutput(LocalCommandOutput),
    /// A hook began.
    HookStarted(Hook),
    /// A hook printed something.
    HookProgress(Hook),
    /// A hook ended.
    HookResponse(Hook),
    /// A sub-agent or background task began.
    TaskStarted(Task),
    /// A task goes on.
    TaskProgress(Task),
    /// A task changed.
    TaskUpdated(Task),
    /// A task ended.
    TaskNotification(Task),
    /// All background tasks there are; it replaces what was known.
    BackgroundTasksChanged(BackgroundTasksChanged),
    /// The model is thinking.
    ThinkingTokens(ThinkingTokens),
    /// A tool call was refused without asking the host.
    PermissionDenied(PermissionDenied),
    /// Another model took over.
    ModelFallback(ModelFallback),
    /// A slow control request is still being worked on.
    ControlRequestProgress(ControlRequestProgress),
}

wire! {
    /// The start of a turn: what the session has to work with.
    pub struct Init {
        /// The CLI's version.
        claude_code_version: String,
        /// The working directory.
        cwd: String,
        /// The model.
        model: String,
        /// The tools.
        tools: Vec<String>,
        /// The MCP servers and their states.
        mcp_servers: Vec<McpServer>,
        /// The permission mode.
        permission_mode: PermissionMode = "permissionMode",
        /// Where the API key came from.
        api_key_source: String = "apiKeySource",
        /// The commands.
        slash_commands: Vec<String>,
        /// What this CLI can do beyond older ones; absent in old ones.
        capabilities: Vec<String>,
        /// The conversation.
        session_id: SessionId,
    }
}

impl Init {
    /// Whether the CLI says that it has a capability.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().flatten().any(|has| has == capability)
    }
}

wire! {
    /// An MCP server and its state.
    pub struct McpServer {
        /// Its name.
        name: String,
        /// Its state: `connected`, `failed`, `needs-auth`, `pending` or `disabled`.
        status: String,
    }
}

wire! {
    /// What the CLI is doing.
    pub struct Status {
        /// `compacting` or `requesting`; unset when neither.
        status: String,
        /// The permission mode, when it changed.
        permission_mode: PermissionMode = "permissionMode",
        /// How a compaction ended.
        compact_result: String,
        /// Why a compaction failed.
        compact_error: String,
    }
}

wire! {
    /// The context was summarised.
    pub struct CompactBoundary {
        /// How it came and how big the context was.
        compact_metadata: Value,
        /// The message before which the conversation goes on.
        logical_parent_uuid: String,
    }
}

wire! {
    /// The API failed and is tried again.
    pub struct ApiRetry {
        /// The attempt, from 1.
        attempt: u64,
        /// The most attempts.
        max_retries: u64,
        /// The time to the next attempt.
        retry_delay_ms: f64,
        /// The HTTP status; unset if there was no answer.
        error_status: u16,
        /// The kind of the error.
        error: String,
    }
}

wire! {
    /// The session runs, waits or is idle.
    pub struct SessionStateChanged {
        /// The new state.
        state: SessionState,
    }
}

words! {
    /// Whether a session has something to do.
    pub enum SessionState {
        /// Nothing is going on.
        Idle = "idle",
        /// A turn runs.
        Running = "running",
        /// A turn waits for the host.
        RequiresAction = "requires_action",
    }
}

wire! {
    /// The transcript could not be written, so that a resume can no longer be trusted.
    pub struct SessionWritesLost {
        /// The error's name.
        error_code: String,
        /// What was lost.
        lost: Vec<String>,
        /// The conversations concerned.
        transcript_session_ids: Vec<String>,
    }
}

wire! {
    /// Text for people.
    pub struct Informational {
        /// The text.
        content: String,
        /// How much it matters.
        level: String,
        /// The tool call that it is about.
        tool_use_id: String,
        /// What a hook made of a prompt.
        prompt_submit_outcome: PromptSubmitOutcome,
    }
}

impl Informational {
    /// Tells whether it says that a hook refused a prompt, which is in the conversation nowhere.
    pub fn is_refusal(&self) -> bool {
        // Only a clear `false`: where the CLI does not say, the prompt may be in the conversation, and is
        // looked for there.
        self.prompt_submit_outcome.as_ref().is_some_and(|outcome| outcome.prompt_kept == Some(false))
    }
}

wire! {
    /// What a `UserPromptSubmit` hook made of a prompt.
    pub struct PromptSubmitOutcome {
        /// `blocked_by_hook`, `stopped_by_hook` or `no_verdict`.
        kind: String,
        /// The prompt stands in the conversation all the same.
        prompt_kept: bool,
        /// What the hook said.
        reason: String,
    }
}

wire! {
    /// A notice for people.
    pub struct Notification {
        /// What it is about; a later one with the same key replaces it.
        key: String,
        /// The text.
        text: String,
        /// How much it matters.
        priority: String,
    }
}

wire! {
    /// What a command of the CLI printed.
    pub struct LocalCommandOutput {
        /// The text.
        content: String,
    }
}

wire! {
    /// The life of a hook that the CLI runs.
    pub struct Hook {
        /// The run's id.
        hook_id: String,
        /// The hook's name.
        hook_name: String,
        /// The event that it runs for.
        hook_event: String,
        /// All that it printed.
        output: String,
        /// What it printed to stdout.
        stdout: String,
        /// What it printed to stderr.
        stderr: String,
        /// Its exit code.
        exit_code: i64,
        /// How it ended: `success`, `error` or `cancelled`.
        outcome: String,
    }
}

wire! {
    /// The life of a sub-agent or a background task.
    pub struct Task {
        /// The task's id.
        task_id: String,
        /// The tool call that began it.
        tool_use_id: String,
        /// What kind of task it is.
        task_type: String,
        /// What it is about.
        description: String,
        /// The kind of sub-agent.
        subagent_type: String,
        /// How it ended: `completed`, `failed` or `stopped`.
        status: String,
        /// What changed.
        patch: Value,
        /// What it found.
        summary: String,
        /// Where its output is.
        output_file: String,
        /// What it took so far.
        usage: Value,
    }
}

wire! {
    /// All background tasks there are.
    pub struct BackgroundTasksChanged {
        /// The tasks.
        tasks: Vec<Task>,
    }
}

wire! {
    /// How much the model has thought.
    pub struct ThinkingTokens {
        /// Tokens so far.
        estimated_tokens: u64,
        /// Tokens since the last frame.
        estimated_tokens_delta: u64,
    }
}

wire! {
    /// A tool call was refused without asking the host.
    pub struct PermissionDenied {
        /// The tool.
        tool_name: String,
        /// The call's id.
        tool_use_id: String,
        /// Why, as the model is told.
        message: String,
        /// Why, for people.
        decision_reason: String,
        /// What kind of rule decided.
        decision_reason_type: String,
    }
}

wire! {
    /// Another model took over.
    pub struct ModelFallback {
        /// Why.
        trigger: String,
        /// The model that was asked.
        original_model: String,
        /// The model that answers.
        fallback_model: String,
        /// What to tell people.
        content: String,
    }
}

wire! {
    /// A slow control request is still being worked on, so that its deadline begins anew.
    pub struct ControlRequestProgress {
        /// The request.
        request_id: String,
        /// `started` or `api_retry`.
        status: String,
        /// The attempt.
        attempt: u64,
    }
}
