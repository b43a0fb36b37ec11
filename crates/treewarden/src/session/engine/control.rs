//! Control requests of ours, and what their answers mean.

use serde_json::Value;
use treewarden_proto::control::{ControlError, ControlResponse, HostRequest};
use treewarden_proto::frame::{Body, Frame};

use super::cli::How;
use super::{Engine, Event};
use crate::session::desk::Shown;

/// What a request was sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Initialize,
    Probe,
    Version,
    Other,
}

/// The requests that wait for an answer, and the next id.
#[derive(Debug, Default)]
pub(super) struct Pending {
    next: u64,
    initialize: Option<u64>,
    probe: Option<u64>,
    version: Option<u64>,
}

impl Pending {
    pub(super) fn add(&mut self, purpose: Purpose) -> String {
        self.next += 1;
        match purpose {
            Purpose::Initialize => self.initialize = Some(self.next),
            Purpose::Probe => self.probe = Some(self.next),
            Purpose::Version => self.version = Some(self.next),
            Purpose::Other => {}
        }
        format!("tw-{}", self.next)
    }

    fn take(&mut self, id: &str) -> Option<Purpose> {
        // Whatever has no id of this form was asked by nobody here; the caller ignores it.
        let number: u64 = id.strip_prefix("tw-")?.parse().ok()?;
        if self.initialize == Some(number) {
            self.initialize = None;
            Some(Purpose::Initialize)
        } else if self.probe == Some(number) {
            self.probe = None;
            Some(Purpose::Probe)
        } else if self.version == Some(number) {
            self.version = None;
            Some(Purpose::Version)
        // Interrupts, and changes of model and mode. Nothing follows from their answers, so that they need no
        // entry, and a CLI that never answers them leaves none behind.
        } else {
            Some(Purpose::Other)
        }
    }
}

impl Engine {
    pub(super) fn request(&mut self, purpose: Purpose, request: HostRequest) {
        let id = self.pending.add(purpose);
        let line = request.encode(&id);
        self.write(line);
    }

    pub(super) fn control_response(&mut self, frame: &Frame) {
        let Ok(Body::ControlResponse(response)) = frame.body() else { return };
        match self.pending.take(&response.request_id) {
            Some(Purpose::Initialize) => self.initialized(&response),
            Some(Purpose::Probe) => self.handle(Event::ProbeAnswered),
            Some(Purpose::Version) => self.version_answered(&response),
            Some(Purpose::Other) => {
                if let Err(error) = &response.outcome {
                    tracing::warn!(session = %self.desk.name, %error, "the CLI refused a control request");
                }
            }
            // The echo of an answer of ours, or an answer to somebody else.
            None => {}
        }
    }

    fn initialized(&mut self, response: &ControlResponse) {
        let answer = match &response.outcome {
            Ok(answer) => answer,
            Err(error) => return self.refused_to_initialize(error),
        };
        let capabilities = answer.get("capabilities").and_then(Value::as_array);
        // A CLI that does not name it counts as one whose results are taken by position. 2.1.330 and 2.1.332
        // name it in `init` and not in this answer; the machine takes the first `command_lifecycle` for it.
        let lifecycle = capabilities.is_some_and(|all| all.iter().any(|name| name == "msg_lifecycle_v1"));
        // Before the first turn is sent: by its version it is known whether it takes a prompt as it is. 2.1.330 and 2.1.332
        // say it here, 2.1.197 and 2.1.248 do not.
        if let Some(version) = answer.get("claude_code_version").and_then(Value::as_str) {
            self.note_version(version.to_owned());
        }
        // The session is up: what kept it from coming up must not stand in its status any longer.
        self.desk.note(Shown::Trouble(None));
        if let Some(cli) = &mut self.cli {
            cli.started = true;
            if let Some(path) = &cli.path {
                self.desk.host.inner.binaries.came_up(path);
            }
            if cli.on_trial.take().is_some() {
                self.desk.note(Shown::AwaitsInitialize(true));
            }
        }
        self.handle(Event::Initialized { lifecycle });
    }

    /// Ends a CLI that did not take the session's settings: its turns would run without the session's system prompt.
    fn refused_to_initialize(&mut self, error: &ControlError) {
        if let Some(cli) = &mut self.cli {
            cli.initialize_refused = Some(format!("it refused `initialize`: {error}"));
        }
        // At once: a resumed CLI may carry a turn on by itself, and each word of that would be without the settings, too.
        self.begin_closing(How::Kill);
    }
}
