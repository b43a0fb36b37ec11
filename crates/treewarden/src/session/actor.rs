//! The session as a ractor actor, and as a child of a supervisor.
//!
//! The actor is a doorbell: its only message says that there is work on the desk. It starts the engine, watches it,
//! and ends with the reason with which the engine ended, so that whoever supervises it decides what follows. Its
//! mailbox holds at most one ring and one notice of the engine's end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::{ActorId, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;
use treewarden_core::session::{CrashKind, End, ExitClass, SessionState, StopReason};
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::GiveUp;
use treewarden_proto::SessionName;

use super::desk::{Command, Desk, Shown};
use super::directory::name_of;
use super::engine;
use super::handle::Session;
use super::options::SessionOptions;
use super::start_error::StartError;
use crate::events::Site;
use crate::host::{Holder, Host};
use crate::supervisor::{Child, Resource, StartCause, StartChild, StartContext, StartFuture, Started};

/// How a CLI took its session with it: the error that a crashed session actor ends with.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the CLI of session {name} ended: {class}")]
pub struct CliCrashed {
    name: SessionName,
    class: ExitClass,
}

impl CliCrashed {
    /// How the CLI ended.
    pub fn class(&self) -> &ExitClass {
        &self.class
    }
}

/// A session as a plain ractor actor, for a tree of the user's own.
///
/// Spawn it with [`SessionArguments`], linked to any actor. It ends with [`CliCrashed`] when its CLI dies; an actor
/// that is spawned again under the same name takes over the conversation and the open turns, whose callers still
/// wait. Talk to it through [`Session::named`] or [`Host::session`].
#[derive(Debug, Default, Clone, Copy)]
pub struct SessionActor;

/// What a [`SessionActor`] is spawned with.
#[derive(Debug)]
pub struct SessionArguments {
    desk: Arc<Desk>,
    engine: EngineSlot,
}

/// The task of the engine of one actor; whoever ends the actor sees that it ends too.
type EngineSlot = Arc<Mutex<Option<JoinHandle<End>>>>;

impl SessionArguments {
    /// Takes the name that the options give, or takes over from the actor that held it before and died.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the options contradict each other, the host cannot be opened, or a live session holds the
    /// name.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the name is free again, as it is when the arguments are dropped.
    pub async fn new(options: impl Into<SessionOptions>) -> Result<Self, StartError> {
        let options = Arc::new(options.into());
        options.validate()?;
        let host = options.resolve_host()?;
        let name = name_of(&options.spec);
        // A closed desk has no successor by itself: whoever asks for the name then gets a new one, with what
        // the journal holds.
        if let Some(desk) = host.find(name.as_str())
            && !desk.is_closed()
        {
            let served = desk.doorbell().is_some();
            return if served { Err(StartError::taken(&name)) } else { Ok(Self::of(desk)) };
        }
        Ok(Self::of(Desk::open(&host, &options, name).await?))
    }

    fn of(desk: Arc<Desk>) -> Self {
        Self { desk, engine: EngineSlot::default() }
    }
}

/// What a [`SessionActor`] keeps: the engine of the moment.
#[derive(Debug)]
pub struct SessionActorState {
    actor: ActorId,
    desk: Arc<Desk>,
    engine: EngineSlot,
    stopped: bool,
}

impl Drop for SessionActorState {
    /// An actor that was killed leaves its engine: it ends, and its CLI's tree with it.
    fn drop(&mut self) {
        // To abort is enough: the engine is dropped, and with it the tree that it owns.
        if let Some(engine) = &*self.engine.lock().unwrap_or_else(PoisonError::into_inner) {
            engine.abort();
        }
        // The desk is told last: another actor may take over from here on, and must not meet this one's
        // engine.
        self.desk.abandoned(self.actor, self.stopped);
    }
}

fn take(slot: &EngineSlot) -> Option<JoinHandle<End>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[ractor::actor(message = (), state = SessionActorState, arguments = SessionArguments)]
impl SessionActor {
    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        arguments: SessionArguments,
    ) -> Result<SessionActorState, ActorProcessingErr> {
        let SessionArguments { desk, engine } = arguments;
        let actor = myself.get_id();
        if let Some(name) = &desk.options().via {
            name.register_with(&myself.get_cell(), Holder::new(&desk))?;
        }
        // Before the actor serves: the first turn gives the session its id, and takes that of a CLI that
        // waits if there is one.
        engine::keep_warm(&desk).await;
        desk.serve(myself);
        Ok(SessionActorState { actor, desk, engine, stopped: false })
    }

    async fn handle(
        &self,
        _myself: ActorRef<()>,
        _rung: (),
        state: &mut SessionActorState,
    ) -> Result<(), ActorProcessingErr> {
        // One message says both, that there is work and that the engine has ended. The end comes first: a new
        // engine on top of it would hide a crash from the supervisor.
        if let Some(ended) = state.ended().await {
            return state.after(ended);
        }
        if state.desk.answer() {
            state.start_engine();
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<()>,
        state: &mut SessionActorState,
    ) -> Result<(), ActorProcessingErr> {
        // The engine is told to stop before it is waited for: one that is told nothing lives as long as its
        // CLI.
        state.desk.command(Command::Stop(StopReason::Shutdown));
        if let Some(engine) = take(&state.engine) {
            // It was waited for already, outside the supervisor, for as long as it may take: now it ends as with
            // an actor that is killed.
            if state.desk.is_overdue() {
                engine.abort();
            }
            let _ended = engine.await;
        }
        // What is in hand goes with the host: a turn whose outcome is not stored is asked again.
        if let Some(why) = state.desk.unstored_at_the_end().await {
            tracing::error!(session = %state.desk.name, why, "what happened to a session is not stored at its end");
        }
        state.stopped = true;
        Ok(())
    }
}

