//! What the CLI says to a request of the host.

use serde_json::{Map, Value};

use super::ControlRequest;
use crate::wire::take;

/// The CLI's answer to one of our requests; or, echoed, our answer to one of its own.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ControlResponse {
    /// The request that it answers.
    pub request_id: String,
    /// The answer, null if there is nothing to say.
    pub outcome: Result<Value, ControlError>,
    /// Requests of the CLI that still wait for an answer of the host; a new host has to take them over.
    pub pending: Vec<ControlRequest>,
    envelope: Map<String, Value>,
}

/// A request that the CLI refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct ControlError {
    /// The CLI's text.
    pub message: String,
    /// The CLI's code, where it gives one.
    pub code: Option<String>,
}

impl ControlError {
    /// Whether this CLI does not know the request at all.
    pub fn is_unsupported(&self) -> bool {
        self.code.as_deref() == Some("unsupported_request")
            // 2.1.197 gives no code, and only this text.
            || self.message.starts_with("Unsupported control request subtype")
    }
}

impl ControlResponse {
    /// Reads the envelope; none if it does not say which request it answers.
    pub(crate) fn from_map(envelope: Map<String, Value>) -> Option<Self> {
        let mut response = envelope.get("response")?.as_object()?.clone();
        let request_id = take(&mut response, "request_id")?;
        let is_error = response.get("subtype").and_then(Value::as_str) == Some("error");
        let outcome = if is_error {
            let message = take(&mut response, "error").unwrap_or_else(|| "no reason given".to_owned());
            Err(ControlError { message, code: take(&mut response, "error_code") })
        } else {
            // Anything but `error` is a success, as the CLI has it; many requests are answered with no
            // payload at all.
            Ok(response.remove("response").unwrap_or_default())
        };
        // Only the answer to a repeated `initialize` has them. Hooks and MCP messages that wait are in none
        // of these lists (2.1.332).
        let lists =
            ["pending_permission_requests", "pending_user_dialog_requests", "pending_elicitation_requests"];
        let pending = lists
            .iter()
            .filter_map(|list| take::<Vec<Map<String, Value>>>(&mut response, list))
            .flatten()
            .filter_map(|mut request| {
                // They come as whole frames, and the type is not a field of the request.
                request.remove("type");
                ControlRequest::from_map(request)
            })
            .collect();
        Some(Self { request_id, outcome, pending, envelope })
    }

    pub(crate) fn to_map(&self) -> Map<String, Value> {
        self.envelope.clone()
    }
}
