//! The handle of a session: a cheap clone that keeps nothing alive.
//!
//! It is for asking a session, from anywhere in the program. It is not for the session's state, which is the desk's. It must never wait
//! for a lock over an await, nor keep a session alive that its supervisor has let go.

use std::fmt;
use std::sync::Arc;

use treewarden_core::session::{Answer, Prompt};
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

/// A session, by itself or by its name.
///
/// A cheap clone; dropping it stops nothing. A handle that was made by name finds whoever holds the name at each call, as does
/// any handle once its session was stopped.
///
/// A prompt that was taken has exactly one outcome, whatever dies meanwhile: the CLI, the session's actor, or the host, which carries
/// its open turns on when it starts again. Up to 64 turns wait in a session's queue; one more is refused at once.
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
        let started = Supervisor::builder().flags(flags).child(spec).start().await;
        started.map_err(|error| StartError::supervisor(&error))?;
        let desk = host.find(&name).ok_or_else(|| StartError::supervisor(&"it ended at once"))?;
        desk.set_private();
        Ok(Self::of_desk(desk))
    }

    /// A handle for whoever holds `name` in [`Host::shared`] when it is used.
    ///
    /// It does not open the shared host: until the program does, nobody holds a name in it, and the error of a call says so, or why
    /// it could not be opened when that was tried last.
    pub fn named(name: &str) -> Self {
        Self { target: Target::Name(None, name.into()) }
    }

    /// A handle for whoever holds `name` in `host` when it is used.
    ///
    /// It may be made before the session is, and kept while that comes and goes: a call finds nobody, or whoever has the name then.
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

    pub(super) fn desk(&self) -> Result<Arc<Desk>, QueryError> {
        match &self.target {
            // One that was stopped may have been started anew, where nobody had kept what it was made of.
            Target::Desk(desk) if desk.is_closed() => {
                Ok(desk.host.find(desk.name.as_str()).unwrap_or_else(|| Arc::clone(desk)))
            }
            Target::Desk(desk) => Ok(Arc::clone(desk)),
            Target::Name(host, name) => {
                let host = match host {
                    Some(host) => host.clone(),
                    // A program that has not opened its shared host has no session in it; and so none has to be opened here.
                    None => Host::opened().map_err(|why| QueryError::not_opened(name, why.as_ref()))?,
                };
                host.find(name).ok_or_else(|| QueryError::no_such_session(name, Some(&host)))
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
    /// # Examples
    ///
    /// ```no_run
    /// use treewarden::Session;
    /// use treewarden::session::{FailureKind, QueryErrorKind};
    ///
    /// # async fn run() {
    /// match Session::named("assistant").query("Summarize the README.").await {
    ///     Ok(answer) => println!("{answer} (after {} crashes)", answer.interruptions),
    ///     Err(error) if error.is_retryable() => println!("ask again later: {error}"),
    ///     Err(error) => match error.kind() {
    ///         QueryErrorKind::NoSuchSession => println!("nobody has that name: {error}"),
    ///         QueryErrorKind::Failed(FailureKind::GivenUp) => println!("its CLI crashes too often: {error}"),
    ///         _ => println!("{error}"),
    ///     },
    /// }
    /// # }
    /// ```
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
    /// # Examples
    ///
    /// A page that was reloaded goes on with the turn that it had asked:
    ///
    /// ```no_run
    /// # async fn run(session: treewarden::Session, id: treewarden::TurnId) -> Result<(), Box<dyn std::error::Error>> {
    /// use treewarden::Session;
    ///
    /// match session.attach(id).await? {
    ///     Some(turn) => println!("{}", turn.answer().await?),
    ///     // It is settled, or of another session: the host knows its outcome by its id.
    ///     None => println!("the turn is not open here"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
    /// It looks, and makes nothing. Why it is not alive is told by [`status`](Self::status), whose state says whether it was stopped or
    /// given up, and whose error why nobody holds the name.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn is_alive(&self) -> bool {
        self.desk().is_ok_and(|desk| desk.is_served())
    }

    /// Begins a new conversation, in its place behind the turns that wait; the session and its name stay.
    ///
    /// Turns that were asked before it belong to the old conversation, those after it to the new one.
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
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(session: treewarden::Session) -> Result<(), Box<dyn std::error::Error>> {
    /// use treewarden::session::Outcome;
    ///
    /// let turn = session.stream("Count all the words of this book.").await?;
    /// assert!(session.interrupt().await?, "there is a turn");
    /// match turn.outcome().await? {
    ///     Outcome::Cancelled => println!("no CLI had been sent it"),
    ///     Outcome::Interrupted => println!("it ended before its answer"),
    ///     other => println!("it had come to an end already: {}", other.word()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
}