/// Tells the actor that its engine ended, also by a panic.
struct Notice(Option<Arc<Desk>>);

impl Drop for Notice {
    fn drop(&mut self) {
        if let Some(desk) = &self.0 {
            desk.engine_ended();
        }
    }
}

impl SessionActorState {
    fn start_engine(&self) {
        let desk = Arc::clone(&self.desk);
        let task = tokio::spawn(async move {
            let mut notice = Notice(Some(Arc::clone(&desk)));
            let end = engine::run(desk).await;
            // The desk took the engine off already, when the engine looked for work. A second word of its end
            // would be taken for that of an engine that was started since.
            if end == End::Parked {
                notice.0 = None;
            }
            end
        });
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// How the engine ended, if it did.
    async fn ended(&self) -> Option<End> {
        let finished = {
            let mut slot = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
            // A parked engine is over for the desk a moment before its task is finished.
            if slot.as_ref().is_some_and(JoinHandle::is_finished) || !self.desk.engine_lives() {
                slot.take()
            } else {
                None
            }
        };
        match finished?.await {
            Ok(end) => Some(end),
            Err(error) => {
                tracing::error!(session = %self.desk.name, %error, "the engine of a session panicked");
                self.desk.engine_ended();
                Some(End::Crashed(ExitClass::Crash(CrashKind::EngineFailed)))
            }
        }
    }

    fn after(&self, end: End) -> Result<(), ActorProcessingErr> {
        match end {
            // After a stop whoever asked for it ends the actor. After a failure the actor lives on, so that the reason
            // can be seen; the next turn tries again.
            End::Parked | End::Stopped(_) | End::Failed(_) => {}
            End::Crashed(class) => {
                let crashed = CliCrashed { name: self.desk.name.clone(), class };
                return Err(Box::new(ExitReason::error(crashed)));
            }
        }
        // What came while the engine was ending found the bell rung already; the message that is answered
        // here stands for that as well.
        if self.desk.answer() {
            self.start_engine();
        }
        Ok(())
    }
}

/// Ends with its actor: what is left of the engine is waited for before the next actor starts.
struct Leftovers {
    actor: ActorId,
    desk: Arc<Desk>,
    engine: EngineSlot,
    /// The spec of a session that runs only once is dropped when it runs, and its name must be held until it ends.
    _owner: Arc<Owner>,
}

impl Resource for Leftovers {
    fn release(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if let Some(engine) = take(&self.engine) {
                engine.abort();
                let _ended = engine.await;
            }
            // The actor is taken off when the task is gone: the next one would otherwise meet an engine that
            // still holds the lease.
            self.desk.unserve(self.actor);
        })
    }
}

/// Owns the name of a session for whatever may start it, its spec, and what was started, its run; with the last of them
/// the name is free.
#[derive(Debug)]
pub(crate) struct Owner {
    host: Host,
    name: SessionName,
    /// Held by whoever opens the desk: of two who need it at once, the second gets that of the first.
    opening: tokio::sync::Mutex<()>,
    owned: Mutex<Owned>,
}

#[derive(Debug)]
struct Owned {
    options: Arc<SessionOptions>,
    desk: Option<Arc<Desk>>,
    /// The session's last crash was one too many, and it was not started since.
    given_up: bool,
}

