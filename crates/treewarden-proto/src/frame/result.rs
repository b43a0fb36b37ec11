//! The end of a turn.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::content::Usage;
use super::json::Cursor;
use super::repair::repair;
use super::{Frame, FrameKind, ModelUsage};
use crate::wire::{wire, words};
use crate::{SessionId, TurnId};

wire! {
    /// The end of a turn; any line of type `result` is one, whatever else it holds.
    ///
    /// Success is not told by `subtype`: an API failure is `success` with `is_error` set.
    pub struct ResultFrame {
        /// The coarse outcome.
        subtype: ResultSubtype,
        /// Whether it failed; the CLI's exit code follows the last one.
        is_error: bool,
        /// The answer's text, or that of the error.
        result: String,
        /// What went wrong.
        errors: Vec<String>,
        /// Why the turn ended.
        terminal_reason: TerminalReason,
        /// Why the model stopped.
        stop_reason: String,
        /// The HTTP status that the API gave up with.
        api_error_status: u16,
        /// Why the CLI cannot start; never worth a restart.
        startup_failure_reason: String,
        /// The prompt that it answers.
        user_message_uuid: String,
        /// The prompts that it answers, where several ran as one turn.
        user_message_uuids: Vec<String>,
        /// Why a turn ran that was not asked in this process.
        resume_reason: String,
        /// Where the turn came from; absent for a prompt of the host.
        origin: Value,
        /// The count of results of this process, from 0; a gap is a lost result.
        result_index: u64,
        /// The model calls of the turn.
        num_turns: u64,
        /// The turn's time.
        duration_ms: f64,
        /// The time spent in the API.
        duration_api_ms: f64,
        /// The cost of the process so far, never to be summed; carried through a resume where the process before ended by itself,
        /// and 0 again behind a `/clear` (2.1.332).
        total_cost_usd: f64,
        /// The tokens of the turn, main conversation only, without a request that was cut off.
        usage: Usage,
        /// The tokens and cost by model, over the same time as `total_cost_usd`.
        model_usage: Value = "modelUsage",
        /// The tokens and cost by model since the last result; see [`spent`](Self::spent).
        model_usage_since_last_result: BTreeMap<String, ModelUsage>,
        /// The answer in the shape that was asked for.
        structured_output: Value,
        /// The tool calls that were refused.
        permission_denials: Vec<PermissionDenial>,
        /// The prompts that still wait.
        queued_turn_count: u64,
        /// The conversation.
        session_id: SessionId,
        /// The id of the frame.
        uuid: String,
    }
}

impl Frame {
    /// How the turn ended and what it took, if this is a `result`: of the fields only those that say so.
    ///
    /// A fraction of what [`body`](Self::body) costs, as most of a result is accounts.
    pub fn result(&self) -> Option<Box<ResultFrame>> {
        if self.kind() != FrameKind::Result {
            return None;
        }
        let mut result: Box<ResultFrame> = Box::default();
        let mut cursor = Cursor::new(self.raw())?;
        // Its outcome does not matter: the same reader has gone through this line when the frame was made.
        cursor.object(|cursor, key| {
            let span = cursor.value()?;
            let value = span.of(self.raw());
            match &*key.name(self.raw()) {
                b"subtype" => result.subtype = typed(value),
                b"is_error" => result.is_error = typed(value),
                b"result" => result.result = span.text(self.raw()).map(Into::into),
                b"errors" => result.errors = typed(value),
                b"terminal_reason" => result.terminal_reason = typed(value),
                b"api_error_status" => result.api_error_status = typed(value),
                b"model_usage_since_last_result" => result.model_usage_since_last_result = typed(value),
                b"startup_failure_reason" => result.startup_failure_reason = typed(value),
                _ => {}
            }
            Some(())
        });
        Some(result)
    }
}

impl Frame {
    /// The tool calls that were refused, if this is a `result`: of the fields only that one.
    pub fn denials(&self) -> Vec<PermissionDenial> {
        let mut denials = None;
        if self.kind() == FrameKind::Result
            && let Some(mut cursor) = Cursor::new(self.raw())
        {
            // Its outcome does not matter, as in `result`.
            cursor.object(|cursor, key| {
                let span = cursor.value()?;
                if &*key.name(self.raw()) == b"permission_denials" {
                    denials = typed(span.of(self.raw()));
                }
                Some(())
            });
        }
        denials.unwrap_or_default()
    }
}

