//! Where an answer goes: what a door gives the service, so that the service knows no door.

use std::fmt;

use crate::answer::{Answer, Item};
use crate::refusal::Refusal;

/// Nobody waits for the answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody waits for the answer")
    }
}

impl std::error::Error for Gone {}

/// Whoever asked one thing, and is told items and one end.
///
/// A door must give up a caller who takes nothing for long: the turn's CLI waits while [`item`](Self::item) does, and the
/// caller's place among those who are served at once is not free before [`end`](Self::end) returns.
pub trait Sink: Send {
    /// Passes on what comes before the end; ready when there is room for more.
    ///
    /// # Errors
    ///
    /// [`Gone`] if nobody takes it.
    fn item(&mut self, item: Item) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Passes on the end, which is the last thing that is told.
    ///
    /// # Errors
    ///
    /// [`Gone`] if nobody takes it.
    fn end(&mut self, end: Result<Answer, Refusal>) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Ready when the caller no longer waits. A turn whose caller does not wait is interrupted, and a place is given up.
    ///
    /// # Cancel safety
    ///
    /// The future must lose nothing when it is dropped: it is asked for many times.
    fn gone(&mut self) -> impl Future<Output = Gone> + Send;

    /// Whether the caller can no longer be told anything, at this moment: what was asked is not done then, unless it has begun.
    fn is_gone(&self) -> bool;
}
