//! How a turn comes out: exactly one outcome, stored and delivered once.
//!
//! It is what an outcome is, and how the journal holds it. It is not for what a turn comes to, which is the machine's, and must
//! never store or deliver anything.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use treewarden_proto::frame::{Frame, Spent, TokenUsage};
use treewarden_proto::{SessionId, TurnId};

/// The one terminal outcome of a turn.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Outcome {
    /// The turn got its answer.
    Completed(Answer),
    /// The turn ended without an answer.
    Failed(Failure),
    /// The turn was interrupted while it ran.
    Interrupted,
    /// The turn was taken out of the queue before it ran.
    Cancelled,
}

/// The answer to a turn; its `Display` is the text.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The turn.
    pub turn: TurnId,
    /// The conversation that the answer stands in.
    pub session_id: SessionId,
    /// The text of the answer.
    pub text: String,
    /// How many CLIs died while they worked at the turn.
    pub interruptions: u32,
    /// `false` if the store did not take the outcome in time, so that the host alone has it: it is stored as soon as that can be.
    /// Also `false`, and for good, where the host stores no turns.
    pub stored: bool,
    /// The CLI's `result` frame as it came; `None` if the answer was read from the transcript because the CLI died
    /// between storing and printing it. Where a hook refused a prompt within a turn of the CLI's own, which has no
    /// result, it is the notice that says so.
    pub result: Option<Box<Frame>>,
    /// What the model calls of the turn took; `None` if that is unknown, see [`cost_usd`](Self::cost_usd).
    pub spent: Option<Spent>,
}

impl Answer {
    /// What the turn alone cost by the CLI's price list, in US dollars; `None` if that is unknown.
    ///
    /// It is what the CLI spent since the result before, sub-agents included. So work of its own that had no result yet is counted
    /// to the turn that ends next, and a turn whose prompt was woven into such work has it all.
    ///
    /// It is unknown where a CLI died under the turn, as nothing says what was spent until then; where the answer was read from
    /// the transcript, or a hook gave it; with a CLI that does not tell (2.1.197 does not, 2.1.330 does); and for an answer
    /// that an earlier version of treewarden stored. A CLI that answers by itself, without the model, spends 0.
    pub fn cost_usd(&self) -> Option<f64> {
        self.spent.map(|spent| spent.cost_usd)
    }

    /// The tokens of the turn alone, of all models; `None` where [`cost_usd`](Self::cost_usd) is.
    pub fn usage(&self) -> Option<TokenUsage> {
        self.spent.map(|spent| spent.usage)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Why a turn got no answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// What happened, in words.
    pub message: String,
    /// The CLI's `result` frame, if it printed one.
    pub result: Option<Box<Frame>>,
}

impl Failure {
    /// A failure of which no result tells.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), result: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

/// The kinds of failure of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The model API answered with an error, after the CLI's own retries.
    Api,
    /// The usage limit is reached; the session waits until it is lifted.
    UsageLimit,
    /// The credentials were refused.
    Credentials,
    /// The turn ran into `max_turns`, `max_budget_usd` or a like limit of its session.
    Limit,
    /// The CLI reported an error while it ran the turn.
    Execution,
    /// The turn ran out of its time.
    TimedOut,
    /// The CLI died under the turn, which may have run, and it is not to run again.
    Crashed,
    /// Another writer went on with the conversation behind the turn's prompt before it was answered: it may have run, and
    /// is not to run again.
    Overtaken,
    /// The session could not start, or the turn could not be sent, and trying again by itself would not help.
    NotStarted,
    /// The conversation that the session is to resume is gone.
    ConversationLost,
    /// There was no place among the live CLIs: pinned sessions have them all, none became free within `place_wait`, or the system
    /// was short of what a CLI needs.
    NoPlace,
    /// The supervisor gave the session up: it crashed too often.
    GivenUp,
}

impl FailureKind {
    /// Tells whether the same prompt may well succeed later, without a change of options or credentials.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Api | Self::UsageLimit | Self::TimedOut | Self::Crashed | Self::Overtaken | Self::GivenUp
        )
    }
}

impl Outcome {
    /// The outcome in one word: `completed`, `failed`, `interrupted` or `cancelled`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
        }
    }

    /// The answer, if there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Completed(answer) => Some(answer),
            _ => None,
        }
    }
}

/// An outcome as the journal holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutcomeRecord<'a> {
    outcome: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    #[serde(default)]
    interruptions: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<FailureKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spent: Option<Spent>,
    #[serde(default, skip_serializing)]
    result: Option<Box<Frame>>,
}

impl Outcome {
    /// The outcome as the journal holds it.
    ///
    /// # Errors
    ///
    /// A part of it that is no JSON; none is known.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut json = serde_json::to_string(&OutcomeRecord::without_frame(self))?;
        if let Self::Completed(Answer { result: Some(frame), .. })
        | Self::Failed(Failure { result: Some(frame), .. }) = self
        {
            // The frame was read as JSON when it came; a serializer would read it again.
            let field = [r#","result":"#, frame.json(), "}"];
            json.reserve_exact(field.iter().map(|piece| piece.len()).sum());
            json.pop();
            json.extend(field);
        }
        Ok(json)
    }

