//! What a settlement and its evidence come to for whoever waits for the turn.
//!
//! Whether a turn is settled, and as what, is the machine's to say. An outcome is made of what its settlement carries and of
//! nothing else: it must never be made of what somebody happens to handle at the time, or it could be another turn's.

use treewarden_proto::frame::{Body, Frame, ResultFrame, ResultSubtype, Spent, SystemBody, TerminalReason};
use treewarden_proto::{SessionId, TurnId};

use super::event::Settlement;
use super::exit_class::{Permanent, PermanentKind};
use super::outcome::{Answer, Failure, FailureKind, Outcome};
use super::start_failure::NO_LOGIN;

/// What an outcome is made of: it comes with an event, and comes back with the settlement that the machine reaches by that.
#[derive(Debug)]
pub enum Evidence {
    /// A result frame, and what it says.
    Result(Frame, Box<ResultFrame>),
    /// The notice by which a hook refused a prompt.
    Notice(Frame),
    /// The text of the answer that the transcript holds.
    OnDisk(String),
}

/// Whose outcome it is.
#[derive(Debug, Clone, Copy)]
pub struct Whose {
    /// The turn.
    pub turn: TurnId,
    /// The conversation that its answer stands in.
    pub session_id: SessionId,
    /// How many CLIs died while they worked at it.
    pub interruptions: u32,
    /// What its results before this one took, those behind which the CLI was asked to go on; `None` if one did not say.
    pub earlier: Option<Spent>,
}

impl Settlement<Evidence> {
    /// What a turn comes to for whoever waits for it.
    pub fn into_outcome(self, whose: Whose) -> Outcome {
        match self {
            Self::Result(by) | Self::Transcript(by) | Self::Refused(by) => by.outcome(whose),
            Self::Interrupted => Outcome::Interrupted,
            Self::Cancelled => Outcome::Cancelled,
            Self::TimedOut(by) => {
                failed(FailureKind::TimedOut, "the turn ran out of its time (`timeout`)", by)
            }
            Self::Crashed => failed(
                FailureKind::Crashed,
                "the CLI died under the turn, which may have run, and it is not to be tried again",
                None,
            ),
            Self::Overtaken => failed(
                FailureKind::Overtaken,
                "another writer went on with the conversation behind its prompt; it was not answered, and is not run again",
                None,
            ),
            Self::CredentialsRefused(by) => failed(
                FailureKind::Credentials,
                "the model API refused the credentials (401); check ANTHROPIC_API_KEY or log in with the CLI",
                by,
            ),
            Self::HeldUp => failed(
                FailureKind::NotStarted,
                "what had to be stored before the turn could not be stored in its time, and so it was not sent",
                None,
            ),
            Self::Limited => failed(
                FailureKind::UsageLimit,
                "the usage limit of the account is reached, and the turn was not sent into it",
                None,
            ),
            Self::NotInTime(why) => {
                let text = format!("the turn ran out of its time (`timeout`) while no CLI was up: {why}");
                failed(FailureKind::TimedOut, &text, None)
            }
            Self::NotStarted(why) => failed(kind(&why, FailureKind::NotStarted), &why.message, None),
            Self::LeftOff(why) => {
                let text = format!(
                    "the turn was sent to a CLI that died, so that it may have run, and no other came up: {}",
                    why.message
                );
                failed(kind(&why, FailureKind::Crashed), &text, None)
            }
        }
    }
}

/// What a reason for which a session cannot start is to its turns: the one given, unless there is a word of its own for it.
fn kind(permanent: &Permanent, otherwise: FailureKind) -> FailureKind {
    match permanent.kind {
        PermanentKind::ConversationLost => FailureKind::ConversationLost,
        PermanentKind::Credentials => FailureKind::Credentials,
        PermanentKind::NoPlace => FailureKind::NoPlace,
        _ => otherwise,
    }
}

/// A failure, with the result that the turn was cut short by.
fn failed(kind: FailureKind, message: &str, by: Option<Evidence>) -> Outcome {
    let result = match by {
        Some(Evidence::Result(frame, _)) => Some(Box::new(frame.unshared())),
        _ => None,
    };
    Outcome::Failed(Failure { kind, message: message.to_owned(), result })
}

impl Evidence {
    fn outcome(self, whose: Whose) -> Outcome {
        match self {
            Self::Result(frame, says) => of_result(&frame, &says, whose),
            Self::Notice(frame) => of_refusal(&frame, whose),
            // Who read it there has no result that would say what it took.
            Self::OnDisk(text) => whose.completed(text, None, None),
        }
    }
}

impl Whose {
    fn completed(self, text: String, result: Option<Box<Frame>>, spent: Option<Spent>) -> Outcome {
        let Self { turn, session_id, interruptions, .. } = self;
        Outcome::Completed(Answer { turn, session_id, text, interruptions, stored: true, result, spent })
    }

