//! What the mock API answers, and the server-sent events that it becomes.
//!
//! It is for one answer to one request. Which answer that is, is the handler's; the wire is the server's.
//!
//! It must never depend on what was asked before: the same request has the same reply by [`Reply::from_words`], so that a turn which is run again
//! is answered as the first time.

use std::time::Duration;

use serde_json::{Value, json};

use super::request::{Request, tags_of};

/// One scripted answer.
///
/// # Examples
///
/// A model that calls a tool once, and then says what came of it:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use std::time::Duration;
///
/// use treewarden_testkit::mock_api::{MockApi, Reply};
///
/// let api = MockApi::builder().reply(|request| {
///     if request.after_tool {
///         Reply::text("the tests pass").stream(3, Duration::from_millis(10))
///     } else {
///         Reply::bash("cargo test")
///     }
/// });
/// let api = api.start().await?;
/// # drop(api);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a reply does nothing until the handler returns it"]
pub struct Reply {
    /// What is said once the delay is over.
    pub(super) body: Body,
    /// How long nothing is sent, not even the status; zero unless told.
    pub(super) delay: Duration,
    /// How many deltas come before the text; none unless told. Calls of tools have none.
    pub(super) deltas: usize,
    /// The pause behind each of those deltas.
    pub(super) gap: Duration,
}

/// The kinds of an answer; a request without a stream gets the same as one message.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Text(String),
    Tool { name: String, input: Value },
    Error(u16),
    Hang,
}

impl Reply {
    fn new(body: Body) -> Self {
        Self { body, delay: Duration::ZERO, deltas: 0, gap: Duration::ZERO }
    }

