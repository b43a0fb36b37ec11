//! The handle of a session: a cheap clone that keeps nothing alive.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use treewarden_core::session::{Answer, Prompt, SessionState};
use treewarden_proto::{SessionId, SessionName, TurnId};

use super::desk::Desk;
use super::error::QueryError;
use super::options::SessionOptions;
use super::sink::Sink;
use super::start_error::StartError;
use super::status::Status;
use super::turn::Turn;
use crate::host::{Holder, Host};
use crate::registry::Name;
use crate::supervisor::Supervisor;
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{FindChildError, Restart, RestartChildError, Shutdown};

/// A session, by itself or by its name.
///
/// A cheap clone; dropping it stops nothing. A handle that was made by name finds whoever holds the name at each call.
///
/// # Examples
///
/// ```no_run
/// use treewarden::session::Session;
/// use treewarden::SessionSpec;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let session = Session::start(SessionSpec::new().model("sonnet")).await?;
/// session.query("My name is Alice").await?;
/// println!("{}", session.query("What is my name?").await?);
/// session.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session {
    target: Target,
}

#[derive(Clone)]
enum Target {
    Desk(Arc<Desk>),
    Name(Option<Host>, Arc<str>),
    Via(Name, Arc<str>),
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.name()).finish()
    }
}

#[expect(clippy::unused_async, reason = "a handle of a session elsewhere will have to ask")]
impl Session {
    /// Starts a session of its own, under a supervisor of its own.
    ///
    /// No CLI is started yet: the first turn does that. The session lives until it is stopped, or crashes more than
    /// `max_restarts` times within `max_seconds`. Without a name in the options it gets one.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the options contradict each other, the name is taken, or the state directory cannot be used.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the session may have been started.
    pub async fn start(options: impl Into<SessionOptions>) -> Result<Self, StartError> {
        let mut options = options.into();
        options.asked_for = true;
        let host = options.resolve_host()?;
        let flags = options.flags.clone();
        let spec = options.child_spec(&host)?;
        let name = spec.id().to_string();
        // The claim below decides; this look names the holder instead of a child that does not start.
        if host.find(&name).is_some_and(|desk| !desk.is_closed()) {
            let name = SessionName::new(&name).map_err(|error| StartError::invalid(&error))?;
            return Err(StartError::taken(&name));
        }
        let supervisor = Supervisor::builder()
            .flags(flags)
            .child(spec)
            .start()
            .await
            .map_err(|error| StartError::supervisor(&error))?;
        let desk = host.find(&name).ok_or_else(|| StartError::supervisor(&"it ended at once"))?;
        desk.set_private_supervisor(supervisor);
        Ok(Self::of_desk(desk))
    }

    /// A handle for whoever holds `name` in [`Host::shared`] when it is used.
    ///
    /// It does not open the shared host: until the program does, nobody holds a name in it.
    pub fn named(name: &str) -> Self {
        Self { target: Target::Name(None, name.into()) }
    }

    /// A handle for whoever holds `name` in `host` when it is used.
    pub fn named_in(host: &Host, name: &str) -> Self {
        Self { target: Target::Name(Some(host.clone()), name.into()) }
    }

