//! What the CLI asks of the host, and the answers: whatever nobody decides is denied.

use serde_json::json;
use treewarden_proto::control::{Answer, CliRequest, HookCallback, PermissionAnswer};
use treewarden_proto::frame::{Body, Frame};

use super::Engine;

const NOBODY: &str = "denied: no handler of this session decides about it";

impl Engine {
    /// Answers a control request at once, whatever the consumer of the turn does.
    pub(super) fn answer(&mut self, frame: &Frame) {
        let Ok(Body::ControlRequest(request)) = frame.body() else {
            tracing::warn!(session = %self.desk.name, "the CLI asked something that cannot be answered: no id");
            return;
        };
        // Whoever reads the turn may be slow, and the CLI waits for a permission without a deadline (2.1.332:
        // 420 s and still waiting): so the answer goes out here.
        let answer = match &request.request {
            CliRequest::CanUseTool(_) => PermissionAnswer::deny(NOBODY).into(),
            CliRequest::HookCallback(hook) => deny_hook(hook),
            CliRequest::Elicitation(_) => Answer::decline_elicitation(),
            CliRequest::RequestUserDialog(_) => Answer::cancel_dialog(),
            // An error, and not silence: a CLI that waits for an answer that never comes is ended by no
            // deadline of its own.
            other => Answer::Error(format!("unsupported request {:?}", other.subtype())),
        };
        self.write(answer.encode(&request.request_id));
    }
}

/// A hook that nobody registered is answered with a refusal: an error would let the tool run.
fn deny_hook(hook: &HookCallback) -> Answer {
    // The CLI takes an error, or an object without a decision, for an empty answer, and goes on with the
    // call.
    let mut output = json!({ "decision": "block", "reason": NOBODY });
    if hook.event() == Some("PreToolUse") {
        output["hookSpecificOutput"] = json!({
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": NOBODY,
        });
    }
    Answer::hook(output)
}
