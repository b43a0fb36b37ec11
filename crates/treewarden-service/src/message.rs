//! What a caller asks, and how an answer to it is put into JSON: the protocol of docs/command.md, as types.
//!
//! How messages are told from each other (a line each, a body, an event) is the door's. Keys are only ever added, and what
//! an old client would misunderstand changes [`VERSION`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use treewarden::events::Position;
use treewarden::{SessionId, TurnId};

use crate::refusal::Refusal;

/// The version of the protocol; it changes when an old client would misunderstand.
pub const VERSION: u32 = 1;

/// What a caller asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// Who serves, and where.
    Hello {},
    /// Makes the tree what its config file says now.
    Reload {
        /// An absolute path; the file that the tree was started with unless it is given.
        #[serde(default)]
        file: Option<PathBuf>,
        /// Only says what would change.
        #[serde(default)]
        dry_run: bool,
        /// Also if the file declares no child, which stops every session.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        allow_empty: bool,
        /// Also if that loses a conversation.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// The sessions.
    Ps {},
    /// The shape of the tree.
    Tree {},
    /// Sends a prompt to a session, and waits for the turn's outcome.
    Ask {
        /// The session.
        name: String,
        /// The prompt.
        prompt: String,
        /// The CLI acts on it: its `/command` runs, and the files of its `@mentions` are read. Otherwise its words are taken as
        /// they are.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        command: bool,
        /// What comes before the outcome.
        #[serde(default)]
        stream: Streaming,
        /// Does not wait: the turn's id is the answer.
        #[serde(default)]
        detach: bool,
    },
    /// What became of a turn.
    Turn {
        /// The turn.
        turn: TurnId,
        /// Waits for its outcome.
        #[serde(default)]
        wait: bool,
    },
    /// Takes a turn out of its queue, or interrupts it if it runs.
    Cancel {
        /// The turn.
        turn: TurnId,
    },
    /// Starts a session anew, or a supervisor and all below it.
    Restart {
        /// The session or the supervisor.
        name: String,
        /// Also if that loses a conversation.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// Stops a session until it is started again.
    Stop {
        /// The session.
        name: String,
        /// Also if the conversation is not on disk, and so lost with the CLI.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// Starts a session that was stopped.
    Start {
        /// The session.
        name: String,
    },
    /// Makes a session of a template.
    New {
        /// The template.
        template: String,
        /// The session.
        name: String,
    },
    /// Ends a session that was made of a template, and frees its name.
    Remove {
        /// The session.
        name: String,
        /// Also if the conversation is not on disk, and so lost with the CLI.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// Begins a new conversation in a session.
    Clear {
        /// The session.
        name: String,
    },
    /// Has all sessions begin anew whose records are lost.
    ClearLost {},
    /// Takes a conversation over by its id, for a session whose record is lost.
    Adopt {
        /// The session.
        name: String,
        /// The conversation.
        session_id: SessionId,
    },
    /// Does so for all sessions whose records are lost, with the conversations that they are known to have had.
    AdoptLost {},
    /// Interrupts the turn that a session is running.
    Interrupt {
        /// The session.
        name: String,
    },
    /// Writes a copy of the store into a folder that is made, while the tree goes on.
    Backup {
        /// The absolute path of a folder that is not there yet, or empty.
        to: PathBuf,
    },
    /// What happened lately.
    Events {
        /// Goes on with what happens, until the caller goes.
        #[serde(default)]
        follow: bool,
        /// The last event that was seen; all that are kept are told unless it is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Position>,
    },
}

impl Request {
    /// Whether it waits for the end of a CLI or of a start, and so is answered at once that it has begun.
    pub(crate) fn takes_its_time(&self) -> bool {
        // An `ask` is not among them: that its turn is opened is its sign of life.
        matches!(
            self,
            Self::Reload { .. }
                | Self::Restart { .. }
                | Self::Stop { .. }
                | Self::Start { .. }
                | Self::New { .. }
                | Self::Remove { .. }
                | Self::Clear { .. }
                | Self::ClearLost {}
                | Self::Adopt { .. }
                | Self::AdoptLost {}
                | Self::Backup { .. }
                | Self::Turn { wait: true, .. }
        )
    }
}

/// What comes before the outcome of a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Streaming {
    /// Nothing but the turn's id.
    #[default]
    None,
    /// The text as it comes.
    Text,
    /// The CLI's frames.
    Frames,
}

/// One message of an answer: items, then one end.
///
/// A door writes it with [`Item`](crate::Item) and [`Answer`](crate::Answer). A client reads both as JSON values, since an
/// answer may have more keys than the client knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<I, A> {
    /// It comes before the end.
    Item(I),
    /// The end: it was done.
    Ok(A),
    /// The end: it was refused.
    Error(Refusal),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_asked_for_need_not_be_said() {
        let asked: Request =
            serde_json::from_value(json!({ "op": "ask", "name": "a", "prompt": "x" })).expect("valid");
        let Request::Ask { stream: Streaming::None, detach: false, command: false, .. } = asked else {
            panic!("{asked:?}")
        };
        let json = serde_json::to_value(&asked).expect("valid");
        assert_eq!(json.get("command"), None, "an older daemon takes it too");
        let stop = serde_json::to_value(Request::Stop { name: "a".into(), force: false }).expect("valid");
        assert_eq!(stop, json!({ "op": "stop", "name": "a" }), "an older daemon takes it too");
    }

    #[test]
    fn a_key_that_no_request_has_is_refused() {
        let misspelt = json!({ "op": "stop", "name": "a", "forced": true });
        let error = serde_json::from_value::<Request>(misspelt).expect_err("refused").to_string();
        assert!(error.contains("forced"), "{error}");
    }

    #[test]
    fn a_message_says_which_kind_it_is() {
        let item: Reply<&str, &str> = Reply::Item("x");
        assert_eq!(serde_json::to_value(item).expect("valid"), json!({ "item": "x" }));
        let read: Reply<serde_json::Value, serde_json::Value> =
            serde_json::from_value(json!({ "error": { "code": "of_another_version", "message": "m" } }))
                .expect("valid");
        let Reply::Error(refusal) = read else { panic!("{read:?}") };
        assert_eq!((refusal.code, refusal.anyway), (crate::Code::Unknown, None));
    }
}
