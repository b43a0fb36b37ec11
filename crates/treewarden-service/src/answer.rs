//! What a caller is told, as types whose JSON is the protocol's: items that come before the end, and the end.
//!
//! Keys are only ever added. A key that has no value is `null`, not missing.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;
use treewarden::events::{Gap, HostEvent, Position};
use treewarden::host::WarmStatus;
use treewarden::session::{Adopted, Denied, LostName, Status, TokenUsage};
use treewarden::tree::{NodeDiff, Outline};
use treewarden::{Problem, SessionId, SessionName, TurnId};

/// What comes before the end of an answer.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Item {
    /// How far the request is.
    Progress(Progress),
    /// Something that happened in the tree.
    Event(#[serde(serialize_with = "within")] Arc<HostEvent>),
    /// Events that the caller was too slow or too late for.
    Missed(Gap),
}

/// As it is; serde asks for this where a value is shared.
fn within<S: Serializer>(event: &Arc<HostEvent>, serializer: S) -> Result<S::Ok, S::Error> {
    event.serialize(serializer)
}

impl From<Progress> for Item {
    fn from(progress: Progress) -> Self {
        Self::Progress(progress)
    }
}

/// How far a request is.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Progress {
    /// All places are taken, and it waits for one.
    Waiting {
        /// What for, in words.
        r#for: String,
    },
    /// It was taken up, and may take its time.
    Begun,
    /// The prompt is stored, and on its way.
    Opened {
        /// The turn.
        turn: TurnId,
    },
    /// The answer's text goes on.
    Text {
        /// With this.
        text: String,
    },
    /// The model calls a tool.
    Tool {
        /// Which.
        name: String,
        /// Its arguments as JSON, cut after 1,000 characters.
        input: String,
    },
    /// The CLI printed this.
    Frame {
        /// As it came; null if it is beyond what JSON numbers can hold.
        frame: Value,
    },
    /// The CLI died, and another one carries the turn on: what was told may come again.
    Resumed {
        /// How often that has happened to this turn.
        interruptions: u32,
    },
    /// The model's message was cut off, and the CLI asks again: the newest part of the text is void, and is said anew.
    CutOff {
        /// How many bytes of the text that part has.
        bytes: usize,
    },
}

/// How a request ends that was not refused.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Answer {
    /// To `hello`.
    Hello(Hello),
    /// To `ps`.
    Sessions(Sessions),
    /// To `tree`.
    Tree(Box<Outline>),
    /// To `ask` and `turn`.
    Turn(TurnAnswer),
    /// To `ask` with `detach`.
    Detached {
        /// The turn.
        turn: TurnId,
        /// Its session.
        name: String,
    },
    /// To `cancel`.
    Cancelled {
        /// Whether the turn was open.
        cancelled: bool,
    },
    /// To `new`.
    Made {
        /// The session.
        name: String,
    },
    /// To `interrupt`.
    Interrupted {
        /// Whether a turn ran, or the CLI worked by itself.
        interrupted: bool,
    },
    /// To `clear_lost`.
    Cleared {
        /// How many names are known that begin anew.
        cleared: usize,
        /// Which.
        names: Vec<SessionName>,
    },
    /// To `adopt` of a name that no session has.
    TakenOver(OfTemplate<LostName>),
    /// To `adopt_lost`.
    Adopted {
        /// Each name that is lost.
        names: Vec<OfTemplate<Adopted>>,
        /// Why names of which nothing is known are lost as well, if they are.
        others: Option<String>,
    },
    /// To `stop` and `remove`.
    Stopped {
        /// Which processes were left alone, as nothing says whether they are the session's.
        may_be_left: Option<Box<str>>,
    },
    /// To `reload`.
    Reloaded(Reloaded),
    /// To `events`: behind the last one that was told.
    Position(Position),
    /// It was done, and there is nothing to say about it.
    Done {},
}

/// Who serves.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Hello {
    /// The version of the protocol.
    pub protocol: u32,
    /// The version of treewarden.
    pub version: &'static str,
    /// The process that the tree runs in.
    pub pid: u32,
    /// Where it keeps its state.
    pub state_dir: PathBuf,
}

/// The sessions, and what is true of them all.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Sessions {
    /// Each, by name.
    pub sessions: Vec<Status>,
    /// How many CLIs are kept for the next conversations.
    pub warm: WarmStatus,
    /// Why no turn is taken, if that is so.
    pub removed: Option<String>,
    /// The names whose records are lost and that no session of the tree has: one that has lost its record says so itself.
    pub lost: Vec<OfTemplate<LostName>>,
    /// What of the store is not whole, until that is over, the newest last.
    pub problems: Vec<StoreProblem>,
}

/// A lost name, with whether the tree has the template that its session was made of.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct OfTemplate<T> {
    /// What is known of the name.
    #[serde(flatten)]
    pub name: T,
    /// The tree has the template now, of which `new` can make the session again; `false` also where the template is not known.
    pub has_template: bool,
}

