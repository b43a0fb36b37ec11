//! Views of a turn's stream: the text as it comes, whole messages, tool uses, the final text.
//!
//! Each view borrows the turn and takes only what it yields, so that views may be mixed, and a view may be made anew
//! for every item. What a screen is drawn from, text and all that becomes of it in one, is `text_events`. A sub-agent's inner messages (`parent_tool_use_id`) are not part of the turn's own text.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use treewarden_core::session::Outcome;
use treewarden_proto::frame::{Block, Body, Content, Frame, FrameKind, ToolUseBlock};

use super::error::QueryError;
use super::event::Event;
use super::text_events::TextEvent;
use super::turn::Turn;

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

/// The blocks of a whole message of the main conversation.
pub(super) fn own_blocks(frame: &Frame) -> Vec<Block> {
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

pub(super) use view;

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