impl Owner {
    fn lock(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session's desk, for its next run.
    async fn desk(&self) -> Result<Arc<Desk>, StartError> {
        let _one_at_a_time = self.opening.lock().await;
        let (options, desk) = {
            let mut owned = self.lock();
            owned.given_up = false;
            (Arc::clone(&owned.options), owned.desk.clone())
        };
        // Another may have taken the name over while it was stopped, and with it the conversation: this one serves it no more,
        // and asks for the name like anybody.
        let has_its_name = |desk: &Arc<Desk>| {
            self.host.find(self.name.as_str()).is_some_and(|holder| Arc::ptr_eq(&holder, desk))
        };
        if let Some(desk) = desk.filter(has_its_name) {
            return Ok(desk);
        }
        let desk = Desk::open(&self.host, &options, self.name.clone()).await?;
        desk.own();
        let mut owned = self.lock();
        // They may have been changed meanwhile; no CLI has been started with those of before.
        if !Arc::ptr_eq(&owned.options, &options) {
            desk.reconfigure(Arc::clone(&owned.options), false);
        }
        owned.desk = Some(Arc::clone(&desk));
        Ok(desk)
    }

    /// Takes the name for a session that is made of a template, and notes durably that it was.
    pub(crate) async fn enlist(&self, template: &SessionName) -> Result<Arc<Desk>, StartError> {
        let desk = self.desk().await?;
        desk.enlist(Some(template)).await.map_err(|error| StartError::store(&error))?;
        Ok(desk)
    }

    /// Gives the session other options; see [`Desk::reconfigure`].
    pub(crate) fn reconfigure(&self, options: SessionOptions, renew: bool) {
        let mut owned = self.lock();
        owned.options = Arc::new(options);
        if let Some(desk) = &owned.desk {
            desk.reconfigure(Arc::clone(&owned.options), renew);
        }
    }

    fn given_up(&self, how: GiveUp, last_exit: Option<&ExitReason>) {
        let mut owned = self.lock();
        match (how, &owned.desk) {
            (GiveUp::Park, Some(desk)) => {
                let desk = Arc::clone(desk);
                // The lock is let go first: to give up settles turns, which tells whoever waits for them.
                drop(owned);
                desk.give_up(last_exit);
            }
            _ => owned.given_up = true,
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let owned = self.owned.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(desk) = owned.desk.take() {
            desk.retire(owned.given_up);
        }
    }
}

/// Starts the actors of one named session.
pub(crate) struct SessionChild(Arc<Owner>);

impl fmt::Debug for SessionChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionChild").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl SessionChild {
    pub(crate) fn new(options: Arc<SessionOptions>, host: Host, name: SessionName) -> Self {
        let owned = Mutex::new(Owned { options, desk: None, given_up: false });
        Self(Arc::new(Owner { host, name, opening: tokio::sync::Mutex::default(), owned }))
    }

    /// Starts the actors of a session that has an owner already.
    pub(crate) fn of(owner: Arc<Owner>) -> Self {
        Self(owner)
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.0
    }

    /// A session that somebody stopped stays so, whatever its supervisor or its host does, until it is asked for.
    async fn stays_stopped(desk: &Desk, context: &StartContext) -> bool {
        let asked_for = match context.cause() {
            StartCause::Listed => desk.options().asked_for,
            StartCause::Added => true,
            // The first start of one that a change of the tree added is no wish of anybody's.
            StartCause::Asked => context.incarnation() > 1,
            StartCause::Ended => false,
        };
        if asked_for {
            let _said = desk.set_stopped(false).await;
        }
        desk.is_stopped()
    }
}

impl StartChild for SessionChild {
    fn start(&self, context: StartContext) -> StartFuture {
        let session = Self(Arc::clone(&self.0));
        Box::pin(async move {
            let desk = session.0.desk().await?;
            // Before it may stay stopped: it is started again by whoever it says.
            desk.set_supervisor(context.parent());
            desk.set_site(Site { path: context.path().into(), place: context.place() });
            // The desk is closed, so that whoever asks is told at once and does not wait for an engine that
            // never comes.
            if Self::stays_stopped(&desk, &context).await {
                desk.close("the session is stopped; start it again");
                desk.set_state(SessionState::Stopped, None, None);
                return Ok(Started::Ignore);
            }
            // The first start is no restart, and neither is one after a stop in good order.
            if context.attempt() > 0 && context.last_exit().is_some_and(|exit| !exit.is_clean()) {
                desk.note(Shown::Restarted);
            }
            let arguments = SessionArguments::of(Arc::clone(&desk));
            let engine = Arc::clone(&arguments.engine);
            let (actor, join) =
                ractor::Actor::spawn_linked(None, SessionActor, arguments, context.supervisor()).await?;
            // Not before: a start that fails is a run that its supervisor does not know it by.
            desk.set_run(context.run_id());
            let owner = session.0;
            let leftovers =
                Leftovers { actor: actor.get_id(), desk: Arc::clone(&desk), engine, _owner: owner };
            let child = Child::new(actor.get_cell(), join)
                .resource(Arc::new(leftovers))
                .extension(Session::of_desk(desk));
            Ok(Started::Running(child))
        })
    }

    fn given_up(&self, how: GiveUp, last_exit: Option<&ExitReason>) {
        self.0.given_up(how, last_exit);
    }
}
