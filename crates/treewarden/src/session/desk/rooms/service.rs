//! Who serves a session: its actor, the engine that the actor starts, their supervisor; and where the session stands while
//! nobody does.
//!
//! It knows whether there is work only from who asks. It must never look at a turn or settle one: that the session is given
//! up is noted here, and what follows for its turns is the desk's.

use std::time::Instant;

use ractor::{ActorId, ActorRef, ActorStatus};
use treewarden_core::session::Failure;

use crate::limits::{Account, Slots};
use crate::supervisor::{RunId, Supervisor};

/// Where a session stands between its incarnations.
#[derive(Debug, Default)]
pub(crate) enum ServiceState {
    /// An actor serves it, or one will.
    #[default]
    Served,
    /// It is down and holds its name until it is started again; its turns fail with this.
    GivenUp(Failure),
    /// Nobody will serve it any more, for this reason.
    Closed(String),
}

/// Whether engines are kept away, since the session is being restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Held {
    /// They are not.
    #[default]
    No,
    /// Its CLI is being ended in good order.
    InOrder,
    /// Its CLI has had all the time that it may take to end.
    Overdue,
}

/// Who serves a session; see the [module](self).
#[derive(Debug)]
pub(crate) struct Service {
    state: ServiceState,
    engine_lives: bool,
    /// The actor was rung for and has not answered: its mailbox holds one message of ours at most.
    bell_rung: bool,
    doorbell: Option<ActorRef<()>>,
    supervisor: Option<Supervisor>,
    /// The run as which its supervisor started it last.
    run: Option<RunId>,
    /// A child spec owns the name, and says when nobody will serve it any more.
    owned: bool,
    /// The supervisor is there for this session alone.
    private: bool,
    /// Nobody will ever serve it, and its name is free once all is stored.
    retired: bool,
    /// Whose usage limits concern it, once a CLI was to be started, and where it stands among those who wait for them.
    account: Option<(Account, Slots)>,
    /// When the session last had something to do.
    used_at: Instant,
    held: Held,
    /// Nobody is to start it again.
    being_removed: bool,
    /// How many are stopping it, and cancel its turns.
    stops: u32,
    /// A task ends turns whose time is over while no engine lives.
    deadlines_watched: bool,
}

