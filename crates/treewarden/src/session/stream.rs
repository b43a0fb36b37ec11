//! Views of a turn's stream: the text as it comes, whole messages, tool uses, the final text.
//!
//! Each view borrows the turn and takes only what it yields, so that views may be mixed, and a view may be made anew
//! for every item. A sub-agent's inner messages (`parent_tool_use_id`) are not part of the turn's own text.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use memchr::memmem;
use serde::Deserialize;
use treewarden_core::session::Outcome;
use treewarden_proto::frame::{Block, Body, Content, Frame, FrameKind, ToolUseBlock};

use super::error::QueryError;
use super::event::Event;
use super::turn::Turn;

/// What a reader of a turn's text is told; see [`Turn::text_events`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TextEvent {
    /// The text goes on with this.
    Text(String),
    /// The model calls a tool.
    ToolUse(ToolUseBlock),
    /// The CLI died and another one carries the turn on: the text so far may come again.
    Resumed {
        /// How often that has happened to this turn.
        interruptions: u32,
    },
    /// The message that was streamed was cut off, as by a connection to the model API that broke, and the CLI asks again: the newest
    /// `bytes` of the text are void, and the model says that part anew.
    CutOff {
        /// How many bytes of the text, as it was told, belong to that message.
        bytes: usize,
    },
    /// The turn is settled; always the last item.
    Outcome(Outcome),
}

/// Everything that a turn came to.
///
/// # Examples
///
/// ```no_run
/// # async fn run(session: treewarden::Session) -> Result<(), Box<dyn std::error::Error>> {
/// let all = session.stream("Which files are tests?").await?.collect().await?;
/// for tool in &all.tool_uses {
///     println!("it called {}", tool.name.as_deref().unwrap_or("a tool"));
/// }
/// println!("{} ({}, {} crashes)", all.text, all.outcome.word(), all.interruptions);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Collected {
    /// The text of all messages, in order.
    pub text: String,
    /// The thinking of all messages, in order.
    pub thinking: String,
    /// The tools that were called.
    pub tool_uses: Vec<ToolUseBlock>,
    /// How many CLIs died while they worked at the turn.
    pub interruptions: u32,
    /// The outcome.
    pub outcome: Outcome,
}

impl Turn {
    /// The text as it comes.
    ///
    /// With `include_partial_messages` these are the deltas of the model; without, the text of each whole message.
    /// After [`Event::Resumed`], and where a message is cut off (both of which this view passes over), text may come again; [`final_text`](Self::final_text)
    /// is not affected. Where no frame told what the answer is, its text comes at the end, whole.
    pub fn text_deltas(&mut self) -> TextDeltas<'_> {
        TextDeltas { turn: self }
    }

    /// The same text, with the tool calls between, the moments at which it begins anew, and the outcome.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(session: treewarden::Session) -> Result<(), Box<dyn std::error::Error>> {
    /// use treewarden::session::TextEvent;
    ///
    /// let mut turn = session.stream("Tell me a story.").await?;
    /// let mut shown = String::new();
    /// while let Some(event) = turn.text_events().next().await {
    ///     match event {
    ///         TextEvent::Text(text) => shown.push_str(&text),
    ///         TextEvent::Resumed { .. } => shown.clear(),
    ///         TextEvent::CutOff { bytes } => shown.truncate(shown.len() - bytes),
    ///         TextEvent::Outcome(outcome) => println!("{shown} ({})", outcome.word()),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn text_events(&mut self) -> TextEvents<'_> {
        TextEvents { turn: self }
    }

    /// The text of each whole message; that of the answer, where no message told it.
    pub fn text(&mut self) -> Text<'_> {
        Text { turn: self }
    }

    /// The tool calls of the model.
    pub fn tool_uses(&mut self) -> ToolUses<'_> {
        ToolUses { turn: self, pending: Vec::new() }
    }

    /// The frames of the turn up to and including its result.
    pub fn until_result(&mut self) -> Frames<'_> {
        Frames { turn: self }
    }

    /// Waits for the final text of the answer.
    ///
    /// # Errors
    ///
    /// As [`answer`](Self::answer).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the turn, which interrupts it.
    pub async fn final_text(self) -> Result<String, QueryError> {
        self.answer().await.map(|answer| answer.text)
    }

    /// Waits for the outcome and gathers what came before it.
    ///
    /// What a CLI that died had streamed is not counted twice: only messages of the last attempt are kept.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if the session ended before the turn did.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the turn, which interrupts it.
    pub async fn collect(mut self) -> Result<Collected, QueryError> {
        let (mut text, mut thinking, mut tool_uses, mut died) = (String::new(), String::new(), Vec::new(), 0);
        while let Some(event) = self.next().await {
            match event {
                Event::Frame(frame) => {
                    for block in own_blocks(&frame) {
                        match block {
                            Block::Text(block) => text.push_str(&block.text.unwrap_or_default()),
                            Block::Thinking(block) => {
                                thinking.push_str(&block.thinking.unwrap_or_default());
                            }
                            Block::ToolUse(tool) => tool_uses.push(tool),
                            _ => {}
                        }
                    }
                }
                Event::Resumed { interruptions } => {
                    // The CLI that died takes with it what it had said: the next one says its own.
                    died = interruptions;
                    text.clear();
                    thinking.clear();
                    tool_uses.clear();
                }
                Event::Outcome(outcome) => {
                    text.extend(self.untold(&outcome));
                    return Ok(Collected { text, thinking, tool_uses, interruptions: died, outcome });
                }
            }
        }
        // The stream ended without an outcome: `outcome` says why.
        let interruptions = died;
        let outcome = self.outcome().await?;
        Ok(Collected { text, thinking, tool_uses, interruptions, outcome })
    }
}

