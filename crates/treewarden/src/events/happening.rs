//! What can happen, as data: to a session, to a child of a supervisor, to what all of them need.
//!
//! Each kind is one variant, with its name in `event` when it is written as JSON; `docs/events.md` has the table. A kind
//! must hold plain values only: an event that kept an actor, an error or a frame's neighbours alive would keep them for as
//! long as the ring has it.

use std::fmt::Display;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use treewarden_core::session::{Denied, SessionState};
use treewarden_otp::supervisor::ChildId;
use treewarden_proto::frame::{self, Frame};
use treewarden_proto::{SessionId, TurnId};

/// The largest event: one whose frame or texts are larger is cut down.
pub(super) const LARGEST: usize = 256 << 10;

/// How many bytes are left of each text of an event that is cut down.
const TEXT: usize = 16 << 10;

/// What can happen.
///
/// What happens to a session is in an event that has its [`name`](super::HostEvent::name).
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Happening {
    /// The session does something else now.
    State {
        /// What it does.
        state: SessionState,
        /// Its CLI.
        pid: Option<u32>,
    },
    /// The session, which was made of a template, is removed: its name is free, and its conversation is kept.
    ///
    /// It is the last event of the session, unless one of this name is made again.
    SessionRemoved {
        /// Why.
        why: RemovalReason,
    },
    /// A turn joined the session's queue.
    TurnOpened {
        /// The turn.
        turn: TurnId,
    },
    /// A turn came to its outcome.
    TurnSettled {
        /// The turn.
        turn: TurnId,
        /// The outcome in one word.
        outcome: &'static str,
        /// `false` if the store did not take it in time: the host alone has it, and stores it as soon as that can be. Also
        /// `false`, and for good, where the host stores no turns.
        stored: bool,
    },
    /// The session's CLI refused tool calls in a turn, since nothing allowed them; it is told before the turn's outcome.
    ToolsDenied {
        /// The turn.
        turn: TurnId,
        /// What in `allowed_tools` would have let them run, such as `Bash(git:*)` or `Write`: the first sixteen.
        rules: Vec<String>,
    },
    /// The session's CLI died under a turn, which stays open.
    TurnInterrupted {
        /// The turn.
        turn: TurnId,
        /// How often that has happened to it.
        interruptions: u32,
    },
    /// The session's CLI ended.
    Exited {
        /// How.
        class: String,
    },
    /// The session's CLI met a usage limit of the account, which holds for every session that uses it: told once.
    UsageLimit {
        /// When it is lifted, in seconds of the Unix epoch.
        until: u64,
        /// Which it is, in the CLI's word, such as `five_hour`.
        kind: Option<String>,
    },
    /// A process that the session's CLI had started was killed for memory; the CLI lives on.
    ToolKilled {
        /// Which, and at what limit.
        why: String,
    },
    /// The session's CLI is replaced between two turns, since it takes too much memory; the conversation goes on.
    Recycled {
        /// How much it takes, and how much it may.
        why: String,
    },
    /// The session's conversation has another id now.
    Conversation {
        /// The id.
        session_id: SessionId,
    },
    /// The session's CLI printed a frame that belongs to no turn of ours.
    Unsolicited {
        /// The frame's type.
        kind: String,
        /// Its length.
        bytes: u64,
        /// The frame as it came; none if it is larger than an event may be.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "readable")]
        frame: Option<Frame>,
    },
    /// The session's CLI printed a line that is no frame.
    Garbage {
        /// Its length.
        bytes: u64,
    },
    /// The session's last answer, or the beginning of its conversation, is not on disk, so that its CLI has the only copy: it
    /// is kept, or was ended all the same.
    Unsaved {
        /// Which turn, and where it was looked for.
        why: String,
    },
    /// What was not on disk is there now.
    Saved,
    /// A part of the session's conversation was never written to disk: the CLI that resumes it knows all but that.
    Incomplete {
        /// In so many places.
        gaps: usize,
    },
    /// What a session needs, or all of them need, was removed or emptied: a lease, a transcript, a lock, the socket, the
    /// state directory.
    Removed {
        /// What, and what follows.
        what: String,
        /// It is as it was; otherwise turns are refused.
        mended: bool,
    },
    /// Another process sent the session's CLI a message, which the CLI keeps back.
    PeerMessageHeld {
        /// The length of what the CLI says of it.
        bytes: u64,
        /// That frame as it came; none if it is larger than an event may be.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "readable")]
        frame: Option<Frame>,
    },
    /// Processes of the session live on although its CLI was ended, as they may not be ended: it does not start while they
    /// live.
    NotGone {
        /// Which, and why.
        why: String,
    },
    /// Processes that may be the session's were left alone when its CLI was ended, as nothing says so.
    MayBeLeft {
        /// Which.
        what: String,
    },
    /// The session's CLI could not write its transcript: a resume may miss what follows.
    WritesLost,
    /// What is stored is not whole: told once for each thing, when the host is opened; or, when it happens, the store refuses
    /// something for good, or that is let go.
    StoreProblem {
        /// What kind of thing: `record`, `turn`, `database`, `removed`, `older` or `cut`; `unwritable` while nothing can be
        /// stored; `outcome` of a turn, or `record`, where it is refused.
        kind: &'static str,
        /// Which one: a session's name, a turn's id, or a path.
        key: String,
        /// What is wrong, and what follows.
        why: String,
    },
    /// Something of the store is whole again, or taken note of: what a [`StoreProblem`](Self::StoreProblem) told of this kind and
    /// key.
    StoreProblemOver {
        /// What kind of thing.
        kind: &'static str,
        /// Which one.
        key: String,
    },
    /// A supervisor of the tree reports something.
    Supervision {
        /// The supervisor's place in the tree; empty for the root.
        #[serde(serialize_with = "as_text")]
        supervisor: Arc<str>,
        /// What it reports.
        context: SupervisionContext,
        /// The child that the report is about.
        #[serde(serialize_with = "as_text_or_null")]
        child: Option<ChildId>,
        /// Why, in words.
        reason: Option<String>,
    },
}