impl Service {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: ServiceState::default(),
            engine_lives: false,
            bell_rung: false,
            doorbell: None,
            supervisor: None,
            run: None,
            owned: false,
            private: false,
            retired: false,
            account: None,
            used_at: now,
            held: Held::default(),
            being_removed: false,
            stops: 0,
            deadlines_watched: false,
        }
    }

    /// The session has had something to do until now.
    pub(crate) fn used(&mut self, now: Instant) {
        self.used_at = now;
    }

    /// When the session last had something to do.
    pub(crate) fn used_at(&self) -> Instant {
        self.used_at
    }

    pub(crate) fn state(&self) -> &ServiceState {
        &self.state
    }

    pub(crate) fn is_served(&self) -> bool {
        matches!(self.state, ServiceState::Served)
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, ServiceState::Closed(_))
    }

    /// Another incarnation of the actor serves the session.
    pub(crate) fn serve(&mut self, doorbell: ActorRef<()>) {
        // One that a supervisor started in the middle of a removal would take turns, and lose them to that.
        if !self.being_removed {
            self.state = ServiceState::Served;
        }
        self.doorbell = Some(doorbell);
        // The mailbox of a new actor is empty: a ring that its predecessor was sent went with that.
        self.bell_rung = false;
    }

    /// This actor is gone, and its engine with it; `false` if another serves the session by now.
    pub(crate) fn unserve(&mut self, actor: ActorId) -> bool {
        // An end that is told late may be of an actor that has been replaced.
        let is_ours = self.doorbell.as_ref().is_some_and(|doorbell| doorbell.get_id() == actor);
        if is_ours {
            self.doorbell = None;
            self.engine_lives = false;
        }
        is_ours
    }

    /// Takes no more turns.
    pub(crate) fn refuse(&mut self, why: &str) {
        self.state = ServiceState::Closed(why.to_owned());
    }

    /// Takes no more turns, and cancels those that there are, until it has [`stopped`](Self::stopped).
    pub(crate) fn begin_stop(&mut self, why: &str) {
        self.refuse(why);
        self.stops += 1;
    }

    /// What stopped it has cancelled its turns.
    pub(crate) fn stopped(&mut self) {
        self.stops -= 1;
    }

    /// Whether somebody waits for the turns that are on their way, to cancel them.
    pub(crate) fn cancels_turns(&self) -> bool {
        self.being_removed || self.stops > 0
    }

    /// Takes no more turns, as the session is being removed.
    pub(crate) fn begin_removal(&mut self, why: &str) {
        self.refuse(why);
        self.being_removed = true;
    }

    /// The session was not removed after all; it takes no turns until it is started again.
    pub(crate) fn call_off_removal(&mut self, why: &str) {
        self.refuse(why);
        self.being_removed = false;
    }

    pub(crate) fn is_being_removed(&self) -> bool {
        self.being_removed
    }

    /// Keeps engines away: the one that lives is the last, until they are let in again.
    pub(crate) fn hold(&mut self) {
        self.held = Held::InOrder;
    }

    /// The engine that is to end has had its time.
    pub(crate) fn overdue(&mut self) {
        self.held = Held::Overdue;
    }

    /// Whether the engine is not to be waited for any more.
    pub(crate) fn is_overdue(&self) -> bool {
        self.held == Held::Overdue
    }

    /// Lets engines in again.
    pub(crate) fn release(&mut self) {
        self.held = Held::No;
    }

    /// Nobody will serve the session any more.
    pub(crate) fn close(&mut self, why: &str) {
        self.refuse(why);
        self.doorbell = None;
    }

    /// The session has ended for good.
    pub(crate) fn set_retired(&mut self) {
        self.retired = true;
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }

    /// The session stays down until it is started again.
    pub(crate) fn give_up(&mut self, failure: Failure) {
        self.state = ServiceState::GivenUp(failure);
    }

    /// Rings for whoever serves the session; `true` if that is an engine, which the caller has to wake.
    pub(crate) fn ring(&mut self) -> bool {
        if !self.engine_lives && !self.bell_rung {
            self.ring_actor();
        }
        self.engine_lives
    }

    fn ring_actor(&mut self) {
        // An actor that is gone takes no message. The one that follows looks for work when it begins to
        // serve.
        self.bell_rung = self.doorbell.as_ref().is_some_and(|doorbell| doorbell.send_message(()).is_ok());
    }

    /// The actor answers a ring; `true` if it has to start an engine.
    pub(crate) fn answer(&mut self, has_work: bool) -> bool {
        self.bell_rung = false;
        // Under the desk's lock: two answers in a row must not start two engines.
        let start = !self.engine_lives && has_work && self.held == Held::No;
        self.engine_lives |= start;
        start
    }

    /// Ends the engine unless there is work; `false` if there is.
    pub(crate) fn engine_may_end(&mut self, has_work: bool) -> bool {
        self.engine_lives = has_work && self.held == Held::No;
        !self.engine_lives
    }

    /// Ends the engine whatever there is to do, and wakes the actor: it looks how the engine ended.
    pub(crate) fn engine_ended(&mut self) {
        self.engine_lives = false;
        self.ring_actor();
        // The bell counts as rung even if no actor took the notice: until an actor answers, or the next one
        // begins to serve, no second message may be sent.
        self.bell_rung = true;
    }

    pub(crate) fn engine_lives(&self) -> bool {
        self.engine_lives
    }

    /// A task is to see to the time of turns while no engine lives; `false` if one does.
    pub(crate) fn watch_deadlines(&mut self) -> bool {
        !std::mem::replace(&mut self.deadlines_watched, true)
    }

    /// That task has ended.
    pub(crate) fn deadlines_unwatched(&mut self) {
        self.deadlines_watched = false;
    }

    /// The actor that serves the session, if one does.
    pub(crate) fn doorbell(&self) -> Option<ActorRef<()>> {
        // An actor that is on its way to its end answers no ring any more.
        let served = |actor: &&ActorRef<()>| (actor.get_status() as u8) < (ActorStatus::Stopping as u8);
        self.doorbell.as_ref().filter(served).cloned()
    }

    pub(crate) fn supervisor(&self) -> Option<&Supervisor> {
        self.supervisor.as_ref()
    }

    /// The supervisor that is there for this session alone, if there is one.
    pub(crate) fn private_supervisor(&self) -> Option<&Supervisor> {
        self.supervisor.as_ref().filter(|_| self.private)
    }

    /// This supervisor is about to start it.
    pub(crate) fn set_supervisor(&mut self, supervisor: Supervisor) {
        self.supervisor = Some(supervisor);
    }

    /// The run as which its supervisor started it last.
    pub(crate) fn run(&self) -> Option<RunId> {
        self.run
    }

    /// Its supervisor has started it as this run.
    pub(crate) fn set_run(&mut self, run: RunId) {
        self.run = Some(run);
    }

    /// Its supervisor is there for this session alone, and ends with it.
    pub(crate) fn set_private(&mut self) {
        self.private = true;
    }

    /// A child spec owns the name from now on.
    pub(crate) fn own(&mut self) {
        self.owned = true;
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.owned
    }

    /// Its CLIs use this account from now on.
    pub(crate) fn set_account(&mut self, account: Account) {
        // Its place among those who wait is kept over its CLIs, and is worth nothing with another account.
        if self.account.is_none_or(|(before, _)| before != account) {
            self.account = Some((account, Slots::default()));
        }
    }

    /// Whose usage limits concern it, and its places among those who wait.
    pub(crate) fn account(&mut self) -> Option<(Account, &mut Slots)> {
        self.account.as_mut().map(|(account, slots)| (*account, slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use treewarden_core::session::FailureKind;

    #[test]
    fn there_is_one_engine_at_a_time_and_it_stays_while_there_is_work() {
        let mut service = Service::new(Instant::now());
        assert!(!service.answer(false), "nothing to do");
        assert!(service.answer(true));
        assert!(!service.answer(true), "it has one");
        assert!(service.ring(), "the engine is to be woken");
        assert!(!service.engine_may_end(true));
        assert!(service.engine_may_end(false));
        assert!(!service.ring(), "there is none to wake");
        assert!(service.answer(true));
        service.engine_ended();
        assert!(!service.engine_lives());
    }

    #[test]
    fn a_session_that_is_given_up_is_not_served_and_not_closed() {
        let mut service = Service::new(Instant::now());
        assert!(service.is_served());
        service.give_up(Failure::new(FailureKind::GivenUp, "too often"));
        assert!(!service.is_served() && !service.is_closed());
        service.close("stopped");
        assert!(service.is_closed());
    }

    #[test]
    fn no_engine_begins_while_engines_are_kept_away_and_the_one_that_lives_is_the_last() {
        let mut service = Service::new(Instant::now());
        assert!(service.answer(true));
        service.hold();
        assert!(!service.is_overdue());
        assert!(service.engine_may_end(true), "what there is to do is the next one's");
        assert!(!service.answer(true));
        service.overdue();
        assert!(service.is_overdue() && !service.answer(true));
        service.release();
        assert!(!service.is_overdue());
        assert!(service.answer(true));
    }

    #[test]
    fn a_session_that_is_being_removed_takes_no_turns_whoever_starts_it() {
        let mut service = Service::new(Instant::now());
        service.begin_removal("removed");
        assert!(service.is_being_removed() && service.is_closed());
        service.call_off_removal("only stopped");
        assert!(!service.is_being_removed() && service.is_closed());
    }
}
