//! Turns that nobody waits for.

use treewarden_core::session::Prompt;
use treewarden_proto::TurnId;

use super::error::QueryError;
use super::handle::Session;

impl Session {
    /// Sends a prompt that nobody waits for, and returns the turn's id, by which its outcome can be asked for later.
    ///
    /// Such a turn waits for a usage limit to be lifted, unless [`on_limit`](crate::SessionOptions::on_limit) says otherwise. One
    /// that is [detached](super::Turn::detach) after it was opened keeps to what holds for a turn that somebody waits for.
    ///
    /// # Errors
    ///
    /// [`QueryError`]: nobody holds the name, the queue is full, or the turn cannot be stored.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped before it is ready, the turn is not run.
    pub async fn submit(&self, prompt: impl Into<Prompt>) -> Result<TurnId, QueryError> {
        Ok(self.open(prompt.into(), true, true).await?.detach())
    }
}
