//! What the host says to the model: prompts, each one line.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::TurnId;
pub use crate::acts::acts;
use crate::frame::Content;
use crate::line::line;

/// When a prompt runs that is sent while another one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// At once: the running turn is ended.
    Now,
    /// At the next tool boundary, as a part of the running turn.
    Next,
    /// After the running turn.
    Later,
}

impl Priority {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Next => "next",
            Self::Later => "later",
        }
    }
}

/// A prompt for the CLI.
///
/// # Examples
///
/// ```
/// use treewarden_proto::{TurnId, input::UserFrame};
///
/// let line = UserFrame::new(TurnId::new(), "My name is Alice").encode();
/// assert!(line.ends_with(b"\n"));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UserFrame {
    /// The turn.
    pub uuid: TurnId,
    /// What is said.
    pub content: Content,
    /// When it runs; the CLI's default if unset.
    pub priority: Option<Priority>,
    /// Whether the model is asked, or the text only put into the conversation.
    pub should_query: bool,
    /// Whether the text is taken as it is: no commands, no `@path`. Needed for text of others; an old CLI does not know it, and
    /// [`acts`] on the text all the same.
    pub client_composed: bool,
    /// More fields, as they are.
    pub extra: Map<String, Value>,
}

impl UserFrame {
    /// A prompt that asks the model.
    pub fn new(uuid: TurnId, content: impl Into<Content>) -> Self {
        let content = content.into();
        Self { uuid, content, priority: None, should_query: true, client_composed: false, extra: Map::new() }
    }

    /// Sets when it runs.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets whether the model is asked.
    #[must_use]
    pub fn should_query(mut self, query: bool) -> Self {
        self.should_query = query;
        self
    }

    /// Sets whether the text is taken as it is.
    #[must_use]
    pub fn client_composed(mut self, verbatim: bool) -> Self {
        self.client_composed = verbatim;
        self
    }

    /// The prompt as one line, with its line end.
    pub fn encode(&self) -> Bytes {
        let fields = Fields {
            kind: "user",
            uuid: self.uuid,
            message: Message { role: "user", content: &self.content },
            parent_tool_use_id: None,
            // Empty, as the SDKs send it: a CLI has one conversation.
            session_id: "",
            priority: self.priority.map(Priority::as_str),
            should_query: (!self.should_query).then_some(false),
            client_composed: self.client_composed.then_some(true),
        };
        if self.extra.is_empty() {
            return line(&fields);
        }
        // The frame's own fields come last and win: a `user` line without `message` or `role` ends the whole
        // CLI.
        let mut frame = self.extra.clone();
        if let Ok(Value::Object(fields)) = serde_json::to_value(&fields) {
            frame.extend(fields);
        }
        line(&frame)
    }
}

/// The frame's own fields on the wire.
#[derive(Serialize)]
struct Fields<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    uuid: TurnId,
    message: Message<'a>,
    parent_tool_use_id: Option<&'a str>,
    session_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'a str>,
    #[serde(rename = "shouldQuery", skip_serializing_if = "Option::is_none")]
    should_query: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_composed: Option<bool>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a Content,
}