    /// Answers with this text.
    ///
    /// Deltas of [`stream`](Self::stream) come before it and are a part of the answer, as they are in the API.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Body::Text(text.into()))
    }

    /// Calls a tool with this input.
    ///
    /// Its id is `toolu_<n>` with the number of the request, so that no two calls share one. The CLI runs the call or
    /// refuses it, and asks the model again either way: a handler has to look at [`after_tool`](Request::after_tool), or it calls without end.
    ///
    /// # Examples
    ///
    /// ```
    /// use serde_json::json;
    /// use treewarden_testkit::mock_api::Reply;
    ///
    /// let reply = Reply::tool("Read", json!({ "file_path": "/etc/hostname" }));
    /// # drop(reply);
    /// ```
    pub fn tool(name: impl Into<String>, input: Value) -> Self {
        Self::new(Body::Tool { name: name.into(), input })
    }

    /// Calls the Bash tool with this command.
    ///
    /// The real command does run it, on this machine, if its permissions allow: a test gives it a directory of its own.
    pub fn bash(command: &str) -> Self {
        Self::tool("Bash", json!({ "command": command, "description": "step" }))
    }

    /// Refuses with an API error of this HTTP status, such as 400, 401, 429 or 529.
    ///
    /// The body is the API's error of that status, with the text `scripted`. The real command tries again by itself on those that may pass, such as 529, so
    /// one refusal is several requests. A number that is no HTTP status becomes 500.
    pub fn error(status: u16) -> Self {
        Self::new(Body::Error(status))
    }

    /// Never answers.
    ///
    /// The request is held until the client goes or the [`MockApi`](super::MockApi) is dropped.
    ///
    /// It is how a test holds a turn open for as long as it likes, such as to kill the CLI in it.
    pub fn hang() -> Self {
        Self::new(Body::Hang)
    }

    /// Waits so long before the first byte.
    ///
    /// The request is recorded before, so that a test can wait for it and act while the answer is held back. Not at all by default.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Puts `count` deltas `word0 word1 …`, each followed by `gap`, before the text.
    ///
    /// The whole answer takes `count` times `gap`. It is for what needs an answer that is under way: an interrupt, a kill, a slow reader.
    pub fn stream(mut self, count: usize, gap: Duration) -> Self {
        (self.deltas, self.gap) = (count, gap);
        self
    }

    /// The answer that the words of the prompt ask for.
    ///
    /// It is what a [`MockApi`](super::MockApi) without a handler answers; a handler falls back to it for prompts that are not its own. The
    /// words are those of the [table](super). Without any the answer is three deltas and `answer to <tag>`.
    ///
    /// Of several words `STATUS` counts first, then `HANG`, then `BASH`. Values end at the first character that is no digit; one that is no number counts as not
    /// there.
    ///
    /// # Examples
    ///
    /// ```
    /// use treewarden_testkit::mock_api::{MockApi, Reply};
    ///
    /// let api = MockApi::builder().reply(|request| {
    ///     if request.prompt().contains("overloaded") { Reply::error(529) } else { Reply::from_words(request) }
    /// });
    /// # drop(api);
    /// ```
    pub fn from_words(request: &Request) -> Self {
        let ask = request.prompt();
        let number = |key| digits(ask, key).unwrap_or(0);
        let delay = Duration::from_millis(number("DELAY="));
        let status = number("STATUS=");
        if status != 0 {
            return Self::error(u16::try_from(status).unwrap_or(500));
        }
        if ask.contains("HANG") {
            return Self::hang();
        }
        let command = ask.split_once("BASH=").and_then(|(_, rest)| rest.split_once(";;"));
        // Not behind a tool's result: the words stand in the context still, and the tool would be called
        // without end.
        if let Some((command, _)) = command.filter(|_| !request.after_tool) {
            return Self::bash(command).delay(delay);
        }
        let tag = tags_of(ask).pop().unwrap_or_else(|| "none".into());
        let stream = digits(ask, "STREAM=").and_then(|n| {
            let gap = digits(ask, &format!("STREAM={n}:"))?;
            Some((usize::try_from(n).ok()?, Duration::from_millis(gap)))
        });
        let (count, gap) = stream.unwrap_or((3, Duration::ZERO));
        Self::text(format!("answer to {tag}")).delay(delay).stream(count, gap)
    }

    /// The events of the answer as a stream, and the pause after each.
    ///
    /// `serial` is the number of the request, which the ids of message and call are made of. Errors and hangs have no events: the server answers those
    /// before it asks.
    pub(super) fn events(&self, model: &str, serial: u64) -> Vec<(Value, Duration)> {
        let usage = json!({ "input_tokens": 10, "output_tokens": 5,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0 });
        let start = json!({ "type": "message_start", "message": { "id": format!("msg_{serial}"),
            "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage } });
        let mut events = vec![(start, Duration::ZERO)];
        let mut put = |event, gap| events.push((event, gap));
        let delta = |delta: Value| json!({ "type": "content_block_delta", "index": 0, "delta": delta });
        let block =
            |block: Value| json!({ "type": "content_block_start", "index": 0, "content_block": block });
        let stop = match &self.body {
            Body::Tool { name, input } => {
                let id = format!("toolu_{serial}");
                put(
                    block(json!({ "type": "tool_use", "id": id, "name": name, "input": {} })),
                    Duration::ZERO,
                );
                // The block begins with an empty input, which comes as text behind it: that is how the API
                // streams a call, and the CLI reads no other form.
                let partial = json!({ "type": "input_json_delta", "partial_json": input.to_string() });
                put(delta(partial), Duration::ZERO);
                "tool_use"
            }
            body => {
                put(block(json!({ "type": "text", "text": "" })), Duration::ZERO);
                for n in 0..self.deltas {
                    put(delta(json!({ "type": "text_delta", "text": format!("word{n} ") })), self.gap);
                }
                let text = if let Body::Text(text) = body { text.as_str() } else { "" };
                put(delta(json!({ "type": "text_delta", "text": text })), Duration::ZERO);
                "end_turn"
            }
        };
        put(json!({ "type": "content_block_stop", "index": 0 }), Duration::ZERO);
        put(
            json!({ "type": "message_delta", "delta": { "stop_reason": stop, "stop_sequence": null },
            "usage": { "output_tokens": 5 } }),
            Duration::ZERO,
        );
        put(json!({ "type": "message_stop" }), Duration::ZERO);
        events
    }
}

/// The digits behind the first `key` of the text, as a number; `None` without a key, digits, or room for them.
fn digits(text: &str, key: &str) -> Option<u64> {
    let rest = text.split_once(key)?.1;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
