//! The text of a turn as it comes, what of it is void, its tool calls and its outcome: what a screen is drawn from.
//!
//! It is for one reader, who shows each part of the text once, whether that came in pieces or as a whole. It must never tell a
//! part twice that nobody was told is void. The other views of a turn are in [`super::stream`].

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use memchr::memmem;
use serde_json::Value;
use treewarden_core::session::Outcome;
use treewarden_proto::frame::{Block, Body, Frame, FrameKind, ToolUseBlock};

use super::event::Event;
use super::stream::{own_blocks, view};
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

impl Turn {
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

    /// Notes that the model begins a message; how much of one that never came to its end was told.
    fn begins(&mut self, frame: &Frame) -> usize {
        // Deltas are most of all frames, and were seen to by then.
        if memmem::find(frame.raw(), b"\"message_start\"").is_none() {
            return 0;
        }
        self.streamed = match frame.body() {
            Ok(Body::StreamEvent(begun)) => begun
                .event
                .and_then(|event| event.pointer("/message/id").and_then(Value::as_str).map(str::to_owned)),
            _ => None,
        };
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
