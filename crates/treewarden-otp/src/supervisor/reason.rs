//! Maps what ractor says about an actor's end to a typed reason. Nowhere else is a reason string looked at.
//!
//! | ractor | here |
//! |---|---|
//! | stopped without a reason, `"normal"`, `"Drained"` | `Normal` |
//! | stopped with `"shutdown"` | `Shutdown` |
//! | stopped with `"shutdown: …"` | `ShutdownWith` |
//! | `"killed"`, `"actor_task_cancelled"` | `Killed` |
//! | stopped with any other string | `Error` |
//! | a handler returned an error | that error; an [`ExitReason`] is unwrapped |
//! | a handler panicked | `Error` with ractor's text: it does not tell a panic from an error |

use std::error::Error;
use std::fmt;

use treewarden_otp_core::ExitReason;

/// The reason of an actor that was stopped, from ractor's `ActorTerminated`.
#[must_use]
pub fn exit_reason(text: Option<&str>) -> ExitReason {
    match text {
        None | Some("normal" | "Drained") => ExitReason::Normal,
        Some("shutdown") => ExitReason::Shutdown,
        // ractor has only these words for a kill and for a task that was aborted: a stop with the same word
        // looks the same.
        Some("killed" | "actor_task_cancelled") => ExitReason::Killed,
        Some(other) => match other.strip_prefix("shutdown: ") {
            Some(cause) => ExitReason::shutdown_with(StoppedWith(cause.to_owned())),
            None => ExitReason::error(StoppedWith(other.to_owned())),
        },
    }
}

/// What to call the reason when ractor is told to stop an actor for it.
pub(super) fn stop_text(reason: &ExitReason) -> Option<String> {
    match reason {
        ExitReason::Normal => None,
        // Each stop of a child says this.
        ExitReason::Shutdown => Some("shutdown".to_owned()),
        other => Some(other.to_string()),
    }
}

/// A reason that ractor carried as a string.
#[derive(Debug)]
struct StoppedWith(String);

impl fmt::Display for StoppedWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for StoppedWith {}

/// Says whether the error is only the text that ractor carried.
pub(super) fn is_text(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.is::<StoppedWith>()
}