/// Why a session of a template was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RemovalReason {
    /// Somebody asked for it.
    Asked,
    /// It had nothing to do for its template's `remove_idle`.
    Idle,
}

/// What a supervisor reports: one of OTP's contexts, or what treewarden adds to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SupervisionContext {
    /// A child was started.
    Progress,
    /// A child could not be started.
    StartError,
    /// A child ended, and that was not a clean end of a child that may end cleanly.
    ChildTerminated,
    /// A child did not end with the reason it was stopped with.
    ShutdownError,
    /// The supervisor gives up.
    Shutdown,
    /// A child was killed and is still there.
    Quarantined,
    /// A child spent its budget and stays down.
    Parked,
    /// Something of which no more is said.
    Other,
}

impl SupervisionContext {
    /// The word that stands in the JSON, which is OTP's where OTP has one.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Progress => "progress",
            Self::StartError => "start_error",
            Self::ChildTerminated => "child_terminated",
            Self::ShutdownError => "shutdown_error",
            Self::Shutdown => "shutdown",
            Self::Quarantined => "quarantined",
            Self::Parked => "parked",
            Self::Other => "other",
        }
    }
}

pub(super) fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_text_or_null<S: Serializer>(value: &Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// A frame in JSON that each reader can read, also one with numbers or characters that strict readers refuse.
///
/// An event that could not be written would be a hole in the numbers.
fn readable<S: Serializer>(frame: &Option<Frame>, serializer: S) -> Result<S::Ok, S::Error> {
    // A frame that no strict parser takes is quoted as text.
    let json = frame.as_ref().map_or("null", Frame::json);
    frame::value(json).unwrap_or_else(|_| json.into()).serialize(serializer)
}

/// The one text of a happening that others wrote: to be measured or to be cut, and so in one list for both. A kind that is
/// measured and not cut would stay larger than an event may be.
macro_rules! text_of {
    ($what:expr) => {
        match $what {
            Self::Exited { class: text }
            | Self::Unsolicited { kind: text, .. }
            | Self::Unsaved { why: text }
            | Self::ToolKilled { why: text }
            | Self::Recycled { why: text }
            | Self::NotGone { why: text }
            | Self::StoreProblem { why: text, .. }
            | Self::Removed { what: text, .. }
            | Self::UsageLimit { kind: Some(text), .. }
            | Self::MayBeLeft { what: text }
            | Self::Supervision { reason: Some(text), .. } => Some(text),
            _ => None,
        }
    };
}

/// How many rules of refused calls an event has at most; the answer has all of them.
const RULES: usize = 16;

impl Happening {
    /// What a turn's refused calls would have needed.
    pub(crate) fn tools_denied(turn: TurnId, denied: Vec<Denied>) -> Self {
        Self::ToolsDenied { turn, rules: denied.into_iter().take(RULES).map(|denied| denied.rule).collect() }
    }

    /// A frame that belongs to no turn; one that is too large is not copied.
    pub(crate) fn unsolicited(frame: &Frame) -> Self {
        let (bytes, quoted) = quote(frame);
        Self::Unsolicited { kind: frame.type_name().into_owned(), bytes, frame: quoted }
    }

    /// What a CLI says of a message that it holds back; a frame that is too large is not copied.
    pub(crate) fn peer_message_held(frame: &Frame) -> Self {
        let (bytes, frame) = quote(frame);
        Self::PeerMessageHeld { bytes, frame }
    }

    /// The memory that the happening takes beside its own place: its texts and its frame.
    pub(super) fn size(&self) -> usize {
        let frame = self.frame().map_or(0, frame_size);
        let names = match self {
            Self::Supervision { supervisor, child, .. } => {
                supervisor.len() + child.as_ref().map_or(0, |child| child.as_str().len())
            }
            Self::StoreProblem { key, .. } | Self::StoreProblemOver { key, .. } => key.len(),
            Self::ToolsDenied { rules, .. } => rules.iter().map(String::len).sum(),
            _ => 0,
        };
        frame + names + self.text().map_or(0, String::len)
    }

    /// The happening as it is published: one that is too large is what it is, and no more.
    pub(super) fn cut(mut self) -> Self {
        if self.size() > LARGEST {
            if let Self::Unsolicited { frame, .. } | Self::PeerMessageHeld { frame, .. } = &mut self {
                // The frame goes first: it is the greatest part, and its kind and length stay.
                *frame = None;
            }
            if let Some(text) = self.text_mut() {
                shorten(text);
            }
        }
        self
    }

    fn frame(&self) -> Option<&Frame> {
        match self {
            Self::Unsolicited { frame, .. } | Self::PeerMessageHeld { frame, .. } => frame.as_ref(),
            _ => None,
        }
    }

    fn text(&self) -> Option<&String> {
        text_of!(self)
    }

    fn text_mut(&mut self) -> Option<&mut String> {
        text_of!(self)
    }
}

/// A frame's length, and the frame in memory of its own if it is small enough for an event.
fn quote(frame: &Frame) -> (u64, Option<Frame>) {
    let bytes = u64::try_from(frame.raw().len()).unwrap_or(u64::MAX);
    // The frame is copied out of what was read together with it, which would be kept for as long as the ring
    // has the frame.
    (bytes, (frame_size(frame) <= LARGEST).then(|| frame.unshared()))
}

fn frame_size(frame: &Frame) -> usize {
    frame.raw().len() + size_of_val(frame.turns().as_slice())
}

/// Cuts the end off a text that is too long, and says how long it was.
fn shorten(text: &mut String) {
    if text.len() > TEXT {
        let end = (0..=TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let more = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("… ({more} bytes more)"));
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn frame(pad: usize) -> Frame {
        let line = format!("{{\"type\":\"system\",\"subtype\":\"status\",\"pad\":\"{}\"}}", "x".repeat(pad));
        Frame::parse(line.into()).expect("it is a frame")
    }

    fn json_of(what: &Happening) -> Value {
        serde_json::to_value(what).expect("it can be written")
    }

    #[test]
    fn a_frame_is_quoted_as_it_came_with_its_kind_and_length() {
        let frame = frame(4);
        let value = json_of(&Happening::unsolicited(&frame));
        assert_eq!((&value["event"], &value["kind"]), (&json!("unsolicited"), &json!("system")));
        assert_eq!((&value["frame"]["pad"], &value["bytes"]), (&json!("xxxx"), &json!(frame.raw().len())));
        let value = json_of(&Happening::peer_message_held(&frame));
        assert_eq!((&value["event"], &value["frame"]["pad"]), (&json!("peer_message_held"), &json!("xxxx")));
    }

    #[test]
    fn a_frame_that_strict_readers_refuse_can_be_written() {
        let line = r#"{"type":"future","text":"cut \ud83d","cost":1e999}"#;
        let frame = Frame::parse(line.into()).expect("it is a frame");
        let value = json_of(&Happening::unsolicited(&frame));
        assert_eq!(value["frame"]["type"], "future", "{value}");
        assert_eq!(value["frame"]["cost"], "1e999", "{value}");
    }

    #[test]
    fn a_frame_that_is_too_large_is_cut_down_to_its_kind_and_length() {
        for what in [Happening::unsolicited(&frame(LARGEST)), Happening::peer_message_held(&frame(LARGEST))] {
            assert!(what.size() < 100, "{}", what.size());
            let value = json_of(&what);
            assert!(value["bytes"].as_u64().is_some_and(|bytes| bytes > LARGEST as u64), "{value}");
            assert_eq!(value.get("frame"), None);
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_two_characters_and_says_so() {
        let long = Happening::Exited { class: "ü".repeat(LARGEST) };
        let Happening::Exited { class } = long.cut() else { panic!("it is what it was") };
        assert!(class.starts_with('ü') && class.ends_with(" bytes more)"), "{}", &class[class.len() - 40..]);
        assert!(class.len() <= TEXT + 40, "{}", class.len());
        let whole = "ü".repeat(TEXT);
        let short = Happening::Exited { class: whole.clone() };
        let Happening::Exited { class } = short.cut() else { panic!("it is what it was") };
        assert_eq!(class, whole, "what is no larger than an event may be is left alone");
    }

    #[test]
    fn a_report_has_the_keys_that_are_promised_null_where_there_is_nothing() {
        let told = Happening::Supervision {
            supervisor: "api".into(),
            context: SupervisionContext::Progress,
            child: Some("alice".into()),
            reason: None,
        };
        let promised = json!({
            "event": "supervision", "supervisor": "api", "context": "progress", "child": "alice", "reason": null,
        });
        assert_eq!(json_of(&told), promised);
    }

    #[test]
    fn each_context_is_written_as_its_word() {
        use SupervisionContext as Is;
        let all = [
            Is::Progress,
            Is::StartError,
            Is::ChildTerminated,
            Is::ShutdownError,
            Is::Shutdown,
            Is::Quarantined,
            Is::Parked,
            Is::Other,
        ];
        for context in all {
            assert_eq!(serde_json::to_value(context).expect("it can be written"), context.as_str());
        }
    }
}