    /// The same as a value; without its frame, if no parser takes that.
    pub fn to_value(&self) -> Option<serde_json::Value> {
        let whole = self.to_json().ok().and_then(|json| serde_json::from_str(&json).ok());
        // A frame that no strict parser takes is left out; the rest of the outcome is told.
        whole.or_else(|| serde_json::to_value(OutcomeRecord::without_frame(self)).ok())
    }
}

impl<'a> OutcomeRecord<'a> {
    /// An outcome as the journal holds it, without the CLI's frame.
    pub fn without_frame(outcome: &'a Outcome) -> Self {
        let mut record = Self {
            outcome: outcome.word().into(),
            text: None,
            session_id: None,
            interruptions: 0,
            failure: None,
            message: None,
            spent: None,
            result: None,
        };
        match outcome {
            Outcome::Completed(answer) => {
                record.text = Some(Cow::Borrowed(&answer.text));
                record.session_id = Some(answer.session_id);
                record.interruptions = answer.interruptions;
                record.spent = answer.spent;
            }
            Outcome::Failed(failure) => {
                record.failure = Some(failure.kind);
                record.message = Some(Cow::Borrowed(&failure.message));
            }
            Outcome::Interrupted | Outcome::Cancelled => {}
        }
        record
    }

    /// The outcome of this turn, asked in this conversation.
    pub fn into_outcome(self, turn: TurnId, session_id: SessionId) -> Outcome {
        match &*self.outcome {
            "completed" => Outcome::Completed(Answer {
                turn,
                session_id: self.session_id.unwrap_or(session_id),
                text: self.text.unwrap_or_default().into_owned(),
                interruptions: self.interruptions,
                stored: true,
                result: self.result,
                spent: self.spent,
            }),
            "interrupted" => Outcome::Interrupted,
            "cancelled" => Outcome::Cancelled,
            // Also what a newer version calls otherwise: it ended, and how is in its message.
            _ => Outcome::Failed(Failure {
                kind: self.failure.unwrap_or(FailureKind::Execution),
                message: self.message.unwrap_or_default().into_owned(),
                result: self.result,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_read_back_with_its_frame_whatever_that_holds() {
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        let (turn, session_id) = (TurnId::new(), SessionId::random());
        for line in [
            r#"{"type":"result","result":"a \"quote\" é"}"#.as_bytes(),
            b"\t{ \"type\" : \"result\" , \"result\" : -1e999 }\r\n",
            b"{\"type\":\"result\",\"result\":\"\xff \\ud800\"}",
            format!(r#"{{"type":"result","deep":{deep}}}"#).as_bytes(),
        ] {
            let frame = Frame::parse(line.to_vec().into()).expect("it is a frame");
            let raw = frame.json().trim().to_owned();
            let mut spent = Spent::default();
            (spent.cost_usd, spent.usage.cache_read_input_tokens) = (0.1 + 0.2, 7);
            let answer = Answer {
                turn,
                session_id,
                text: "\"}".into(),
                interruptions: 2,
                stored: true,
                result: Some(Box::new(frame.clone())),
                spent: Some(spent),
            };
            let failure = Failure {
                kind: FailureKind::Api,
                message: "\"}".into(),
                result: Some(Box::new(frame.clone())),
            };
            for outcome in [Outcome::Completed(answer), Outcome::Failed(failure)] {
                let json = outcome.to_json().expect("it can be written");
                let record: OutcomeRecord<'_> = serde_json::from_str(&json).expect("it can be read");
                let (text, interruptions, result) = match record.into_outcome(turn, SessionId::random()) {
                    Outcome::Completed(answer)
                        if (answer.session_id, answer.spent) == (session_id, Some(spent)) =>
                    {
                        (answer.text, answer.interruptions, answer.result)
                    }
                    Outcome::Failed(failure) if failure.kind == FailureKind::Api => {
                        (failure.message, 2, failure.result)
                    }
                    other => panic!("{other:?}"),
                };
                assert_eq!((text.as_str(), interruptions), ("\"}", 2));
                assert_eq!(result.expect("it is there").json(), raw);
            }
        }
    }

    /// As the version before the accounts wrote it.
    #[test]
    fn an_answer_of_an_earlier_version_does_not_say_what_it_took() {
        let json = r#"{"outcome":"completed","text":"yes","interruptions":0,"result":{"type":"result","total_cost_usd":3}}"#;
        let record: OutcomeRecord<'_> = serde_json::from_str(json).expect("it can be read");
        let outcome = record.into_outcome(TurnId::new(), SessionId::random());
        let answer = outcome.answer().expect("it is an answer");
        assert_eq!((answer.text.as_str(), answer.cost_usd(), answer.usage()), ("yes", None, None));
    }

    #[test]
    fn an_outcome_without_a_frame_is_read_back() {
        for outcome in [Outcome::Interrupted, Outcome::Cancelled] {
            let json = outcome.to_json().expect("it can be written");
            let record: OutcomeRecord<'_> = serde_json::from_str(&json).expect("it can be read");
            assert_eq!(record.into_outcome(TurnId::new(), SessionId::random()).word(), outcome.word());
        }
    }
}
