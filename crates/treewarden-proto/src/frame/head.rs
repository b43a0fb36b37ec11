//! The frame and its head: the fields that decide where a line goes, found in one pass.
//!
//! The head holds positions in the line, never copies. What it does not need is skipped without being decoded.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::repair::{json_text, repair};
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

/// Where a JSON value stands in the line; an empty span is an absent one.
///
/// Frames are moved several times on their way to a consumer, so that their size counts.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
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
        match std::str::from_utf8(&line) {
            Ok(text) => {
                let head = Head::read(text).map_err(|reason| NotAFrame::new(reason, line.len()))?;
                Ok(Self::new(&head, line.clone()))
            }
            Err(_) => {
                let line = Bytes::from(repair(&line));
                let text = std::str::from_utf8(&line).map_err(|e| NotAFrame::new(e, line.len()))?;
                let head = Head::read(text).map_err(|reason| NotAFrame::new(reason, line.len()))?;
                Ok(Self::new(&head, line.clone()))
            }
        }
    }

    /// The line as it was read.
    pub fn raw(&self) -> &Bytes {
        &self.line
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

    fn new(head: &Head<'_>, line: Bytes) -> Self {
        let base = line.as_ptr() as usize;
        let span = |json: Option<&str>| {
            json.map_or_else(Span::default, |json| {
                let start = (json.as_ptr() as usize).saturating_sub(base);
                // What stands beyond 4 GiB is as good as absent.
                match (u32::try_from(start), u32::try_from(start + json.len())) {
                    (Ok(start), Ok(end)) => Span { start, end },
                    _ => Span::default(),
                }
            })
        };
        let kind_name = head.kind.and_then(json_text).unwrap_or_default();
        let subtype_name = head.subtype.and_then(json_text);
        Self {
            kind: FrameKind::from_names(&kind_name, subtype_name.as_deref()),
            turns: head.turns(),
            spans: Spans {
                kind: span(head.kind),
                subtype: span(head.subtype),
                uuid: span(head.uuid),
                session_id: span(head.session_id),
                parent_tool_use_id: span(head.parent_tool_use_id),
                origin_kind: span(head.origin_kind),
                text_delta: span(head.text_delta()),
            },
            line,
        }
    }

    fn text(&self, span: Span) -> Option<Cow<'_, str>> {
        let json = std::str::from_utf8(self.line.get(span.start as usize..span.end as usize)?).ok()?;
        json_text(json)
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
    fn new(reason: impl fmt::Display, len: usize) -> Self {
        Self { reason: reason.to_string(), len }
    }
}