    /// A handle for whoever holds a name of a registry of the program's own when it is used.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use treewarden::registry::Registry;
    /// use treewarden::{Session, SessionOptions, SessionSpec};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let tenants: Registry<u32, ()> = Registry::unique().build();
    /// Session::start(SessionOptions::from(SessionSpec::new()).via(tenants.name(7, ()))).await?;
    /// println!("{}", Session::via(tenants.name(7, ())).query("Hello!").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn via(name: Name) -> Self {
        let shown = format!("{name:?}").into();
        Self { target: Target::Via(name, shown) }
    }

    pub(crate) fn of_desk(desk: Arc<Desk>) -> Self {
        Self { target: Target::Desk(desk) }
    }

    fn desk(&self) -> Result<Arc<Desk>, QueryError> {
        match &self.target {
            Target::Desk(desk) => Ok(Arc::clone(desk)),
            Target::Name(host, name) => {
                // A program that has not opened its shared host has no session in it; and so none has to be opened here.
                let host = host.clone().or_else(Host::opened);
                let desk = host.as_ref().and_then(|host| host.find(name));
                desk.ok_or_else(|| QueryError::no_such_session(name, host.as_ref()))
            }
            Target::Via(name, shown) => {
                let desk = name.attached::<Holder>().and_then(|holder| holder.who());
                desk.ok_or_else(|| QueryError::nobody_via(shown))
            }
        }
    }

    /// The name by which the session is found.
    pub fn name(&self) -> &str {
        match &self.target {
            Target::Desk(desk) => desk.name.as_str(),
            Target::Name(_, name) | Target::Via(_, name) => name,
        }
    }

    /// Sends a prompt and waits for its answer.
    ///
    /// Its words reach the model as they are: what the CLI is to act on is a [`Prompt::command`]. Turns run one at a time, in
    /// order. While the session is being restarted, the call waits.
    ///
    /// # Errors
    ///
    /// [`QueryError`]: nobody holds the name, the prompt is blank, the queue is full, the turn cannot be stored, or it came to
    /// something other than an answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the turn if it waits and interrupts it if it runs.
    pub async fn query(&self, prompt: impl Into<Prompt>) -> Result<Answer, QueryError> {
        self.open(prompt.into(), true, false).await?.answer().await
    }

    /// Sends a prompt, as [`query`](Self::query) does, and returns its stream.
    ///
    /// # Errors
    ///
    /// [`QueryError`]: nobody holds the name, the prompt is blank, the queue is full, or the turn cannot be stored.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the turn.
    pub async fn stream(&self, prompt: impl Into<Prompt>) -> Result<Turn, QueryError> {
        self.open(prompt.into(), false, false).await
    }

    pub(super) async fn open(&self, prompt: Prompt, quiet: bool, alone: bool) -> Result<Turn, QueryError> {
        let desk = self.desk()?;
        // The order matters. The place comes first, since a turn that is stored and has no room in the queue
        // would be run by the next host. The look at the locks comes before the row, since a row in a
        // directory that was removed is read by nobody.
        let turn = TurnId::new();
        let place = desk.reserve(&prompt)?;
        desk.may_accept()?;
        desk.open_turn(turn, &prompt).await.map_err(|error| QueryError::store(&error))?;
        let sink = Arc::new(Sink::new(quiet));
        // Nothing is waited for between the row and the queue, so that a caller who is dropped leaves no row
        // without an entry.
        desk.enqueue(place, turn, prompt, Arc::clone(&sink), alone);
        Ok(Turn::new(turn, desk, sink))
    }

    /// Joins an open turn, such as one that an earlier host left; `None` if it is not open here.
    ///
    /// It yields what comes from now on. A turn that is joined is not interrupted when the returned value is dropped.
    /// Its consumers, 64 at most, get every frame, and so go at the pace of the slowest: none is ahead of another by
    /// more than the 1 MiB that a stream buffers.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if nobody holds the name or the turn has 64 consumers.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped nothing is joined.
    pub async fn attach(&self, turn: TurnId) -> Result<Option<Turn>, QueryError> {
        let desk = self.desk()?;
        let sink = Arc::new(Sink::new(false));
        if desk.attach(turn, &sink)? { Ok(Some(Turn::joined(turn, desk, sink))) } else { Ok(None) }
    }

    /// The conversation's id; `None` before the first start of a CLI.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if nobody holds the name.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn id(&self) -> Result<Option<SessionId>, QueryError> {
        Ok(self.desk()?.status().session_id)
    }

    /// What is known of the session, at once.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if nobody holds the name.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn status(&self) -> Result<Status, QueryError> {
        Ok(self.desk()?.status())
    }

    /// Tells whether the session can be asked: somebody holds the name, and it was not stopped or given up.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn is_alive(&self) -> bool {
        self.desk().is_ok_and(|desk| desk.is_served())
    }

    /// Begins a new conversation, in its place behind the turns that wait; the session and its name stay.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if nobody holds the name or the queue is full. [`QueryErrorKind::Store`](super::QueryErrorKind::Store) if it
    /// is cleared and that cannot be stored within ten seconds: then the next host may go on with the conversation that was left.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the conversation is cleared all the same.
    pub async fn clear(&self) -> Result<(), QueryError> {
        let desk = self.desk()?;
        if desk.lost().is_some() {
            return desk.begin_anew().await;
        }
        // Or else the next host goes on with the conversation that was to be left.
        if let Some(why) = desk.host.removed() {
            return Err(QueryError::not_noted(&format!("{} is not cleared", desk.name), &why));
        }
        let done = desk.enqueue_clear()?;
        // The sender goes with the entry when the session is closed or given up.
        let stored = done.await;
        let stored =
            stored.map_err(|_| QueryError::stopped(None, "the session ended before it was cleared"))?;
        stored.map(drop).map_err(|why| {
            let what = format!(
                "{} is cleared; that is not stored yet, and unless the store takes it before this tree ends, the next one goes on as \
                 before",
                desk.name
            );
            QueryError::not_noted(&what, &why.to_string())
        })
    }

    /// Takes a conversation over by its id, in place of a record that was lost: turns that were refused with
    /// [`ConversationLost`](treewarden_core::session::FailureKind::ConversationLost) are taken from then on, and go on with it.
    ///
    /// Its transcript must be whole: all that the journal knows to have been answered in it must be there.
    ///
    /// # Errors
    ///
    /// [`QueryErrorKind::NotAdopted`](super::QueryErrorKind::NotAdopted) if the session's record is not lost, or the transcript is
    /// not whole, with the reason; [`QueryErrorKind::Store`](super::QueryErrorKind::Store) if it cannot be stored; or nobody holds
    /// the name.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the conversation may be taken over all the same.
    pub async fn adopt(&self, id: SessionId) -> Result<(), QueryError> {
        let desk = self.desk()?;
        let config_dir = super::engine::config_dir_of(&desk)
            .map_err(|why| QueryError::not_adopted(&desk.name, id, &why))?;
        desk.adopt(id, config_dir).await
    }

    /// Ends the foremost turn, or what the CLI works at by itself; `false` if there is neither, and nothing was done.
    ///
    /// A turn that no CLI has been sent yet is taken back, whatever it waits for; one that runs is interrupted. Background
    /// tasks of an idle CLI are no such work: they go on.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if nobody holds the name.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the interrupt may have been asked for.
    pub async fn interrupt(&self) -> Result<bool, QueryError> {
        Ok(self.desk()?.interrupt_what_runs())
    }

    /// Takes a turn out of the queue, or interrupts it if it runs.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if nobody holds the name.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the turn may have been cancelled.
    pub async fn cancel(&self, turn: TurnId) -> Result<(), QueryError> {
        self.desk()?.cancel(turn, treewarden_core::session::DrainReason::Interrupted);
        Ok(())
    }

    /// What of the conversation would be lost if the session were stopped now: which turn is not on disk, and where it was
    /// looked for. `None` if all is there, or no CLI lives.
    ///
    /// The last turn that came to an answer is looked for in the CLI's transcript, for a second or so: the CLI prints a
    /// result before it has written it.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if nobody holds the name.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn unsaved(&self) -> Result<Option<String>, QueryError> {
        Ok(self.desk()?.unsaved().await)
    }

    /// Stops the session: the running turn is interrupted, the others are cancelled, the CLI ends in good order.
    ///
    /// The session stays stopped, also when its host starts again, until it is started by
    /// [`start_again`](Self::start_again) or [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// [`QueryError`] if nobody holds the name, or if processes of the session live on that may not be ended: then the session
    /// is stopped, and the error names them. [`QueryErrorKind::Store`](super::QueryErrorKind::Store) if that it is stopped, or an
    /// outcome of a turn, cannot be stored within ten seconds: then it is stopped until its host starts again, and the host stores
    /// both as soon as that can be.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the session may be left without a CLI, still served.
    pub async fn stop(&self) -> Result<(), QueryError> {
        let desk = self.desk()?;
        // The CLI first, in good order and outside its supervisor, which would otherwise be busy for as long
        // as that takes.
        desk.put_down("the session is stopped").await;
        let unnoted = match desk.set_stopped(true).await {
            Some(why) => Some((why, "that is not stored yet", "it starts again with the next tree")),
            // Where it was stopped before, the outcomes alone are waited for.
            None => desk.unstored().await.map(|why| {
                (why, "outcomes of its turns are not stored yet", "the next tree asks those turns again")
            }),
        };
        let noted = || match &unnoted {
            None => Ok(()),
            Some((why, what, follows)) => {
                let name = &desk.name;
                let what = format!(
                    "{name} is stopped; {what}, and unless the store takes it before this tree ends, {follows}"
                );
                Err(QueryError::not_noted(&what, why))
            }
        };
        if let Some(supervisor) = desk.private_supervisor() {
            // How the private supervisor ended does not matter: what counts is whether all processes are
            // gone.
            let _reason = supervisor.stop(ExitReason::Shutdown).await;
            return desk.is_gone().and_then(|()| noted());
        }
        if let Some(supervisor) = desk.supervisor() {
            // A supervisor that has ended, or no longer knows the session, has nothing left to end.
            let _gone = supervisor.terminate_child(desk.name.as_str()).await;
        } else if let Some(actor) = desk.doorbell() {
            // A supervisor that starts it again finds it stopped.
            let _gone = actor.stop_and_wait(None, None).await;
        }
        desk.close("the session is stopped; start it again");
        desk.set_state(SessionState::Stopped, None, None);
        desk.is_gone().and_then(|()| noted())
    }

    /// The desk, and the supervisor that can start it again.
    fn supervised(&self) -> Result<(Arc<Desk>, Supervisor), StartError> {
        let desk = self.desk().map_err(|error| StartError::no_such_session(&error))?;
        // Before anything is done: one that was started now would be ended by its removal.
        if desk.is_being_removed() {
            return Err(StartError::being_removed(&desk.name));
        }
        match desk.supervisor() {
            Some(supervisor) => Ok((desk, supervisor)),
            None => Err(StartError::supervisor(&"its supervisor is not one of treewarden's")),
        }
    }

    /// Starts a session again that was stopped.
    ///
    /// # Errors
    ///
    /// [`StartError`] if it runs, or if its supervisor refuses.
    /// [`StartErrorKind::NoSuchSession`](super::StartErrorKind::NoSuchSession) if nobody holds the name, or it is being removed.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the session may have been started.
    pub async fn start_again(&self) -> Result<(), StartError> {
        let (desk, supervisor) = self.supervised()?;
        // `set_stopped` says what it could not store; the session runs from now on all the same.
        let _said = desk.set_stopped(false).await;
        let started = supervisor.restart_child(desk.name.as_str()).await;
        started.map(drop).map_err(|error| not_started(&desk, &error))
    }

    /// Ends the session's actor and CLI and starts them anew; its conversation and open turns are carried on.
    ///
    /// What the store refuses for good, and what keeps all else of the session from being stored, is let go: in the place of an
    /// outcome a note is stored, which says so.
    ///
    /// Those who ask for it at once get one restart. What is started was started after each of them asked.
    ///
    /// # Errors
    ///
    /// [`StartError`] if its supervisor refuses, or would forget it because it is temporary; then it lives on.
    /// [`StartErrorKind::NoSuchSession`](super::StartErrorKind::NoSuchSession) if nobody holds the name, or it is being removed.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the session may be left stopped, unless another call waits for the same restart; as long as
    /// its CLI is being ended it is left without one, still served.
    pub async fn restart(&self) -> Result<(), StartError> {
        let (desk, supervisor) = self.supervised()?;
        let id = desk.name.as_str();
        let spec = supervisor.get_childspec(id).await.map_err(|error| not_found(&desk, error))?;
        if spec.restart == Restart::Temporary {
            let why = format!(
                "{id:?} is temporary, and its supervisor forgets it once it is stopped; start another"
            );
            return Err(StartError::supervisor(&why));
        }
        let stop = async {
            desk.let_go();
            // The CLI first, outside its supervisor, which would otherwise serve nobody else for as long as that
            // takes. The turns wait until the actor is gone, which would start another CLI for them.
            let _aside = desk.put_aside(patience(spec.effective_shutdown())).await;
            supervisor.terminate_child(id).await.map_err(|error| not_found(&desk, error))
        };
        let start = async {
            match supervisor.restart_child(id).await {
                // Since it was stopped its supervisor started it, as with a sibling that crashed, or another call did.
                Ok(_) | Err(RestartChildError::Running | RestartChildError::Restarting) => Ok(()),
                Err(error) => Err(not_started(&desk, &error)),
            }
        };
        desk.restarts.one(stop, start).await
    }
}

/// How long a child that is stopped like this may take to end; `None` is without limit.
fn patience(shutdown: Shutdown) -> Option<Duration> {
    match shutdown {
        Shutdown::BrutalKill => Some(Duration::ZERO),
        Shutdown::Timeout(limit) => Some(limit),
        Shutdown::Infinity => None,
    }
}

/// Why a supervisor does not find a session: most likely as that is removed meanwhile.
fn not_found(desk: &Desk, error: FindChildError) -> StartError {
    match error {
        _ if desk.is_being_removed() => StartError::being_removed(&desk.name),
        FindChildError::NotFound => StartError::forgotten(&desk.name),
        error => StartError::supervisor(&error),
    }
}

/// Why a supervisor does not start a session.
fn not_started(desk: &Desk, error: &RestartChildError) -> StartError {
    match error {
        _ if desk.is_being_removed() => StartError::being_removed(&desk.name),
        RestartChildError::NotFound => StartError::forgotten(&desk.name),
        RestartChildError::Running => StartError::runs(&desk.name),
        RestartChildError::Restarting => StartError::restarts(&desk.name),
        error => StartError::supervisor(error),
    }
}
