//! A recorded request, and what it says about the context that the model saw.
//!
//! It is for asking what the model was told, which is more than the CLI says it sent: a prompt that was lost, doubled or woven in shows
//! here. It must never show a secret: headers that hold one are dropped before anything is recorded.
//!
//! ```text
//! body.messages:  user "PROMPT-a …" · assistant · user tool_result · system "The user sent a new message …: PROMPT-b" · assistant · user "PROMPT-c"
//! tags:           [PROMPT-a]                      []                 [PROMPT-b]                                                   [PROMPT-c]
//! ```
//!
//! The texts of a long conversation are large, and each request repeats all of it: so they stand in [`Content`], which only the newest requests keep,
//! and the tags of all requests are kept.

use std::sync::Arc;

use serde_json::{Value, json};

/// One request to the mock API, as it came.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The path, without the query.
    pub path: String,
    /// The model that was asked for.
    ///
    /// The empty text if the body names none.
    pub model: String,
    /// How many messages the context has.
    ///
    /// Those of the model and of tools are counted too.
    pub messages: usize,
    /// The `PROMPT-…` words of each user message of the context, in order.
    ///
    /// A word goes from `PROMPT-` to the next blank. A test that gives each prompt one of its own reads the conversation off them.
    pub tags: Vec<Vec<String>>,
    /// Whether the context ends with a tool's result.
    ///
    /// System messages behind it do not count. A handler that calls tools looks here for whether it did so already.
    pub after_tool: bool,
    /// Whether a stream was asked for.
    ///
    /// The turns of the real command do; some of its own business does not.
    pub stream: bool,
    /// Whether this is the CLI's own business (a title, a summary, a count): not a turn of the conversation.
    ///
    /// The [table](super#what-is-the-clis-own-business) says how it is told.
    pub background: bool,
    /// What only the newest requests keep: see [`MockApiBuilder::keep_bodies`](super::MockApiBuilder::keep_bodies).
    pub content: Option<Arc<Content>>,
}

/// The parts of a request that can be large.
///
/// # Examples
///
/// What else a request said, such as its system prompt, is in the body:
///
/// ```
/// use treewarden_testkit::mock_api::Request;
///
/// fn system_prompt(request: &Request) -> Option<String> {
///     let content = request.content.as_ref()?;
///     Some(content.body["system"][0]["text"].as_str()?.to_owned())
/// }
/// # let _used = system_prompt;
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Content {
    /// The headers, without those that hold secrets.
    ///
    /// Names are in small letters, in the order in which they came. `authorization`, `x-api-key` and `cookie` are left out.
    pub headers: Vec<(String, String)>,
    /// The texts of the user messages of the context, in order.
    ///
    /// One for each message, with a line end between its blocks; empty for a message that is a tool's result alone. A prompt that the CLI wove into a
    /// running turn is among them.
    pub users: Vec<String>,
    /// The body; `null` if it was not JSON.
    pub body: Value,
}

impl Request {
    /// Reads a request as it came; what is missing from the body counts as empty, so that a body which is no JSON is recorded too.
    pub(super) fn new(path: &str, headers: Vec<(String, String)>, body: Value) -> Self {
        let empty = Vec::new();
        let messages = body["messages"].as_array().unwrap_or(&empty);
        let users: Vec<_> = messages.iter().filter(|m| is_the_users(m)).map(text_of).collect();
        // System messages may follow what the user or a tool said.
        let last = messages.iter().rev().find(|m| m["role"] != "system");
        let blocks = last.and_then(|m| m["content"].as_array());
        let stream = body["stream"] == true;
        Self {
            path: path.to_owned(),
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            messages: messages.len(),
            tags: users.iter().map(|text| tags_of(text)).collect(),
            after_tool: blocks.is_some_and(|blocks| blocks.iter().any(|b| b["type"] == "tool_result")),
            background: !stream || path.ends_with("count_tokens") || is_own_business(&users),
            stream,
            content: Some(Arc::new(Content { headers, users, body })),
        }
    }

    /// The text that steers the answer: the newest that holds `PROMPT`, else the newest.
    ///
    /// It is empty once the content is no longer kept.
    ///
    /// A prompt with that word steers each request of a turn with tools. One without it steers the first alone: behind a tool's result the
    /// newest text is that message's, which is empty.
    pub fn prompt(&self) -> &str {
        let users = self.content.as_ref().map_or(&[][..], |content| &content.users);
        let tagged = users.iter().rev().find(|u| u.contains("PROMPT"));
        tagged.or_else(|| users.last()).map_or("", String::as_str)
    }

    /// The `PROMPT-…` words of the whole context, in order, each as often as it stands there.
    pub fn all_tags(&self) -> Vec<String> {
        self.tags.iter().flatten().cloned().collect()
    }

    /// The line of the log: the tags, without anything that a prompt or a header says.
    pub(super) fn log_line(&self, seconds: f64) -> String {
        let line = json!({ "t": seconds, "users": self.tags, "n": self.messages, "model": self.model,
            "after_tool": self.after_tool, "stream": self.stream, "background": self.background });
        format!("{line}\n")
    }
}

/// Whether the newest text is one that the CLI writes for itself, as 2.1.197 and 2.1.330 do.
///
/// Neither the tools nor the model tell: a conversation may have no tools, and a title is asked of
/// the conversation's own model.
fn is_own_business(users: &[String]) -> bool {
    let own = [
        // A title for the session.
        "<session>\n",
        "<system-reminder>This is a side question from the user.",
        // The summary of a compaction.
        "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.",
    ];
    users.last().is_some_and(|text| own.iter().any(|start| text.starts_with(start)))
}

/// Whether the message has what the user said: its own, or one in which 2.1.332 tells the model of a prompt that came
/// while it worked.
fn is_the_users(message: &Value) -> bool {
    let woven = || text_of(message).starts_with("The user sent a new message while you were working:");
    message["role"] == "user" || (message["role"] == "system" && woven())
}

/// The words of the text that begin with `PROMPT-`, each up to the next blank, also in the middle of another word.
pub(super) fn tags_of(text: &str) -> Vec<String> {
    let starts = text.match_indices("PROMPT-").map(|(at, _)| &text[at..]);
    starts.filter_map(|rest| rest.split_whitespace().next()).map(str::to_owned).collect()
}

/// The text blocks of a message, with line ends between; other blocks are left out.
fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::Array(blocks) => {
            blocks.iter().filter_map(|b| b["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}