/// Decodes a value; `None` if it is `null` or has not the expected shape.
fn typed<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    // Into an `Option`, so that `null` is nothing and no error.
    let decoded = serde_json::from_slice(json).or_else(|_| serde_json::from_slice(&repair(json)));
    decoded.ok().flatten()
}

impl ResultFrame {
    /// The prompts that it says it answers, merged; ids that are not UUIDs are left out.
    pub fn turns(&self) -> Vec<TurnId> {
        let mut turns: Vec<TurnId> = Vec::new();
        let many = self.user_message_uuids.iter().flatten();
        for id in self.user_message_uuid.iter().chain(many).filter_map(|id| id.parse().ok()) {
            // Both fields name a single prompt; counted twice it would look like two prompts that ran as one
            // turn.
            if !turns.contains(&id) {
                turns.push(id);
            }
        }
        turns
    }

    /// Whether the turn was ended by an interrupt.
    pub fn is_interrupted(&self) -> bool {
        // By the reason and not by `subtype`: an interrupted turn has the one of a failed turn,
        // `error_during_execution`.
        matches!(self.terminal_reason, Some(TerminalReason::AbortedStreaming | TerminalReason::AbortedTools))
    }

    /// Whether the turn failed; one that says nothing did not.
    pub fn is_error(&self) -> bool {
        // Asked of `is_error` alone: an API that refused is `success` by its subtype.
        self.is_error.unwrap_or(false)
    }
}

wire! {
    /// A tool call that was refused.
    pub struct PermissionDenial {
        /// The tool.
        tool_name: String,
        /// The call's id.
        tool_use_id: String,
        /// The call's arguments.
        tool_input: Value,
    }
}

words! {
    /// The coarse outcome of a turn.
    pub enum ResultSubtype {
        /// It ended by itself, if only in an API error.
        Success = "success",
        /// It was interrupted, or broke.
        ErrorDuringExecution = "error_during_execution",
        /// It took all the model calls that it may.
        ErrorMaxTurns = "error_max_turns",
        /// It spent all that it may.
        ErrorMaxBudgetUsd = "error_max_budget_usd",
        /// The answer never had the shape that was asked for.
        ErrorMaxStructuredOutputRetries = "error_max_structured_output_retries",
    }
}

words! {
    /// Why a turn ended.
    pub enum TerminalReason {
        /// It was done.
        Completed = "completed",
        /// It was interrupted while the model spoke.
        AbortedStreaming = "aborted_streaming",
        /// It was interrupted while a tool ran or waited.
        AbortedTools = "aborted_tools",
        /// The API failed for good.
        ApiError = "api_error",
        /// The model failed.
        ModelError = "model_error",
        /// The prompt does not fit.
        PromptTooLong = "prompt_too_long",
        /// An image could not be used.
        ImageError = "image_error",
        /// A limit of the account.
        BlockingLimit = "blocking_limit",
        /// The context filled up again and again.
        RapidRefillBreaker = "rapid_refill_breaker",
        /// Tool calls stayed malformed.
        MalformedToolUseExhausted = "malformed_tool_use_exhausted",
        /// A stop hook forbade the end.
        StopHookPrevented = "stop_hook_prevented",
        /// A hook ended it.
        HookStopped = "hook_stopped",
        /// A tool call was put off.
        ToolDeferred = "tool_deferred",
        /// A tool call that was put off cannot be made.
        ToolDeferredUnavailable = "tool_deferred_unavailable",
        /// The model calls ran out.
        MaxTurns = "max_turns",
        /// The budget ran out.
        BudgetExhausted = "budget_exhausted",
        /// The retries for the answer's shape ran out.
        StructuredOutputRetryExhausted = "structured_output_retry_exhausted",
        /// It went on in the background.
        BackgroundRequested = "background_requested",
        /// It could not begin.
        TurnSetupFailed = "turn_setup_failed",
    }
}
