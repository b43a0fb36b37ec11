//! The frame and its head: the fields that decide where a line goes, found in one pass.
//!
//! The head holds positions in the line, never copies. What it does not need is skipped without being decoded.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Error as _, IgnoredAny};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::Span;
use super::repair::repair;
use super::scan::Head;
use super::{FrameKind, TurnIds};
use crate::{SessionId, TurnId};

/// One line of the CLI's output: the raw bytes and a decoded head.
///
/// # Examples
///
/// ```
/// use treewarden_proto::frame::{Frame, FrameKind};
///
/// let line = br#"{"uuid":"1","type":"future_thing","x":1}"#;
/// let frame = Frame::parse(bytes::Bytes::from_static(line))?;
/// assert_eq!(frame.kind(), FrameKind::Unknown);
/// assert_eq!(frame.type_name(), "future_thing");
/// # Ok::<(), treewarden_proto::frame::NotAFrame>(())
/// ```
#[derive(Clone)]
pub struct Frame {
    line: Bytes,
    kind: FrameKind,
    spans: Spans,
    turns: TurnIds,
}

/// A line that is not a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a frame: {reason} in a line of {len} bytes")]
pub struct NotAFrame {
    reason: String,
    len: usize,
}

#[derive(Clone, Copy, Default)]
struct Spans {
    kind: Span,
    subtype: Span,
    uuid: Span,
    session_id: Span,
    parent_tool_use_id: Span,
    origin_kind: Span,
    text_delta: Span,
}

impl Frame {
    /// Reads one line; a trailing line end is allowed.
    ///
    /// Bytes that are not UTF-8 and lone surrogate escapes, which would make the line unreadable, are replaced
    /// with U+FFFD; any other line is kept as it is, without a copy.
    ///
    /// # Errors
    ///
    /// [`NotAFrame`] if the line is not one JSON object.
    pub fn parse(line: Bytes) -> Result<Self, NotAFrame> {
        // Before the head is read: its places are places in the mended line, which may be longer than the one
        // that came.
        let line = if is_utf8(&line) { line } else { Bytes::from(repair(&line)) };
        match Head::read(&line) {
            Some(head) => Ok(Self::new(&head, line)),
            None => Err(NotAFrame::new(&line)),
        }
    }

    /// The line as it was read.
    pub fn raw(&self) -> &Bytes {
        &self.line
    }

    /// The line as text, which is one JSON object.
    pub fn json(&self) -> &str {
        std::str::from_utf8(&self.line).expect("a line that is no UTF-8 is repaired before it is read")
    }

    /// The same frame in memory of its own.
    ///
    /// Lines that were read together share their memory, so that one that is kept keeps all of them.
    #[must_use]
    pub fn unshared(&self) -> Self {
        // A buffer of lines lives as long as one of them: an answer that is stored would keep all that was
        // printed with it.
        Self { line: Bytes::copy_from_slice(&self.line), ..self.clone() }
    }

    /// What kind of frame it is.
    pub const fn kind(&self) -> FrameKind {
        self.kind
    }

    /// Whether its type, or the subtype of a `system` frame, is unknown to this version.
    pub const fn is_unknown(&self) -> bool {
        self.kind.is_unknown()
    }

    /// Its `type`; empty if it has none.
    pub fn type_name(&self) -> Cow<'_, str> {
        self.text(self.spans.kind).unwrap_or_default()
    }

    /// Its `subtype`.
    pub fn subtype(&self) -> Option<Cow<'_, str>> {
        self.text(self.spans.subtype)
    }

    /// The id of the frame itself; for an echoed prompt, that of the turn.
    pub fn uuid(&self) -> Option<Cow<'_, str>> {
        self.text(self.spans.uuid)
    }

    /// The `uuid` as the id of a turn, if it is a UUID.
    pub fn uuid_as_turn(&self) -> Option<TurnId> {
        self.uuid()?.parse().ok()
    }

    /// The session that the frame belongs to, if it names one by a UUID.
    pub fn session_id(&self) -> Option<SessionId> {
        self.text(self.spans.session_id)?.parse().ok()
    }

    /// The tool call whose sub-agent wrote the frame.
    pub fn parent_tool_use_id(&self) -> Option<Cow<'_, str>> {
        self.text(self.spans.parent_tool_use_id)
    }

    /// The turns that the frame says it answers: `user_message_uuid` and `user_message_uuids`, merged.
    ///
    /// Ids that are not UUIDs are none of ours, and are left out.
    pub fn turns(&self) -> &TurnIds {
        &self.turns
    }

    /// The `kind` of its `origin`, for what was not asked by this host.
    pub fn origin_kind(&self) -> Option<Cow<'_, str>> {
        self.text(self.spans.origin_kind)
    }

    /// The text that a `stream_event` adds to the answer, if it is a text delta.
    ///
    /// It borrows from the line unless the text has escapes.
    pub fn text_delta(&self) -> Option<Cow<'_, str>> {
        if self.kind == FrameKind::StreamEvent { self.text(self.spans.text_delta) } else { None }
    }

    fn new(head: &Head, line: Bytes) -> Self {
        let subtype = head.subtype.text(&line);
        Self {
            // An absent type is an empty name, which is unknown: the frame is kept raw.
            kind: FrameKind::from_names(&head.kind.text(&line).unwrap_or_default(), subtype.as_deref()),
            turns: head.turns(&line),
            spans: Spans {
                kind: head.kind,
                subtype: head.subtype,
                uuid: head.uuid,
                session_id: head.session_id,
                parent_tool_use_id: head.parent_tool_use_id,
                origin_kind: head.origin_kind,
                text_delta: head.text_delta(&line),
            },
            line,
        }
    }

    fn text(&self, span: Span) -> Option<Cow<'_, str>> {
        span.text(&self.line)
    }
}

fn is_utf8(line: &[u8]) -> bool {
    // Nearly all lines are ASCII, which shows without a branch for each byte.
    line.iter().fold(0, |all, byte| all | byte) < 0x80 || std::str::from_utf8(line).is_ok()
}

impl Serialize for Frame {
    /// Writes the line as it came; only `serde_json` can.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(self.json()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line: Box<str> = Box::<RawValue>::deserialize(deserializer)?.into();
        Self::parse(Bytes::from(line.into_boxed_bytes())).map_err(D::Error::custom)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("kind", &self.kind)
            .field("type", &self.type_name())
            .field("subtype", &self.subtype())
            .field("len", &self.line.len())
            .finish_non_exhaustive()
    }
}

impl NotAFrame {
    fn new(line: &[u8]) -> Self {
        // Read once more, since the cursor knows no reasons; such a line is rare.
        let reason = match serde_json::from_slice::<IgnoredAny>(line) {
            Ok(_) => "it is not a JSON object".to_owned(),
            Err(error) => error.to_string(),
        };
        Self { reason, len: line.len() }
    }
}
