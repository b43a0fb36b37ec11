//! Who serves the desk: the actor, its engine, their supervisor; and how a session ends for good.
//!
//! What is noted of them is the service's, in `rooms/service.rs`. What must be done about it is done here, when the desk's lock
//! is free again: to wake, to tell callers, to let go of what was kept for the next CLI.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use ractor::{ActorId, ActorRef};
use treewarden_core::session::{DrainReason, Failure, FailureKind, Outcome, SessionState};
use treewarden_otp_core::ExitReason;

use super::Desk;
use super::rooms::{Command, Entry, IN_HAND, PATIENCE, Rooms, Shown};
use crate::session::sink::Ended;
use crate::supervisor::{RunId, Supervisor};

/// How long callers wait for somebody else's supervisor to start a session again.
const RESTART_GRACE: Duration = Duration::from_secs(30);

impl Desk {
    /// Gives a command to the engine; `false` if none lives.
    pub(crate) fn command(&self, command: Command) -> bool {
        let mut rooms = self.lock();
        // A command to nobody would be taken by the next engine, which a stop would end before its first
        // turn.
        if !rooms.service.engine_lives() {
            return false;
        }
        rooms.queue.command(command);
        self.ring(rooms);
        true
    }

    /// Has the foremost turn end, wherever it is, or what the CLI works at by itself; `false` if there is neither.
    ///
    /// The turn is named in the command: an interrupt that is read when that turn has ended must not end the next.
    pub(crate) fn interrupt_what_runs(&self) -> bool {
        // Look and command are under one lock, so that what the answer says is what was asked for.
        let mut rooms = self.lock();
        // Of a turn whose outcome is on its way to the store nothing runs any more, and the one behind it was not meant.
        let head = if rooms.commits.untold().is_empty() { rooms.queue.first_open() } else { None };
        let command = match head {
            // Nobody would take the command before the session is started again.
            Some(turn) if !rooms.service.engine_lives() => {
                return self.end_unserved(rooms, turn, DrainReason::Interrupted);
            }
            Some(turn) => Command::Cancel(turn, DrainReason::Interrupted),
            None if rooms.shown.works_at_something() && rooms.service.engine_lives() => {
                Command::InterruptOwnWork
            }
            None => return false,
        };
        rooms.queue.command(command);
        self.ring(rooms);
        true
    }

    /// Wakes whoever serves the session: the engine, or else the actor that starts one.
    pub(super) fn ring(&self, mut rooms: MutexGuard<'_, Rooms>) {
        let wakes_engine = rooms.service.ring();
        // The engine is woken when the lock is free: it takes that lock at once.
        drop(rooms);
        if wakes_engine {
            self.engine_bell.notify_one();
        }
    }

    /// Waits until there is something for the engine; a wait that is dropped loses no ring.
    pub(crate) async fn rung(&self) {
        self.engine_bell.notified().await;
    }

    /// Gives the session to a new incarnation of its actor.
    pub(crate) fn serve(&self, doorbell: ActorRef<()>) {
        // A new incarnation is there: what the last one ended with must not be shown of it.
        let state = self.lock().shown.state();
        if matches!(state, SessionState::Restarting | SessionState::Stopped | SessionState::GivenUp) {
            self.note(Shown::Trouble(None));
            self.set_state(SessionState::Parked, None, None);
        }
        let mut rooms = self.lock();
        rooms.service.serve(doorbell);
        // Turns that came while no actor served the session could ring nobody.
        if rooms.queue.has_work() {
            self.ring(rooms);
        }
    }

    /// Answers a ring: `true` if an engine is to be started now.
    pub(crate) fn answer(&self) -> bool {
        let mut rooms = self.lock();
        let has_work = rooms.queue.has_work();
        rooms.service.answer(has_work)
    }

    /// Ends the engine unless there is more to do; `false` if there is.
    pub(crate) fn engine_may_end(&self) -> bool {
        // Both under one lock: a turn that came between the look for work and the end of the engine would
        // ring an engine that is about to be gone.
        let may_end = {
            let mut rooms = self.lock();
            let has_work = rooms.queue.has_work();
            rooms.service.engine_may_end(has_work)
        };
        if may_end {
            self.quiet.notify_waiters();
        }
        may_end
    }

    /// Ends the engine whatever there is to do, and wakes the actor.
    pub(crate) fn engine_ended(&self) {
        let mut rooms = self.lock();
        // The commands go before the next engine comes, which would take what was meant for this one.
        rooms.service.engine_ended();
        rooms.queue.forget_engine();
        drop(rooms);
        self.unserved();
        self.quiet.notify_waiters();
    }

    pub(crate) fn engine_lives(&self) -> bool {
        self.lock().service.engine_lives()
    }

    /// Waits until no engine lives.
    pub(crate) async fn quiet(&self) {
        loop {
            // Before the look: `notify_waiters` wakes only those who wait by then, and an engine that ends in
            // between would be waited for without end.
            let quiet = self.quiet.notified();
            if !self.engine_lives() {
                return;
            }
            quiet.await;
        }
    }

