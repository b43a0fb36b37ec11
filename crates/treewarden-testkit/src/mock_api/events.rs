//! The body of a streamed answer. It runs on its connection's task, and ends with it.
//!
//! ```text
//! message_start ─► content_block_start ─► delta, pause, delta, pause … ─► content_block_stop ─► message_delta ─► message_stop
//! ```
//!
//! It is for the time between events. What they are is decided in `reply.rs`, all of them before the first is sent. It must never hold an event
//! back: a client that waits for the next delta has seen the last one. When the client goes or the server is dropped, the rest is dropped with it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use serde_json::Value;
use tokio::time::Sleep;

/// Server-sent events, each with a pause after it.
pub(super) struct Events {
    /// What is still to be sent, each with the pause behind it.
    left: VecDeque<(Value, Duration)>,
    /// The pause behind the event that was sent last; `None` if it had none, or it is over.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Events {
    pub(super) fn new(events: Vec<(Value, Duration)>) -> Self {
        Self { left: events.into(), pause: None }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    /// One event for each frame, as `event:` and `data:` lines with a blank line behind; `None` ends the body.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = &mut self.pause {
            // The pause comes after its event: the client has the delta while it waits for the next one.
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let Some((event, gap)) = self.left.pop_front() else { return Poll::Ready(None) };
        self.pause = (!gap.is_zero()).then(|| Box::pin(tokio::time::sleep(gap)));
        let name = event["type"].as_str().unwrap_or_default();
        let text = format!("event: {name}\ndata: {event}\n\n");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))))
    }
}
