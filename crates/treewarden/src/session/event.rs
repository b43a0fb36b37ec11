//! What the stream of a turn yields.
//!
//! It is for one turn. What happens to sessions, whoever asks, is told by [`crate::events`].

use treewarden_core::session::Outcome;
use treewarden_proto::frame::Frame;

/// One item of a turn's stream.
///
/// The items come in this order: frames and `Resumed`, any number of them, and one `Outcome`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The CLI printed a frame that belongs to the turn.
    Frame(Frame),
    /// The CLI died under the turn and another one carries it on: what was streamed so far may come again.
    Resumed {
        /// How often that has happened to this turn.
        interruptions: u32,
    },
    /// The turn is settled; always the last item.
    Outcome(Outcome),
}

impl Event {
    /// The bytes that the event counts for in the buffer of its stream.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.raw().len(),
            Self::Resumed { .. } | Self::Outcome(_) => 0,
        }
    }
}
