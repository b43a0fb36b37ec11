//! The names of frame types and of `system` subtypes.
//!
//! A name that is not listed is `Unknown`; the frame keeps its text.

macro_rules! names {
    ($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        $vis enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A name that this version does not know; the frame keeps its text.
            Unknown,
        }

        impl $name {
            /// Every name that is known, in the order of the declaration.
            pub const KNOWN: &[Self] = &[$(Self::$variant,)*];

            /// Finds the variant of a name on the wire.
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($text => Self::$variant,)*
                    _ => Self::Unknown,
                }
            }

            /// The name on the wire; none for [`Unknown`](Self::Unknown).
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some($text),)*
                    Self::Unknown => None,
                }
            }
        }
    };
}

/// What kind of frame a line is, from its `type` and, for `system`, its `subtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameKind {
    /// A message of the user's side: a tool result, an echo of our own prompt, synthetic context.
    User,
    /// One content block of the model's answer.
    Assistant,
    /// A raw event of the model's stream, with partial messages on.
    StreamEvent,
    /// The end of a turn.
    Result,
    /// Anything about the session itself.
    System(SystemKind),
    /// The life of one prompt that carried a `uuid`.
    CommandLifecycle,
    /// The CLI asks us something.
    ControlRequest,
    /// The CLI answers a request of ours, or echoes our answer.
    ControlResponse,
    /// The CLI takes a request back.
    ControlCancelRequest,
    /// The conversation goes on under another session id.
    ConversationReset,
    /// The usage limits of the account changed.
    RateLimitEvent,
    /// Nothing but a sign of life.
    KeepAlive,
    /// A tool is still running.
    ToolProgress,
    /// A summary of finished tool calls.
    ToolUseSummary,
    /// What the user might ask next.
    PromptSuggestion,
    /// The state of a login.
    AuthStatus,
    /// Lines that the CLI wrote to its transcript.
    TranscriptMirror,
    /// A frame type of the CLI's own front ends, known by name and kept raw.
    Internal(InternalKind),
    /// A type that this version does not know.
    Unknown,
}

impl FrameKind {
    /// Finds the kind of a `type` and `subtype` on the wire.
    pub fn from_names(kind: &str, subtype: Option<&str>) -> Self {
        match kind {
            "user" => Self::User,
            "assistant" => Self::Assistant,
            "stream_event" => Self::StreamEvent,
            "result" => Self::Result,
            // A `system` frame without a subtype is an unknown one of that type, and not of an unknown type.
            "system" => Self::System(subtype.map_or(SystemKind::Unknown, SystemKind::from_name)),
            "command_lifecycle" => Self::CommandLifecycle,
            "control_request" => Self::ControlRequest,
            "control_response" => Self::ControlResponse,
            "control_cancel_request" => Self::ControlCancelRequest,
            "conversation_reset" => Self::ConversationReset,
            "rate_limit_event" => Self::RateLimitEvent,
            "keep_alive" => Self::KeepAlive,
            "tool_progress" => Self::ToolProgress,
            "tool_use_summary" => Self::ToolUseSummary,
            "prompt_suggestion" => Self::PromptSuggestion,
            "auth_status" => Self::AuthStatus,
            "transcript_mirror" => Self::TranscriptMirror,
            // Listed so that a frame of the CLI's own front ends is not counted as one of a newer CLI.
            other => match InternalKind::from_name(other) {
                InternalKind::Unknown => Self::Unknown,
                internal => Self::Internal(internal),
            },
        }
    }

    /// Whether the type, or the subtype of a `system` frame, is unknown.
    pub const fn is_unknown(self) -> bool {
        matches!(self, Self::Unknown | Self::System(SystemKind::Unknown))
    }

    /// Whether the frame belongs to the control protocol, so that it must not wait behind content.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::ControlRequest | Self::ControlResponse | Self::ControlCancelRequest)
    }
}

names! {
    /// A frame type that the CLI has for its own front ends; it is recognised and kept raw.
    #[expect(missing_docs, reason = "the wire names say all that is known")]
    pub enum InternalKind {
        AutocompactState = "autocompact_state",
        ActiveGoal = "active_goal",
        Tombstone = "tombstone",
        Attachment = "attachment",
        ApiMetrics = "api_metrics",
        StreamMode = "stream_mode",
        CompactProgress = "compact_progress",
        OsNotification = "os_notification",
        SetExpandedView = "set_expanded_view",
        SetInProgressToolUseIds = "set_in_progress_tool_use_ids",
        HintClears = "hint_clears",
        OpenMessageSelector = "open_message_selector",
        ApplyFlagSettings = "apply_flag_settings",
    }
}

names! {
    /// The `subtype` of a `system` frame.
    #[expect(missing_docs, reason = "the wire names say all that is known")]
    pub enum SystemKind {
        Init = "init",
        Status = "status",
        CompactBoundary = "compact_boundary",
        ApiRetry = "api_retry",
        SessionStateChanged = "session_state_changed",
        SessionTitleChanged = "session_title_changed",
        SessionWritesLost = "session_writes_lost",
        Informational = "informational",
        Notification = "notification",
        LocalCommandOutput = "local_command_output",
        HookStarted = "hook_started",
        HookProgress = "hook_progress",
        HookResponse = "hook_response",
        StopHookSummary = "stop_hook_summary",
        TaskStarted = "task_started",
        TaskProgress = "task_progress",
        TaskUpdated = "task_updated",
        TaskNotification = "task_notification",
        BackgroundTasksChanged = "background_tasks_changed",
        ThinkingTokens = "thinking_tokens",
        PermissionDenied = "permission_denied",
        PermissionCheckStatus = "permission_check_status",
        ModelFallback = "model_fallback",
        ModelRefusalFallback = "model_refusal_fallback",
        ModelRefusalNoFallback = "model_refusal_no_fallback",
        ModelConsentFallback = "model_consent_fallback",
        MemoryRecall = "memory_recall",
        MemorySaved = "memory_saved",
        FilesPersisted = "files_persisted",
        FileAttachmentsMissing = "file_attachments_missing",
        PluginInstall = "plugin_install",
        CommandsChanged = "commands_changed",
        ElicitationComplete = "elicitation_complete",
        ControlRequestProgress = "control_request_progress",
        TurnPreempted = "turn_preempted",
        PerTurnEffortChanged = "per_turn_effort_changed",
        TaskListStatuses = "task_list_statuses",
        CodeChangePublished = "code_change_published",
        VcsStateChanged = "vcs_state_changed",
        ShellCwd = "shell_cwd",
        DevIntent = "dev_intent",
        InstructionSizeWarning = "instruction_size_warning",
        ScheduledTaskFire = "scheduled_task_fire",
        PeerMessageHold = "peer_message_hold",
        InheritedAsksSettled = "inherited_asks_settled",
        LateAllowNotRun = "late_allow_not_run",
        WorkerShuttingDown = "worker_shutting_down",
        MirrorError = "mirror_error",
        PostTurnSummary = "post_turn_summary",
        TaskSummary = "task_summary",
        SessionMetadata = "session_metadata",
        FeedbackDraftQueued = "feedback_draft_queued",
        TurnHandoffAvailable = "turn_handoff_available",
        CloudSessionDelta = "cloud_session_delta",
        ApiError = "api_error",
        TurnDuration = "turn_duration",
        AwaySummary = "away_summary",
        AgentsKilled = "agents_killed",
        PermissionRetry = "permission_retry",
        FileSnapshot = "file_snapshot",
        Thinking = "thinking",
    }
}
