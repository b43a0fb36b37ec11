//! Turns that nobody waits for.
//!
//! It is for work whose outcome is fetched later, by whoever has the id. It must not return before the turn is in the journal: the id
//! is all that its caller has.

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
    /// It is ready when the turn is stored and queued, so that it outlives this process.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(host: treewarden::Host, session: treewarden::Session) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = session.submit("Write the release notes.").await?;
    /// // Whenever, and by whomever:
    /// if let Some(report) = host.turn(id).await? {
    ///     match report.outcome {
    ///         Some(outcome) => println!("{outcome}"),
    ///         None => println!("{} is at it, after {} crashes", report.name, report.interruptions),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
