//! How a session's CLI is ended outside its supervisor: for a stop, for a removal, for a restart.
//!
//! The end of a CLI may take seconds. A supervisor that waited for it would serve nobody else meanwhile, so that whoever wants
//! an actor ended has its CLI put down first. It is not for the end of the actor, nor for what follows. It must never settle a
//! turn that a restart carries on.

use std::sync::Arc;
use std::time::Duration;

use treewarden_core::session::{Outcome, StopReason};

use super::Desk;
use super::rooms::Command;

/// How long a removal waits for turns that are on their way to the journal.
const ARRIVAL: Duration = Duration::from_secs(10);

impl Desk {
    /// Takes no more turns for this reason, ends the CLI in good order, the running turn with it, and cancels those that
    /// wait; the actor lives on.
    ///
    /// So whoever ends the actor afterwards waits for no CLI, and no supervisor is busy meanwhile.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the CLI ends all the same, and turns may be left that nobody has cancelled.
    pub(crate) async fn put_down(&self, why: &str) {
        // First of all: a turn that came behind the stop would start another engine.
        let _until_they_are_cancelled = Stopping::new(self, why);
        self.end_turns().await;
        self.cancel_late_turns().await;
    }

    /// The same for a session that is being removed, which nobody starts again until it is gone or the removal is called off.
    ///
    /// # Cancel safety
    ///
    /// As [`put_down`](Self::put_down).
    pub(crate) async fn put_down_for_removal(&self, why: &str) {
        self.lock().service.begin_removal(why);
        self.end_turns().await;
        self.cancel_late_turns().await;
    }

    /// Cancels the turns that were on their way to the journal, and so were accepted before: left open, they would be run by
    /// whoever has the name next, though those that were a moment ahead of them are cancelled.
    async fn cancel_late_turns(&self) {
        let _late = tokio::time::timeout(ARRIVAL, self.all_have_arrived()).await;
        self.settle_all(&Outcome::Cancelled);
    }

    /// Waits until no turn has a place that it has not taken.
    async fn all_have_arrived(&self) {
        loop {
            // Before the look, as in `quiet`.
            let quiet = self.quiet.notified();
            if !self.lock().queue.awaits_turns() {
                return;
            }
            quiet.await;
        }
    }

    async fn end_turns(&self) {
        if self.command(Command::Stop(StopReason::Requested)) {
            self.quiet().await;
        }
        self.settle_all(&Outcome::Cancelled);
    }

    /// Ends the CLI as a supervisor does that stops the session, and keeps engines away as long as the returned value lives;
    /// open turns stay open, and others are taken.
    ///
    /// An engine that has not ended within `limit` is not waited for any more, here or by its actor.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the CLI ends all the same, and the turns are served by another.
    pub(crate) async fn put_aside(self: &Arc<Self>, limit: Option<Duration>) -> PutAside {
        // First of all: the actor, which lives on, would start another engine for the turns that are left.
        self.lock().service.hold();
        let aside = PutAside(Arc::clone(self));
        // A session that is to be killed is told nothing before.
        if limit == Some(Duration::ZERO) || !self.command(Command::Stop(StopReason::Shutdown)) {
            return aside;
        }
        let in_time = match limit {
            Some(limit) => tokio::time::timeout(limit, self.quiet()).await.is_ok(),
            None => {
                self.quiet().await;
                true
            }
        };
        if !in_time {
            self.lock().service.overdue();
        }
        aside
    }

    /// Whether the engine has had all the time that it may take to end.
    pub(crate) fn is_overdue(&self) -> bool {
        self.lock().service.is_overdue()
    }

    /// The session is not removed after all; it takes no turns until it is started again.
    pub(crate) fn call_off_removal(&self, why: &str) {
        self.lock().service.call_off_removal(why);
    }

    pub(crate) fn is_being_removed(&self) -> bool {
        self.lock().service.is_being_removed()
    }
}

/// A session that is being stopped, whose turns are cancelled as long as this lives.
struct Stopping<'d>(&'d Desk);

impl<'d> Stopping<'d> {
    fn new(desk: &'d Desk, why: &str) -> Self {
        desk.lock().service.begin_stop(why);
        Self(desk)
    }
}

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.lock().service.stopped();
    }
}

/// A session without an engine, whose turns wait: for one that is being restarted. Its end lets engines in again.
#[derive(Debug)]
#[must_use = "engines are let in again when it is dropped"]
pub(crate) struct PutAside(Arc<Desk>);

impl Drop for PutAside {
    fn drop(&mut self) {
        let mut rooms = self.0.lock();
        rooms.service.release();
        // A restart that was given up halfway leaves the actor that was, which was rung for these turns in vain.
        if rooms.queue.has_work() {
            self.0.ring(rooms);
        }
    }
}

#[cfg(test)]
mod tests {
    use treewarden_proto::SessionSpec;

    use super::*;
    use crate::host::Host;
    use crate::session::SessionOptions;

    async fn desk(dir: &std::path::Path) -> Arc<Desk> {
        let host = Host::options().state_dir(dir).open().expect("a host can be opened");
        let options = Arc::new(SessionOptions::from(SessionSpec::new()));
        Desk::open(&host, &options, "a".parse().expect("a name")).await.expect("nobody has the name")
    }

    /// The desk, with an engine that does what the test does.
    fn with_engine(desk: &Desk) {
        desk.enqueue_clear().map(drop).expect("there is room");
        assert!(desk.answer(), "there is work");
    }

    #[tokio::test]
    async fn a_session_that_is_put_aside_takes_turns_and_gets_an_engine_when_it_is_let() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let desk = desk(dir.path()).await;
        with_engine(&desk);
        let putting = tokio::spawn({
            let desk = Arc::clone(&desk);
            async move { desk.put_aside(None).await }
        });
        desk.rung().await;
        let (_, asked, _) = desk.take_new();
        assert_eq!(asked, [Command::Stop(StopReason::Shutdown)]);
        desk.engine_ended();
        let aside = putting.await.expect("no panic");
        assert!(!desk.is_overdue());
        assert!(desk.is_served() && desk.enqueue_clear().is_ok(), "what is asked meanwhile waits");
        assert!(!desk.answer(), "no engine begins");
        drop(aside);
        assert!(desk.answer());
    }

    #[tokio::test]
    async fn an_engine_that_does_not_end_in_time_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let desk = desk(dir.path()).await;
        with_engine(&desk);
        let aside = desk.put_aside(Some(Duration::from_millis(1))).await;
        assert!(desk.is_overdue() && desk.engine_lives());
        drop(aside);
        assert!(!desk.is_overdue(), "the next engine has its own time");
        let aside = desk.put_aside(Some(Duration::ZERO)).await;
        assert!(!desk.is_overdue(), "one that is to be killed is told nothing");
        drop(aside);
    }
}