impl Turn {
    /// Notes the tool calls of a whole message, and returns the text that nobody was told yet.
    fn take_message(&mut self, frame: &Frame) -> String {
        // Without partial messages the text comes here first. With them this message repeats what came as deltas, and need
        // not be read for its text, which may be long.
        let is_told = std::mem::take(&mut self.told) > 0;
        let mut text = String::new();
        if is_told && memmem::find(frame.raw(), b"\"tool_use\"").is_none() {
            return text;
        }
        for block in own_blocks(frame) {
            match block {
                Block::Text(block) if !is_told => text.push_str(&block.text.unwrap_or_default()),
                Block::ToolUse(tool) => self.tools.push_back(tool),
                _ => {}
            }
        }
        text
    }
}

impl Turn {
    /// Notes that the model begins a message; how much of one that never came to its end was told.
    fn begins(&mut self, frame: &Frame) -> usize {
        // Deltas are most of all frames, and were seen to by then.
        if memmem::find(frame.raw(), b"\"message_start\"").is_none() {
            return 0;
        }
        let id = serde_json::from_slice::<Begun>(frame.raw()).ok().and_then(|begun| begun.event.message.id);
        self.streamed = id;
        std::mem::take(&mut self.told)
    }

    /// How much was told of a message that this whole one is not, and which never came to its end: the CLI asked once more,
    /// without streaming.
    fn cut_off_by(&mut self, frame: &Frame) -> usize {
        let is_other =
            self.streamed.as_ref().is_some_and(|id| memmem::find(frame.raw(), id.as_bytes()).is_none());
        if is_other { std::mem::take(&mut self.told) } else { 0 }
    }
}

/// What a `message_start` says of its message.
#[derive(Deserialize)]
struct Begun {
    event: BegunEvent,
}

#[derive(Deserialize)]
struct BegunEvent {
    message: BegunMessage,
}

#[derive(Deserialize)]
struct BegunMessage {
    id: Option<String>,
}

