//! A turn as its caller holds it: a stream of events that ends with the outcome.
//!
//! It is for reading, and for ending the turn. It settles nothing: the outcome is the session's, and is stored whoever reads. It must
//! never have a CLI wait for a reader who reads no more.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use memchr::memmem;
use treewarden_core::session::{Answer, Outcome};
use treewarden_proto::TurnId;
use treewarden_proto::frame::{FrameKind, ToolUseBlock};

use super::delivered::Delivered;
use super::error::{QueryError, QueryErrorKind};
use super::event::Event;
use super::sink::{Ended, Sink};

/// Whoever can end a turn: its session, as far as a turn has to know it.
pub(crate) trait Interrupt: Send + Sync {
    /// Cancels the turn if it waits, and interrupts it if it runs.
    fn interrupt(&self, turn: TurnId);
}

/// One prompt on its way to its outcome, as a stream of [`Event`]s.
///
/// The stream's last item is always [`Event::Outcome`], unless the session itself ends first; then the stream ends
/// and [`outcome`](Self::outcome) says so. The stream buffers up to 1 MiB of frames; while it is full, the CLI is
/// made to wait, and nothing is dropped. From the moment when the turn is interrupted its CLI no longer waits: then the
/// frames for which there is no room are dropped, all from the first of them on, and the result and the outcome follow.
///
/// Dropping a turn before its end interrupts it: the session drains it to its result before the next turn begins.
/// [`detach`](Self::detach) lets it run on instead.
///
/// # Examples
///
/// ```no_run
/// use treewarden::session::{Event, Outcome};
/// use treewarden::Session;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let mut turn = Session::named("assistant").stream("Explain ownership in Rust.").await?;
/// while let Some(event) = turn.next().await {
///     match event {
///         Event::Frame(frame) => println!("a line of the CLI, of the type {}", frame.type_name()),
///         Event::Resumed { .. } => println!("its CLI died, and another one carries it on"),
///         Event::Outcome(Outcome::Completed(answer)) => println!("{answer}"),
///         Event::Outcome(other) => println!("no answer: {other:?}"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Turn {
    id: TurnId,
    session: Arc<dyn Interrupt>,
    sink: Arc<Sink>,
    batch: VecDeque<Event>,
    ended: Option<Ended>,
    detached: bool,
    delivered: bool,
    /// How many bytes of text came as deltas since the last whole message.
    pub(super) told: usize,
    /// The name of the message that is being streamed.
    pub(super) streamed: Option<String>,
    /// Tool calls of a message whose text was told, for the view that tells both.
    pub(super) tools: VecDeque<ToolUseBlock>,
    /// Text of the model's came since the last CLI that died: a view of the text owes nothing more at the outcome.
    pub(super) saw_text: bool,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("id", &self.id).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Turn {
    pub(super) fn new(id: TurnId, session: Arc<dyn Interrupt>, sink: Arc<Sink>) -> Self {
        Self {
            id,
            session,
            sink,
            batch: VecDeque::new(),
            ended: None,
            detached: false,
            delivered: false,
            told: 0,
            streamed: None,
            tools: VecDeque::new(),
            saw_text: false,
        }
    }

    /// A turn that somebody else opened: dropping it ends nothing.
    pub(super) fn joined(id: TurnId, session: Arc<dyn Interrupt>, sink: Arc<Sink>) -> Self {
        let mut turn = Self::new(id, session, sink);
        // One who joined leaves without ending what somebody else asked.
        turn.detached = true;
        turn
    }

    /// The turn's id, by which its outcome can be asked for later.
    pub fn id(&self) -> TurnId {
        self.id
    }

    /// Waits for the next event; `None` after the outcome.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Waits for the outcome and drops the events before it.
    ///
    /// # Errors
    ///
    /// [`QueryErrorKind::Stopped`] if the session ended before the turn did.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the turn, which interrupts it.
    pub async fn outcome(self) -> Result<Outcome, QueryError> {
        self.delivered().await.map(|delivered| delivered.outcome)
    }

    /// Does what [`outcome`](Self::outcome) does, and says also whether the outcome is stored.
    ///
    /// # Errors
    ///
    /// [`QueryErrorKind::Stopped`] if the session ended before the turn did.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the turn, which interrupts it.
    pub async fn delivered(mut self) -> Result<Delivered, QueryError> {
        // From here on nobody reads frames; a buffer that fills would stop the CLI, and the outcome would
        // never come.
        self.sink.close_frames();
        self.batch.clear();
        while self.ended.is_none() && self.next().await.is_some() {}
        match self.ended.take() {
            Some(Ended::Settled(delivered)) => Ok(delivered),
            Some(Ended::Left(why)) => Err(QueryError::stopped(Some(self.id), &why)),
            None => Err(QueryError::stopped(Some(self.id), "the turn's stream ended without an outcome")),
        }
    }

    /// Waits for the answer and drops the events before it.
    ///
    /// # Errors
    ///
    /// [`QueryError`] with the kind of whatever the turn came to instead of an answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the turn, which interrupts it.
    pub async fn answer(self) -> Result<Answer, QueryError> {
        let id = self.id;
        match self.outcome().await? {
            Outcome::Completed(answer) => Ok(answer),
            Outcome::Failed(failure) => Err(QueryError::failed(id, failure)),
            Outcome::Interrupted => {
                Err(QueryError::new(QueryErrorKind::Interrupted, Some(id), "the turn was interrupted"))
            }
            // It was cancelled: no other outcome is left.
            _ => Err(QueryError::new(
                QueryErrorKind::Cancelled,
                Some(id),
                "the turn was cancelled before it ran",
            )),
        }
    }

    /// Notes whether what came so far tells what the model said.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Frame(frame) => {
                let word: &[u8] = match frame.kind() {
                    FrameKind::Assistant => b"\"text\"",
                    FrameKind::StreamEvent => b"\"text_delta\"",
                    _ => return,
                };
                // A look for the word spares the parse of each frame, which only some consumers want.
                self.saw_text = self.saw_text
                    || (frame.parent_tool_use_id().is_none() && memmem::find(frame.raw(), word).is_some());
            }
            // What the CLI said that died counts as not said: the next one begins anew.
            Event::Resumed { .. } => (self.saw_text, self.told) = (false, 0),
            Event::Outcome(_) => {}
        }
    }

    /// The text of the answer, if no frame told it: the one of a turn that was answered without a word of the model, or
    /// whose frames died with the CLI while its answer stood in the transcript.
    pub(super) fn untold(&mut self, outcome: &Outcome) -> Option<String> {
        let text = &outcome.answer()?.text;
        let untold = !std::mem::replace(&mut self.saw_text, true) && !text.is_empty();
        untold.then(|| text.clone())
    }

    /// Has an event that a view took come once more, as the next one.
    pub(super) fn put_back(&mut self, event: Event) {
        self.batch.push_front(event);
    }

    /// Lets the turn run on without a consumer; its outcome can be asked for by its id.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(host: treewarden::Host, session: treewarden::Session) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = session.stream("Refactor the parser.").await?.detach();
    /// // Later, also in another process on the same state directory.
    /// match host.turn(id).await?.and_then(|report| report.outcome) {
    ///     Some(outcome) => println!("{outcome}"),
    ///     None => println!("{id} is open, or not known"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(mut self) -> TurnId {
        self.detached = true;
        self.sink.close_frames();
        self.id
    }

    /// Asks for the turn to end: cancelled if it waits, interrupted if it runs.
    ///
    /// The stream goes on to the outcome.
    ///
    /// A CLI that does not end the turn within [`drain_timeout`](super::SessionOptions::drain_timeout), 10 s, is killed; the conversation
    /// goes on with another one.
    pub fn interrupt(&self) {
        self.session.interrupt(self.id);
    }
}

impl Stream for Turn {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.batch.pop_front() {
                this.note(&event);
                return Poll::Ready(Some(event));
            }
            if let Some(ended) = &this.ended {
                let Ended::Settled(Delivered { outcome, .. }) = ended else { return Poll::Ready(None) };
                if std::mem::replace(&mut this.delivered, true) {
                    return Poll::Ready(None);
                }
                return Poll::Ready(Some(Event::Outcome(outcome.clone())));
            }
            match this.sink.poll_take(&mut this.batch, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {}
                Poll::Ready(Some(ended)) => this.ended = Some(ended),
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The frames are closed first: the interrupt is answered by a result, for which the CLI has to be
        // read on.
        self.sink.close_frames();
        // A turn that has ended needs no interrupt, and one that was joined is somebody else's to end.
        if !self.detached && self.ended.is_none() && !self.sink.is_ended() {
            self.session.interrupt(self.id);
        }
    }
}