    /// Why what happened to the session is not stored, ten seconds after it was put down; `None` if it is.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub(crate) async fn unstored(&self) -> Option<String> {
        self.all_stored(PATIENCE).await.err().map(|error| error.to_string())
    }

    /// The same for one that is shut down with its supervisor, which stops one after the other: two seconds.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub(crate) async fn unstored_at_the_end(&self) -> Option<String> {
        self.all_stored(IN_HAND).await.err().map(|error| error.to_string())
    }

    /// The actor that serves the session, if one does.
    pub(crate) fn doorbell(&self) -> Option<ActorRef<()>> {
        self.lock().service.doorbell()
    }

    /// Notes that this actor is gone; another may come, or may have come already.
    pub(crate) fn unserve(&self, actor: ActorId) {
        let mut rooms = self.lock();
        let had_engine = rooms.service.engine_lives();
        // The word of an actor's end may come late, when the next actor serves already: that one must stay.
        if !rooms.service.unserve(actor) {
            return;
        }
        // What was asked since the engine ended is for the next one: a turn that was cancelled meanwhile would
        // run for nobody.
        if had_engine {
            rooms.queue.forget_engine();
        }
        let want = rooms.next.want(None);
        // The desk's lock is let go first: a `Want` gives its promise back under the lock of its pool.
        drop(rooms);
        drop(want);
        self.unserved();
        self.quiet.notify_waiters();
    }

    pub(crate) fn supervisor(&self) -> Option<Supervisor> {
        self.lock().service.supervisor().cloned()
    }

    /// This supervisor is about to start the session.
    pub(crate) fn set_supervisor(&self, supervisor: Supervisor) {
        self.lock().service.set_supervisor(supervisor);
    }

    /// The run as which its supervisor started the session last.
    pub(crate) fn run(&self) -> Option<RunId> {
        self.lock().service.run()
    }

    /// Its supervisor has started the session as this run.
    pub(crate) fn set_run(&self, run: RunId) {
        self.lock().service.set_run(run);
    }

    /// Its supervisor is there for this session alone, and ends with it.
    pub(crate) fn set_private(&self) {
        self.lock().service.set_private();
    }

    pub(crate) fn private_supervisor(&self) -> Option<Supervisor> {
        self.lock().service.private_supervisor().cloned()
    }

    /// A child spec owns the name from now on.
    pub(crate) fn own(&self) {
        self.lock().service.own();
    }

    /// An actor serves the session, or is about to.
    pub(crate) fn is_served(&self) -> bool {
        self.lock().service.is_served()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().service.is_closed()
    }

    /// The session has ended for good, and its name is free, or will be once all is stored.
    pub(crate) fn is_retired(&self) -> bool {
        self.lock().service.is_retired()
    }

    /// Closes the session for good: whoever waits is told, and its turns stay open in the journal.
    pub(crate) fn close(&self, why: &str) {
        let mut rooms = self.lock();
        rooms.service.close(why);
        let (entries, kept) = (rooms.queue.drain(), rooms.next.clear());
        drop(rooms);
        drop(kept);
        for entry in entries {
            if let Entry::Turn(entry) = entry {
                entry.sinks.iter().for_each(|sink| sink.finish(Ended::Left(why.to_owned())));
            }
        }
    }

    /// An actor of somebody else's tree is gone: unless it was stopped, another has some time to take over.
    pub(crate) fn abandoned(self: &Arc<Self>, actor: ActorId, stopped: bool) {
        // A child spec that owns the name says itself when nobody will serve the session any more.
        if self.lock().service.is_owned()
            || self.doorbell().is_some_and(|doorbell| doorbell.get_id() != actor)
        {
            return;
        }
        self.unserve(actor);
        // A session that crashed and that nobody starts again fails its turns; one that was stopped leaves
        // them in the journal.
        let crashed = |desk: &Self| desk.lock().shown.state() == SessionState::Restarting;
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
            // Before the session is closed, which takes every entry off the queue without an outcome.
            self.settle_all(&Outcome::Failed(self.given_up_for(None)));
            "the session crashed too often and was given up"
        } else {
            "the session was stopped"
        };
        self.close(why);
        self.set_state(SessionState::Stopped, None, None);
        // Last: whoever claims the name from now on finds nothing here that could still change the record. While
        // something is on its way to the store, that is its task's to do.
        let mut rooms = self.lock();
        rooms.service.set_retired();
        let is_done = rooms.commits.is_empty();
        drop(rooms);
        if is_done {
            self.host.disclaim(self);
        }
    }

    /// Notes that the session stays down until it is started again: whoever waits is told, and nobody waits from now on.
    pub(crate) fn give_up(&self, last_exit: Option<&ExitReason>) {
        let failure = self.given_up_for(last_exit);
        let reason = failure.message.as_str().into();
        let mut rooms = self.lock();
        rooms.service.give_up(failure.clone());
        rooms.shown.note(Shown::Trouble(Some(reason)));
        // A session that stays down keeps no lease: another host could not have its conversation.
        let inherited = rooms.next.inherit();
        drop(rooms);
        drop(inherited);
        self.settle_all(&Outcome::Failed(failure));
        // Only clears are left in the queue. Their callers wait at a channel that ends with the entry.
        let clears = self.lock().queue.drain();
        drop(clears);
        self.set_state(SessionState::GivenUp, None, None);
    }

    fn given_up_for(&self, last_exit: Option<&ExitReason>) -> Failure {
        let last = self.lock().shown.last_exit().map(str::to_owned);
        let last = last.or_else(|| last_exit.map(ToString::to_string)).unwrap_or_default();
        let message = format!(
            "the session crashed too often and its supervisor gave it up; restart it to try again; last: {last}"
        );
        Failure::new(FailureKind::GivenUp, message)
    }
}