/// Something stored that is not whole.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StoreProblem {
    /// What kind of thing.
    pub kind: &'static str,
    /// Which one.
    pub key: String,
    /// The sessions that it concerns, or of which it concerns one; none if it is about the whole store.
    pub names: Vec<SessionName>,
    /// The turn that it is about.
    pub turns: Vec<TurnId>,
    /// What is wrong, and what follows.
    pub reason: String,
    /// What ends it, in words.
    pub ends: String,
    /// When it was found, in Unix milliseconds.
    pub at: u64,
}

impl From<Problem> for StoreProblem {
    fn from(problem: Problem) -> Self {
        let (names, turns) = (problem.concern.names().to_vec(), problem.concern.turns().to_vec());
        let ends = problem.ends();
        let Problem { kind, key, reason, at, .. } = problem;
        Self { kind: kind.as_str(), key, names, turns, reason, ends, at }
    }
}

/// What became of a turn.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TurnAnswer {
    /// The turn.
    pub turn: TurnId,
    /// Its session.
    pub name: SessionName,
    /// `completed`, `failed`, `interrupted` or `cancelled`; `None` while it is open.
    pub outcome: Option<String>,
    /// The answer.
    pub text: Option<String>,
    /// The conversation.
    pub session_id: Option<SessionId>,
    /// How many CLIs died while they worked at it.
    pub interruptions: u32,
    /// What the turn alone cost, in US dollars; `None` if there is no answer, or that is unknown.
    pub cost_usd: Option<f64>,
    /// The tokens of the same.
    pub usage: Option<TokenUsage>,
    /// The kind of failure.
    pub failure: Option<String>,
    /// What happened, in words; of an open turn, why nobody works at it.
    pub message: Option<String>,
    /// `false` if the outcome is in the host's memory alone: see `unstored`; or for good, where the host stores no turns.
    pub stored: bool,
    /// Why the store has not taken the outcome yet, as far as that is so; `None` where the host stores no turns.
    pub unstored: Option<String>,
    /// The tool calls that the CLI refused in it, each once: the `tool`, and the `rule` that would let it run.
    pub denied: Vec<Denied>,
    /// The CLI's `result` frame as it came.
    pub result: Option<Value>,
}

/// What a reload meant, or would mean.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Reloaded {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Whether anything differs.
    pub changed: bool,
    /// How many children do not.
    pub unchanged: usize,
    /// Every node of the tree before or after, the root first.
    pub nodes: Vec<NodeDiff>,
    /// What was not applied.
    pub failed: Vec<NotReloaded>,
    /// The same for people.
    pub text: String,
}

/// A child that a reload could not change or start.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct NotReloaded {
    /// Its place in the tree; a supervisor stands for all below it.
    pub path: String,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn is(told: impl Serialize, expected: &Value) {
        assert_eq!(&serde_json::to_value(told).expect("it is JSON"), expected);
    }

    #[test]
    fn items_are_told_apart_by_their_type() {
        let turn = TurnId::new();
        let item = |progress: Progress| Item::from(progress);
        is(item(Progress::Waiting { r#for: "x".into() }), &json!({ "type": "waiting", "for": "x" }));
        is(item(Progress::Begun), &json!({ "type": "begun" }));
        is(item(Progress::Opened { turn }), &json!({ "type": "opened", "turn": turn }));
        is(item(Progress::Text { text: "x".into() }), &json!({ "type": "text", "text": "x" }));
        is(item(Progress::Frame { frame: json!([1]) }), &json!({ "type": "frame", "frame": [1] }));
        is(item(Progress::Resumed { interruptions: 2 }), &json!({ "type": "resumed", "interruptions": 2 }));
        is(item(Progress::CutOff { bytes: 9 }), &json!({ "type": "cut_off", "bytes": 9 }));
    }

    #[test]
    fn ends_have_the_documented_keys_and_null_for_what_has_no_value() {
        let turn = TurnId::new();
        is(Answer::Done {}, &json!({}));
        is(Answer::Detached { turn, name: "a".into() }, &json!({ "turn": turn, "name": "a" }));
        is(Answer::Made { name: "a".into() }, &json!({ "name": "a" }));
        is(Answer::Cancelled { cancelled: true }, &json!({ "cancelled": true }));
        is(Answer::Interrupted { interrupted: false }, &json!({ "interrupted": false }));
        is(Answer::Stopped { may_be_left: None }, &json!({ "may_be_left": null }));
        let open = TurnAnswer {
            turn,
            name: "a".parse().expect("a name"),
            outcome: None,
            text: None,
            session_id: None,
            interruptions: 1,
            cost_usd: None,
            usage: None,
            failure: None,
            message: None,
            stored: true,
            unstored: None,
            denied: Vec::new(),
            result: None,
        };
        is(
            Answer::Turn(open),
            &json!({
                "turn": turn, "name": "a", "outcome": null, "text": null, "session_id": null, "interruptions": 1,
                "cost_usd": null, "usage": null,
                "failure": null, "message": null, "stored": true, "unstored": null, "denied": [],
                "result": null,
            }),
        );
    }
}
