//! Settles a turn: makes its outcome of the machine's verdict and of the evidence that the verdict carries, stores it, and
//! delivers it.
//!
//! Whether a turn is settled, and as what, is the machine's to say. Nothing here may look at what the engine happens to be
//! handling: an outcome is made of what its verdict carries and of nothing else, or it could be another turn's.

use treewarden_core::session::{PermanentKind, Verdict};
use treewarden_proto::frame::{Body, Frame, ResultFrame, ResultSubtype, SystemBody};
use treewarden_proto::{SessionId, TurnId};
use treewarden_transcript::DiskAnswer;

use super::Engine;
use crate::session::desk::Shown;
use crate::session::outcome::{Answer, Failure, FailureKind, Outcome};

/// What an outcome is made of: it comes with an event, and comes back with the verdict that the machine reaches by that.
#[derive(Debug)]
pub(super) enum Evidence {
    /// A result frame, and what it says.
    Result(Frame, Box<ResultFrame>),
    /// The notice by which a hook refused a prompt.
    Notice(Frame),
    /// The answer that the transcript holds.
    OnDisk(DiskAnswer),
}

/// Whose outcome it is.
#[derive(Debug, Clone, Copy)]
struct Whose {
    turn: TurnId,
    session_id: SessionId,
    interruptions: u32,
}

impl Engine {
    /// Stores the outcome, then delivers it.
    pub(super) fn settle(&mut self, turn: TurnId, verdict: Verdict<Evidence>) {
        // A turn that this host found open in the journal may be under way where the conversation is held. Of
        // two outcomes the first stands, and one from here would be it.
        if let Verdict::NotStarted(permanent) = &verdict
            && permanent.kind == PermanentKind::Held
            && self.desk.leave(turn, &permanent.message)
        {
            return;
        }
        let (session_id, interruptions) = (self.desk.session_id(), self.desk.interruptions(turn));
        let outcome = outcome(verdict, Whose { turn, session_id, interruptions });
        self.desk.note(Shown::Attributed(self.machine.attributes_by_id()));
        self.desk.settle(turn, outcome);
    }
}

fn outcome(verdict: Verdict<Evidence>, whose: Whose) -> Outcome {
    match verdict {
        Verdict::Result(by) | Verdict::Transcript(by) | Verdict::Refused(by) => by.outcome(whose),
        Verdict::Interrupted => Outcome::Interrupted,
        Verdict::Cancelled => Outcome::Cancelled,
        Verdict::TimedOut(by) => {
            failed(FailureKind::TimedOut, "the turn ran out of its time (`timeout`)", by)
        }
        Verdict::Crashed => failed(
            FailureKind::Crashed,
            "the CLI died under the turn, which may have run, and it is not to be tried again",
            None,
        ),
        Verdict::Overtaken => failed(
            FailureKind::Overtaken,
            "another writer went on with the conversation behind its prompt; it was not answered, and is not run again",
            None,
        ),
        Verdict::CredentialsRefused(by) => failed(
            FailureKind::Credentials,
            "the model API refused the credentials (401); check ANTHROPIC_API_KEY or log in with the CLI",
            by,
        ),
        Verdict::NotStarted(permanent) => {
            let kind = match permanent.kind {
                PermanentKind::ConversationLost => FailureKind::ConversationLost,
                PermanentKind::Credentials => FailureKind::Credentials,
                PermanentKind::NoPlace => FailureKind::NoPlace,
                _ => FailureKind::NotStarted,
            };
            failed(kind, &permanent.message, None)
        }
        // `Verdict` may get kinds that this file does not know yet: the turn ends with what they are called.
        other => failed(FailureKind::Execution, &format!("{other:?}"), None),
    }
}

/// A failure, with the result that the turn was cut short by.
fn failed(kind: FailureKind, message: &str, by: Option<Evidence>) -> Outcome {
    let result = match by {
        Some(Evidence::Result(frame, _)) => Some(frame.unshared()),
        _ => None,
    };
    Outcome::Failed(Failure { kind, message: message.to_owned(), result })
}

impl Evidence {
    fn outcome(self, whose: Whose) -> Outcome {
        match self {
            Self::Result(frame, says) => of_result(&frame, &says, whose),
            Self::Notice(frame) => of_refusal(&frame, whose),
            Self::OnDisk(answer) => whose.completed(answer.text, None),
        }
    }
}

impl Whose {
    fn completed(self, text: String, result: Option<Frame>) -> Outcome {
        let Self { turn, session_id, interruptions } = self;
        Outcome::Completed(Answer { turn, session_id, text, interruptions, result })
    }
}

/// The notice has the words that a result would have. It is kept in the place of one: it says that the CLI did not ask the
/// model, so that nobody looks for the turn in the transcript.
fn of_refusal(notice: &Frame, whose: Whose) -> Outcome {
    let text = match notice.body() {
        Ok(Body::System(SystemBody::Informational(notice))) => notice.content,
        _ => None,
    };
    whose.completed(text.unwrap_or_default(), Some(notice.unshared()))
}

fn of_result(frame: &Frame, result: &ResultFrame, whose: Whose) -> Outcome {
    // The frame is copied out: callers keep answers, and would keep all that was read together with them.
    let frame = Some(frame.unshared());
    let succeeded = matches!(result.subtype, None | Some(ResultSubtype::Success));
    if result.is_error() || !succeeded {
        Outcome::Failed(Failure { kind: failure_kind(result), message: message(result), result: frame })
    } else {
        whose.completed(result.result.clone().unwrap_or_default(), frame)
    }
}

fn message(result: &ResultFrame) -> String {
    let text = result.result.as_deref().unwrap_or_default();
    if !text.is_empty() {
        return text.to_owned();
    }
    let errors = result.errors.as_deref().unwrap_or_default().join("; ");
    let subtype = result.subtype.as_ref().map_or("an error", ResultSubtype::as_str);
    if errors.is_empty() { format!("the turn ended with {subtype}") } else { errors }
}

fn failure_kind(result: &ResultFrame) -> FailureKind {
    match (result.api_error_status, &result.subtype) {
        (Some(401 | 403), _) => FailureKind::Credentials,
        (Some(429), _) => FailureKind::UsageLimit,
        (Some(_), _) => FailureKind::Api,
        (
            None,
            Some(
                ResultSubtype::ErrorMaxTurns
                | ResultSubtype::ErrorMaxBudgetUsd
                | ResultSubtype::ErrorMaxStructuredOutputRetries,
            ),
        ) => FailureKind::Limit,
        // A model API that fails says so in a result of `success` that is an error, and not always with a
        // status.
        (None, Some(ResultSubtype::Success)) => FailureKind::Api,
        (None, _) => FailureKind::Execution,
    }
}
