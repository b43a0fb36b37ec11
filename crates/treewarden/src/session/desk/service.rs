//! Who serves the desk: the actor, its engine, their supervisor.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use ractor::{ActorId, ActorRef, ActorStatus};
use treewarden_otp_core::ExitReason;

use super::{Command, Desk, Inner, Standing};
use crate::session::outcome::{Failure, FailureKind, Outcome};
use crate::session::status::SessionState;
use crate::supervisor::Supervisor;

/// How long callers wait for somebody else's supervisor to start a session again.
const RESTART_GRACE: Duration = Duration::from_secs(30);

impl Desk {
    /// Gives a command to the engine; `false` if none lives.
    pub(crate) fn command(&self, command: Command) -> bool {
        let mut inner = self.lock();
        if !inner.engine_lives {
            return false;
        }
        inner.command(command);
        self.ring(inner);
        true
    }

    /// Wakes whoever serves the session: the engine, or else the actor that starts one.
    pub(super) fn ring(&self, mut inner: MutexGuard<'_, Inner>) {
        if inner.engine_lives {
            drop(inner);
            self.engine_bell.notify_one();
        } else if !inner.bell_rung
            && let Some(doorbell) = &inner.doorbell
        {
            // At most one ring is under way, so that the actor's mailbox holds one message of ours at most.
            let rung = doorbell.send_message(()).is_ok();
            inner.bell_rung = rung;
        }
    }

    /// Gives the session to a new incarnation of its actor.
    pub(crate) fn serve(&self, doorbell: ActorRef<()>) {
        let state = self.lock().condition.state;
        if matches!(state, SessionState::Restarting | SessionState::Stopped | SessionState::GivenUp) {
            self.lock().condition.reason = None;
            self.set_state(SessionState::Parked, None, None);
        }
        let mut inner = self.lock();
        inner.standing = Standing::Served;
        inner.doorbell = Some(doorbell);
        inner.bell_rung = false;
        if inner.has_work() {
            self.ring(inner);
        }
    }

    /// Answers a ring: `true` if an engine is to be started now.
    pub(crate) fn answer(&self) -> bool {
        let mut inner = self.lock();
        inner.bell_rung = false;
        let start = !inner.engine_lives && inner.has_work();
        inner.engine_lives |= start;
        start
    }

    /// Ends the engine unless there is more to do; `false` if there is.
    pub(crate) fn engine_may_end(&self) -> bool {
        let mut inner = self.lock();
        inner.engine_lives = inner.has_work();
        let may_end = !inner.engine_lives;
        drop(inner);
        if may_end {
            self.quiet.notify_waiters();
        }
        may_end
    }

    /// Ends the engine whatever there is to do, and wakes the actor.
    pub(crate) fn engine_ended(&self) {
        let mut inner = self.lock();
        inner.engine_lives = false;
        inner.commands.clear();
        inner.taken = 0;
        inner.bell_rung = true;
        if let Some(doorbell) = &inner.doorbell {
            let _closed = doorbell.send_message(());
        }
        drop(inner);
        self.quiet.notify_waiters();
    }

    pub(crate) fn engine_lives(&self) -> bool {
        self.lock().engine_lives
    }

    /// Waits until no engine lives.
    pub(crate) async fn quiet(&self) {
        loop {
            let quiet = self.quiet.notified();
            if !self.engine_lives() {
                return;
            }
            quiet.await;
        }
    }

    /// The actor that serves the session, if one does.
    pub(crate) fn doorbell(&self) -> Option<ActorRef<()>> {
        let served = |actor: &ActorRef<()>| (actor.get_status() as u8) < (ActorStatus::Stopping as u8);
        self.lock().doorbell.clone().filter(served)
    }

    /// Notes that this actor is gone; another may come, or may have come already.
    pub(crate) fn unserve(&self, actor: ActorId) {
        let mut inner = self.lock();
        if inner.doorbell.as_ref().is_none_or(|doorbell| doorbell.get_id() != actor) {
            return;
        }
        inner.doorbell = None;
        inner.want = None;
        inner.engine_lives = false;
        inner.commands.clear();
        inner.taken = 0;
        drop(inner);
        self.quiet.notify_waiters();
    }

    pub(crate) fn supervisor(&self) -> Option<Supervisor> {
        self.lock().supervisor.clone()
    }

    pub(crate) fn set_supervisor(&self, supervisor: Supervisor) {
        self.lock().supervisor = Some(supervisor);
    }

    /// Gives the session a supervisor of its own, which ends with it.
    pub(crate) fn set_private_supervisor(&self, supervisor: Supervisor) {
        let mut inner = self.lock();
        inner.supervisor = Some(supervisor);
        inner.private = true;
    }

    pub(crate) fn private_supervisor(&self) -> Option<Supervisor> {
        let inner = self.lock();
        inner.supervisor.clone().filter(|_| inner.private)
    }

    /// A child spec owns the name from now on.
    pub(crate) fn own(&self) {
        self.lock().owned = true;
    }

    /// An actor of somebody else's tree is gone: unless it was stopped, another has some time to take over.
    pub(crate) fn abandoned(self: &Arc<Self>, actor: ActorId, stopped: bool) {
        if self.lock().owned || self.doorbell().is_some_and(|doorbell| doorbell.get_id() != actor) {
            return;
        }
        self.unserve(actor);
        let crashed = |desk: &Self| desk.lock().condition.state == SessionState::Restarting;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !stopped => {
                let desk = Arc::clone(self);
                runtime.spawn(async move {
                    tokio::time::sleep(RESTART_GRACE).await;
                    if desk.doorbell().is_none() {
                        desk.retire(crashed(&desk));
                    }
                });
            }
            _ => self.retire(crashed(self)),
        }
    }

    /// Ends the session for good: nobody will start it again.
    ///
    /// The turns of one that was given up fail; otherwise they stay open in the journal.
    pub(crate) fn retire(self: &Arc<Self>, given_up: bool) {
        let why = if given_up {
            self.settle_all(&Outcome::Failed(self.given_up_for(None)));
            "the session crashed too often and was given up"
        } else {
            "the session was stopped"
        };
        self.close(why);
        self.set_state(SessionState::Stopped, None, None);
        self.host.disclaim(self);
    }

    /// Notes that the session stays down until it is started again: whoever waits is told, and nobody waits from now on.
    pub(crate) fn give_up(&self, last_exit: Option<&ExitReason>) {
        let failure = self.given_up_for(last_exit);
        let reason = failure.message.as_str().into();
        let mut inner = self.lock();
        inner.standing = Standing::GivenUp(failure.clone());
        inner.condition.reason = Some(reason);
        inner.legacy = None;
        drop(inner);
        self.settle_all(&Outcome::Failed(failure));
        // What is left are clears, whose callers see their end.
        self.lock().entries.clear();
        self.set_state(SessionState::GivenUp, None, None);
    }

    fn given_up_for(&self, last_exit: Option<&ExitReason>) -> Failure {
        let last = self.lock().condition.last_exit.as_deref().map(str::to_owned);
        let last = last.or_else(|| last_exit.map(ToString::to_string)).unwrap_or_default();
        let message = format!(
            "the session crashed too often and its supervisor gave it up; restart it to try again; last: {last}"
        );
        Failure { kind: FailureKind::GivenUp, message, result: None }
    }
}