/// The blocks of a whole message of the main conversation.
fn own_blocks(frame: &Frame) -> Vec<Block> {
    if frame.kind() != FrameKind::Assistant || frame.parent_tool_use_id().is_some() {
        return Vec::new();
    }
    match frame.body() {
        // The CLI's own words, in the model's name: the turn may still be gone on with.
        Ok(Body::Assistant(assistant)) if assistant.is_api_error_message == Some(true) => Vec::new(),
        Ok(Body::Assistant(assistant)) => match assistant.message.and_then(|message| message.content) {
            Some(Content::Blocks(blocks)) => blocks,
            Some(Content::Text(text)) => vec![Block::text(text)],
            None => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn own_text(frame: &Frame) -> Option<String> {
    let texts: Vec<String> = own_blocks(frame)
        .into_iter()
        .filter_map(|block| match block {
            Block::Text(block) => block.text,
            _ => None,
        })
        .collect();
    if texts.is_empty() { None } else { Some(texts.concat()) }
}

macro_rules! view {
    ($(#[$doc:meta])* $name:ident, $item:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        #[must_use = "views do nothing unless they are polled"]
        pub struct $name<'a> {
            turn: &'a mut Turn,
        }

        impl $name<'_> {
            /// Waits for the next item; `None` at the end of the turn.
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost when the future is dropped.
            pub async fn next(&mut self) -> Option<$item> {
                std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
            }
        }
    };
}

view! {
    /// The text of a turn, its tool calls, where it begins anew, and the outcome; see [`Turn::text_events`].
    TextEvents, TextEvent
}

impl Stream for TextEvents<'_> {
    type Item = TextEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TextEvent>> {
        loop {
            if let Some(tool) = self.turn.tools.pop_front() {
                return Poll::Ready(Some(TextEvent::ToolUse(tool)));
            }
            let Some(event) = ready!(Pin::new(&mut *self.turn).poll_next(cx)) else {
                return Poll::Ready(None);
            };
            let frame = match event {
                Event::Frame(frame) => frame,
                Event::Outcome(outcome) => {
                    let Some(text) = self.turn.untold(&outcome) else {
                        return Poll::Ready(Some(TextEvent::Outcome(outcome)));
                    };
                    // Two items of one event: the second comes next, from whichever view is asked.
                    self.turn.put_back(Event::Outcome(outcome));
                    return Poll::Ready(Some(TextEvent::Text(text)));
                }
                Event::Resumed { interruptions } => {
                    return Poll::Ready(Some(TextEvent::Resumed { interruptions }));
                }
            };
            match frame.kind() {
                FrameKind::StreamEvent if frame.parent_tool_use_id().is_none() => {
                    if let Some(text) = frame.text_delta() {
                        self.turn.told += text.len();
                        return Poll::Ready(Some(TextEvent::Text(text.into_owned())));
                    }
                    // A whole message comes before the next begins. With text that no whole message told, the model says it again.
                    let bytes = self.turn.begins(&frame);
                    if bytes > 0 {
                        return Poll::Ready(Some(TextEvent::CutOff { bytes }));
                    }
                }
                // A sub-agent's comes between the deltas of the conversation's own, and is none of them.
                FrameKind::Assistant if frame.parent_tool_use_id().is_none() => {
                    let bytes = self.turn.cut_off_by(&frame);
                    if bytes > 0 {
                        self.turn.put_back(Event::Frame(frame));
                        return Poll::Ready(Some(TextEvent::CutOff { bytes }));
                    }
                    let text = self.turn.take_message(&frame);
                    if !text.is_empty() {
                        return Poll::Ready(Some(TextEvent::Text(text)));
                    }
                }
                _ => {}
            }
        }
    }
}

view! {
    /// The text of a turn as it comes; see [`Turn::text_deltas`].
    TextDeltas, String
}

impl Stream for TextDeltas<'_> {
    type Item = String;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<String>> {
        let mut events = self.turn.text_events();
        loop {
            match ready!(Pin::new(&mut events).poll_next(cx)) {
                Some(TextEvent::Text(text)) => return Poll::Ready(Some(text)),
                Some(_) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

view! {
    /// The text of each whole message of a turn; see [`Turn::text`].
    Text, String
}

impl Stream for Text<'_> {
    type Item = String;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<String>> {
        loop {
            match ready!(Pin::new(&mut *self.turn).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Event::Frame(frame)) => {
                    if let Some(text) = own_text(&frame) {
                        return Poll::Ready(Some(text));
                    }
                }
                Some(Event::Outcome(outcome)) => {
                    if let Some(text) = self.turn.untold(&outcome) {
                        return Poll::Ready(Some(text));
                    }
                }
                Some(Event::Resumed { .. }) => {}
            }
        }
    }
}

view! {
    /// The frames of a turn; see [`Turn::until_result`].
    Frames, Frame
}

impl Stream for Frames<'_> {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        loop {
            match ready!(Pin::new(&mut *self.turn).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Event::Frame(frame)) => return Poll::Ready(Some(frame)),
                Some(_) => {}
            }
        }
    }
}

/// The tool calls of a turn; see [`Turn::tool_uses`].
#[derive(Debug)]
#[must_use = "views do nothing unless they are polled"]
pub struct ToolUses<'a> {
    turn: &'a mut Turn,
    pending: Vec<ToolUseBlock>,
}

