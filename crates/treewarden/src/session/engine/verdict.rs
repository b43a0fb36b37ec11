//! Makes the outcome of a turn out of the machine's verdict and the frame or entry that it was reached by.

use treewarden_core::session::{Found, PermanentKind, Verdict};
use treewarden_proto::frame::{Body, Frame, ResultFrame, ResultSubtype, SystemBody};
use treewarden_proto::{SessionId, TurnId};
use treewarden_transcript::DiskAnswer;

use crate::session::outcome::{Answer, Failure, FailureKind, Outcome};

/// What an outcome is made of.
pub(super) struct Matter<'a> {
    pub(super) turn: TurnId,
    pub(super) session_id: SessionId,
    pub(super) interruptions: u32,
    /// The result frame that is being handled, and what it says.
    pub(super) result: Option<&'a (Frame, Box<ResultFrame>)>,
    /// The notice that is being handled, by which a hook refused a prompt.
    pub(super) refusal: Option<&'a Frame>,
    /// What the transcript held.
    pub(super) on_disk: Option<&'a DiskAnswer>,
}

pub(super) fn outcome(verdict: Verdict, matter: &Matter<'_>) -> Outcome {
    let failed = |kind, message: &str| {
        let result = matter.result.map(|(frame, _)| frame.unshared());
        Outcome::Failed(Failure { kind, message: message.to_owned(), result })
    };
    match verdict {
        Verdict::Result => of_result(matter),
        Verdict::Transcript => of_transcript(matter),
        Verdict::Refused => of_refusal(matter),
        Verdict::Interrupted => Outcome::Interrupted,
        Verdict::Cancelled => Outcome::Cancelled,
        Verdict::TimedOut => failed(FailureKind::TimedOut, "the turn ran out of its time (`timeout`)"),
        Verdict::Crashed => failed(
            FailureKind::Crashed,
            "the CLI died under the turn, which may have run, and it is not to be tried again",
        ),
        Verdict::Overtaken => failed(
            FailureKind::Overtaken,
            "another writer went on with the conversation behind its prompt; it was not answered, and is not run again",
        ),
        Verdict::CredentialsRefused => failed(
            FailureKind::Credentials,
            "the model API refused the credentials (401); check ANTHROPIC_API_KEY or log in with the CLI",
        ),
        Verdict::NotStarted(permanent) => {
            let kind = match permanent.kind {
                PermanentKind::ConversationLost => FailureKind::ConversationLost,
                PermanentKind::Credentials => FailureKind::Credentials,
                PermanentKind::NoPlace => FailureKind::NoPlace,
                _ => FailureKind::NotStarted,
            };
            failed(kind, &permanent.message)
        }
        other => failed(FailureKind::Execution, &format!("{other:?}")),
    }
}

fn of_transcript(matter: &Matter<'_>) -> Outcome {
    let text = matter.on_disk.map(|answer| answer.text.clone()).unwrap_or_default();
    Outcome::Completed(answer(matter, text, None))
}

/// The notice has the words that a result would have. It is kept in the place of one: it says that the CLI did not ask the
/// model, so that nobody looks for the turn in the transcript.
fn of_refusal(matter: &Matter<'_>) -> Outcome {
    let text = matter.refusal.and_then(|frame| match frame.body() {
        Ok(Body::System(SystemBody::Informational(notice))) => notice.content,
        _ => None,
    });
    let frame = matter.refusal.map(Frame::unshared);
    Outcome::Completed(answer(matter, text.unwrap_or_default(), frame))
}

fn answer(matter: &Matter<'_>, text: String, result: Option<Frame>) -> Answer {
    Answer {
        turn: matter.turn,
        session_id: matter.session_id,
        text,
        interruptions: matter.interruptions,
        result,
    }
}

fn of_result(matter: &Matter<'_>) -> Outcome {
    let Some((frame, result)) = matter.result else {
        return Outcome::Failed(Failure {
            kind: FailureKind::Execution,
            message: "the CLI ended the turn with a result frame that cannot be read".to_owned(),
            result: None,
        });
    };
    // Callers keep answers, and not all that was read with them.
    let frame = Some(frame.unshared());
    let succeeded = matches!(result.subtype, None | Some(ResultSubtype::Success));
    if result.is_error() || !succeeded {
        Outcome::Failed(Failure { kind: failure_kind(result), message: message(result), result: frame })
    } else {
        let text = result.result.clone().unwrap_or_default();
        Outcome::Completed(answer(matter, text, frame))
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
        (None, Some(ResultSubtype::Success)) => FailureKind::Api,
        (None, _) => FailureKind::Execution,
    }
}

pub(super) fn found(answer: Option<&DiskAnswer>) -> Found {
    match answer {
        Some(answer) if answer.interrupted => Found::Interruption,
        Some(answer) if answer.complete => Found::Answer,
        Some(answer) if answer.overtaken => Found::Overtaken,
        _ => Found::Nothing,
    }
}