    /// What the turn took that ended with this result.
    ///
    /// A CLI that dies takes with it what it had spent since its last result, and nothing tells that later.
    fn spent(self, result: &ResultFrame) -> Option<Spent> {
        let known = self.interruptions == 0;
        known.then(|| result.spent()).flatten().zip(self.earlier).map(|(last, earlier)| earlier + last)
    }
}

/// The notice has the words that a result would have. It is kept in the place of one: it says that the CLI did not ask the
/// model, so that nobody looks for the turn in the transcript.
fn of_refusal(notice: &Frame, whose: Whose) -> Outcome {
    let text = match notice.body() {
        Ok(Body::System(SystemBody::Informational(notice))) => notice.content,
        _ => None,
    };
    whose.completed(text.unwrap_or_default(), Some(Box::new(notice.unshared())), None)
}

fn of_result(frame: &Frame, result: &ResultFrame, whose: Whose) -> Outcome {
    // The frame is copied out: callers keep answers, and would keep all that was read together with them.
    let frame = Some(Box::new(frame.unshared()));
    let succeeded = matches!(result.subtype, None | Some(ResultSubtype::Success));
    if result.is_error() || !succeeded {
        Outcome::Failed(Failure { kind: failure_kind(result), message: message(result), result: frame })
    } else {
        whose.completed(result.result.clone().unwrap_or_default(), frame, whose.spent(result))
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

/// Whether the model API failed in a way that may pass, so that the turn can be gone on with.
///
/// Seen with 2.1.332, which has tried up to ten times by itself then: 500 and 529 as `api_error_status`.
/// A 429 that no usage limit explains is one of too many requests at a time.
pub fn may_pass(result: &ResultFrame) -> bool {
    let by_api = result.is_error() && result.terminal_reason == Some(TerminalReason::ApiError);
    by_api && matches!(result.api_error_status, Some(408 | 429 | 500..=599))
}

fn says_no_login(result: &ResultFrame) -> bool {
    result.result.as_deref().is_some_and(|text| NO_LOGIN.iter().any(|words| text.starts_with(words)))
}

fn failure_kind(result: &ResultFrame) -> FailureKind {
    match (result.api_error_status, &result.subtype) {
        (Some(401 | 403), _) => FailureKind::Credentials,
        (Some(429), _) => FailureKind::UsageLimit,
        (Some(_), _) => FailureKind::Api,
        // The CLI itself refuses a turn for which it has neither key nor login, with no status (2.1.332).
        (None, _) if says_no_login(result) => FailureKind::Credentials,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(json: &str) -> Frame {
        Frame::parse(json.as_bytes().to_vec().into()).expect("it is a frame")
    }

    fn result(fields: &str) -> Evidence {
        let frame = frame(&format!(r#"{{"type":"result",{fields}}}"#));
        let Ok(Body::Result(says)) = frame.body() else { panic!("{fields}") };
        Evidence::Result(frame, says)
    }

    fn whose() -> Whose {
        Whose { turn: TurnId::new(), session_id: SessionId::random(), interruptions: 2, earlier: None }
    }

    fn failure(settlement: Settlement<Evidence>) -> Failure {
        match settlement.into_outcome(whose()) {
            Outcome::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_the_turns_own_wherever_it_was_found() {
        let notice = frame(r#"{"type":"system","subtype":"informational","content":"yes"}"#);
        for (settlement, has_frame) in [
            (Settlement::Result(result(r#""subtype":"success","result":"yes""#)), true),
            (Settlement::Transcript(Evidence::OnDisk("yes".to_owned())), false),
            (Settlement::Refused(Evidence::Notice(notice)), true),
        ] {
            let whose = whose();
            let Outcome::Completed(answer) = settlement.into_outcome(whose) else {
                panic!("it has an answer")
            };
            assert_eq!((answer.text.as_str(), answer.result.is_some()), ("yes", has_frame));
            assert_eq!(
                (answer.turn, answer.session_id, answer.interruptions),
                (whose.turn, whose.session_id, 2)
            );
        }
    }

    #[test]
    fn what_a_turn_took_is_known_if_no_cli_died_under_it_and_each_of_its_results_says_so() {
        let model = r#"{"inputTokens":1,"outputTokens":2,"cacheReadInputTokens":3,"cacheCreationInputTokens":4,"costUSD":0.5}"#;
        let told = format!(r#""subtype":"success","model_usage_since_last_result":{{"a":{model}}}"#);
        let none = Some(Spent::default());
        let of = |fields: &str, interruptions, earlier| {
            let whose = Whose { interruptions, earlier, ..whose() };
            let outcome = Settlement::Result(result(fields)).into_outcome(whose);
            let answer = outcome.answer().cloned().expect("it has an answer");
            (answer.cost_usd(), answer.usage().map(|usage| usage.output_tokens))
        };
        assert_eq!(of(&told, 0, none), (Some(0.5), Some(2)));
        let mut before = Spent::default();
        (before.cost_usd, before.usage.output_tokens) = (0.25, 40);
        assert_eq!(of(&told, 0, Some(before)), (Some(0.75), Some(42)), "the model API had failed it once");
        assert_eq!(of(&told, 0, None), (None, None), "a result before it did not say");
        assert_eq!(of(&told, 1, none), (None, None), "a CLI died under it");
        assert_eq!(of(r#""subtype":"success""#, 0, none), (None, None), "an old CLI does not say");
        let on_disk = Settlement::Transcript(Evidence::OnDisk("yes".to_owned()));
        let on_disk = on_disk.into_outcome(Whose { interruptions: 0, earlier: none, ..whose() });
        assert_eq!(on_disk.answer().and_then(Answer::cost_usd), None, "there is no result");
    }

    #[test]
    fn a_result_that_is_no_answer_is_a_failure_of_its_kind_in_its_own_words() {
        for (fields, kind, message) in [
            (r#""subtype":"success","is_error":true,"result":"no""#, FailureKind::Api, "no"),
            (r#""is_error":true,"api_error_status":401,"result":"no""#, FailureKind::Credentials, "no"),
            (
                r#""is_error":true,"result":"Not logged in · Please run /login""#,
                FailureKind::Credentials,
                "Not logged in · Please run /login",
            ),
            (r#""is_error":true,"api_error_status":403,"result":"no""#, FailureKind::Credentials, "no"),
            (r#""is_error":true,"api_error_status":429,"result":"no""#, FailureKind::UsageLimit, "no"),
            (r#""is_error":true,"api_error_status":529,"result":"no""#, FailureKind::Api, "no"),
            (r#""subtype":"error_max_turns""#, FailureKind::Limit, "the turn ended with error_max_turns"),
            (r#""subtype":"error_max_budget_usd","errors":["a","b"]"#, FailureKind::Limit, "a; b"),
            (r#""subtype":"error_during_execution","errors":["a"]"#, FailureKind::Execution, "a"),
            (r#""is_error":true"#, FailureKind::Execution, "the turn ended with an error"),
        ] {
            let failure = failure(Settlement::Result(result(fields)));
            assert_eq!((failure.kind, failure.message.as_str()), (kind, message), "{fields}");
            assert!(failure.result.is_some(), "{fields}");
        }
    }

    #[test]
    fn a_turn_that_was_cut_short_keeps_the_result_that_cut_it_short() {
        let by = || Some(result(r#""subtype":"error_during_execution""#));
        for (settlement, kind, has_result) in [
            (Settlement::TimedOut(by()), FailureKind::TimedOut, true),
            (Settlement::TimedOut(None), FailureKind::TimedOut, false),
            (Settlement::CredentialsRefused(by()), FailureKind::Credentials, true),
            (Settlement::Crashed, FailureKind::Crashed, false),
            (Settlement::Overtaken, FailureKind::Overtaken, false),
        ] {
            let failure = failure(settlement);
            assert_eq!((failure.kind, failure.result.is_some()), (kind, has_result));
        }
        assert!(matches!(Settlement::Interrupted.into_outcome(whose()), Outcome::Interrupted));
        assert!(matches!(Settlement::Cancelled.into_outcome(whose()), Outcome::Cancelled));
    }

    #[test]
    fn a_session_that_cannot_start_says_why() {
        for (why, kind) in [
            (PermanentKind::ConversationLost, FailureKind::ConversationLost),
            (PermanentKind::Credentials, FailureKind::Credentials),
            (PermanentKind::NoPlace, FailureKind::NoPlace),
            (PermanentKind::Held, FailureKind::NotStarted),
        ] {
            let told = failure(Settlement::NotStarted(Permanent::new(why, "why")));
            assert_eq!((told.kind, told.message.as_str()), (kind, "why"));
            let left_off = failure(Settlement::LeftOff(Permanent::new(why, "why")));
            let kind = if kind == FailureKind::NotStarted { FailureKind::Crashed } else { kind };
            assert_eq!(left_off.kind, kind, "what was sent is never told as not started");
            assert!(left_off.message.ends_with(": why"), "{}", left_off.message);
        }
        let late = failure(Settlement::NotInTime("no answer to initialize in 2s".to_owned()));
        assert_eq!(late.kind, FailureKind::TimedOut);
        assert!(late.message.contains("no answer to initialize in 2s"), "{}", late.message);
    }
}
