//! A recorded request, and what it says about the context that the model saw.

use serde_json::Value;

/// One request to the mock API, as it came.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The path, without the query.
    pub path: String,
    /// The model that was asked for.
    pub model: String,
    /// The texts of the user messages of the context, in order.
    pub users: Vec<String>,
    /// Whether the last message holds a tool's result.
    pub after_tool: bool,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Whether this is the CLI's own business (a title, a count): not a turn of the conversation.
    pub background: bool,
    /// The headers, without those that hold secrets.
    pub headers: Vec<(String, String)>,
    /// The body; `null` if it was not JSON.
    pub body: Value,
}

impl Request {
    pub(super) fn new(path: &str, headers: Vec<(String, String)>, body: Value) -> Self {
        let empty = Vec::new();
        let messages = body["messages"].as_array().unwrap_or(&empty);
        let users = messages.iter().filter(|m| m["role"] == "user").map(text_of).collect();
        let after_tool = messages
            .last()
            .and_then(|m| m["content"].as_array())
            .is_some_and(|blocks| blocks.iter().any(|b| b["type"] == "tool_result"));
        let stream = body["stream"] == true;
        // A turn of the conversation is streamed and offers tools; the CLI's own questions are not.
        let tools = body["tools"].as_array().is_some_and(|t| !t.is_empty());
        Self {
            path: path.to_owned(),
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            background: !stream || !tools || path.ends_with("count_tokens"),
            users,
            after_tool,
            stream,
            headers,
            body,
        }
    }

    /// The text that steers the answer: the newest that holds `PROMPT`, else the newest.
    pub fn prompt(&self) -> &str {
        let tagged = self.users.iter().rev().find(|u| u.contains("PROMPT"));
        tagged.or_else(|| self.users.last()).map_or("", String::as_str)
    }

    /// The `PROMPT-…` words of the whole context, in order, each as often as it stands there.
    pub fn tags(&self) -> Vec<String> {
        self.users.iter().flat_map(|u| tags_of(u)).collect()
    }
}

pub(super) fn tags_of(text: &str) -> Vec<String> {
    let starts = text.match_indices("PROMPT-").map(|(at, _)| &text[at..]);
    starts.filter_map(|rest| rest.split_whitespace().next()).map(str::to_owned).collect()
}

fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::Array(blocks) => {
            blocks.iter().filter_map(|b| b["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}