impl ToolUses<'_> {
    /// Waits for the next tool call; `None` at the end of the turn.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<ToolUseBlock> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for ToolUses<'_> {
    type Item = ToolUseBlock;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ToolUseBlock>> {
        loop {
            if let Some(tool) = self.pending.pop() {
                return Poll::Ready(Some(tool));
            }
            match ready!(Pin::new(&mut *self.turn).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Event::Frame(frame)) => {
                    self.pending = own_blocks(&frame)
                        .into_iter()
                        .filter_map(|block| match block {
                            Block::ToolUse(tool) => Some(tool),
                            _ => None,
                        })
                        .collect();
                    // `pop` takes from the end, and the first tool use is to come first.
                    self.pending.reverse();
                }
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use treewarden_proto::TurnId;

    use super::super::sink::{Ended, Sink};
    use super::super::turn::Interrupt;
    use super::*;

    struct Nobody;

    impl Interrupt for Nobody {
        fn interrupt(&self, _: TurnId) {}
    }

    fn begins(id: &str) -> String {
        format!(r#"{{"type":"stream_event","event":{{"type":"message_start","message":{{"id":"{id}"}}}}}}"#)
    }

    fn delta(text: &str) -> String {
        let delta = format!(r#"{{"type":"text_delta","text":"{text}"}}"#);
        format!(
            r#"{{"type":"stream_event","event":{{"type":"content_block_delta","index":0,"delta":{delta}}}}}"#
        )
    }

    fn whole(id: &str, text: &str) -> String {
        let content = format!(r#"[{{"type":"text","text":"{text}"}}]"#);
        format!(r#"{{"type":"assistant","message":{{"id":"{id}","role":"assistant","content":{content}}}}}"#)
    }

    /// What a reader shows who goes by the text, and how many bytes were void each time.
    async fn shown(frames: &[String]) -> (String, Vec<usize>) {
        let sink = Arc::new(Sink::new(false));
        let frame = |line: &String| Event::Frame(Frame::parse(line.clone().into()).expect("a frame"));
        sink.push(frames.iter().map(frame));
        sink.finish(Ended::Left("over".to_owned()));
        let mut turn = Turn::new(TurnId::new(), Arc::new(Nobody), sink);
        let (mut shown, mut cut) = (String::new(), Vec::new());
        while let Some(event) = turn.text_events().next().await {
            match event {
                TextEvent::Text(text) => shown.push_str(&text),
                TextEvent::CutOff { bytes } => {
                    shown.truncate(shown.len() - bytes);
                    cut.push(bytes);
                }
                other => panic!("{other:?}"),
            }
        }
        (shown, cut)
    }

    #[tokio::test]
    async fn a_message_that_is_cut_off_and_streamed_again_is_shown_once() {
        let frames = [
            begins("m1"),
            delta("one "),
            whole("m1", "one "),
            begins("m2"),
            delta("to"),
            r#"{"type":"system","subtype":"api_retry"}"#.to_owned(),
            begins("m3"),
            delta("two"),
            whole("m3", "two"),
        ];
        assert_eq!(shown(&frames).await, ("one two".to_owned(), vec![2]));
    }

    #[tokio::test]
    async fn a_message_that_is_cut_off_and_comes_again_as_a_whole_is_shown() {
        let frames = [begins("m1"), delta("TORN-HALF"), whole("m2", "the answer")];
        assert_eq!(shown(&frames).await, ("the answer".to_owned(), vec![9]));
    }

    #[tokio::test]
    async fn what_a_sub_agent_says_between_the_deltas_is_no_whole_message_of_theirs() {
        let of_another = whole("m9", "aside").replacen(r#""type""#, r#""parent_tool_use_id":"t","type""#, 1);
        let frames = [begins("m1"), delta("one"), of_another, delta(" two"), whole("m1", "one two")];
        assert_eq!(shown(&frames).await, ("one two".to_owned(), vec![]));
    }

    #[tokio::test]
    async fn a_cli_that_names_no_message_is_shown_as_it_says() {
        let nameless = r#"{"type":"stream_event","event":{"type":"message_start","message":{}}}"#.to_owned();
        let frames = [nameless, delta("one"), whole("m1", "one"), delta("two"), whole("m2", "two")];
        assert_eq!(shown(&frames).await, ("onetwo".to_owned(), vec![]));
    }
}
