//! What a session's supervisor is asked for: to stop the session, to restart it, to start it again.
//!
//! It is not for what a supervisor does by itself, and not for the end of a CLI, which is the desk's. No supervisor may wait for a
//! CLI here: that ends before its supervisor is asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use treewarden_core::session::SessionState;
use treewarden_otp_core::ExitReason;
use treewarden_otp_core::supervisor::{FindChildError, Restart, RestartChildError, Shutdown};

use super::desk::Desk;
use super::error::QueryError;
use super::handle::Session;
use super::options::SessionOptions;
use super::start_error::StartError;
use crate::supervisor::Supervisor;

impl Session {
    /// Stops the session: the running turn is interrupted, the others are cancelled, the CLI ends in good order.
    ///
    /// The session stays stopped, also when its host starts again, until it is started by
    /// [`start_again`](Self::start_again), [`restart`](Self::restart) or [`start`](Self::start), or is added to a supervisor that
    /// runs. A supervisor whose children come and go forgets it, and its name is free.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn run(session: treewarden::Session) -> Result<(), Box<dyn std::error::Error>> {
    /// // The CLI may hold the only copy of the last answer: a stop would lose it.
    /// if let Some(why) = session.unsaved().await? {
    ///     return Err(why.into());
    /// }
    /// session.stop().await?;
    /// assert!(!session.is_alive().await);
    /// // Its conversation is kept, and goes on.
    /// session.start_again().await?;
    /// # Ok(())
    /// # }
    /// ```
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
        let is_ended = match desk.supervisor() {
            Some(supervisor) => desk.terminate(&supervisor).await.is_ok(),
            None => false,
        };
        // Of one that is no child of treewarden's supervisors, or of none that knows it.
        if !is_ended && let Some(actor) = desk.doorbell() {
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
            // The name is there before what supervises it.
            None if desk.doorbell().is_none() => {
                Err(StartError::supervisor(&"it is being made, or has no actor; ask again when it runs"))
            }
            None => Err(StartError::supervisor(&"its supervisor is not one of treewarden's")),
        }
    }

    /// Starts a session again that was stopped, or given up.
    ///
    /// Where its supervisor has forgotten it, since its children come and go, or has ended with it, as that of
    /// [`start`](Self::start), it is made anew of the options that it had.
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
        // Nobody but who has the name may write its record; who makes it anew does that.
        if !desk.is_retired() {
            // `set_stopped` says what it could not store; the session runs from now on all the same.
            let _said = desk.set_stopped(false).await;
        }
        match supervisor.restart_child(desk.name.as_str()).await {
            Ok(_) => Ok(()),
            Err(RestartChildError::NoProc) if desk.private_supervisor().is_some() => {
                Self::start(options_of(&desk)).await.map(drop)
            }
            Err(RestartChildError::Dynamic) => start_run_again(&desk, &supervisor).await,
            Err(error) => Err(not_started(&desk, &error)),
        }
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
        let spec = match desk.child_spec(&supervisor).await {
            Ok(spec) => spec,
            // It was stopped, and there is nothing to end.
            Err(_) if desk.is_closed() => return self.start_again().await,
            Err(error) => return Err(not_found(&desk, error)),
        };
        if spec.restart == Restart::Temporary {
            let why = format!(
                "{id:?} is temporary, and its supervisor forgets it once it is stopped; start another"
            );
            return Err(StartError::supervisor(&why));
        }
        // Kept until the actor is gone, which would start another CLI for the turns that wait.
        let aside = Mutex::new(None);
        let let_in = || aside.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stop = async {
            desk.let_go();
            // The CLI first, outside its supervisor, which would otherwise serve nobody else for as long as that
            // takes.
            let put_aside = desk.put_aside(patience(spec.effective_shutdown())).await;
            *aside.lock().unwrap_or_else(PoisonError::into_inner) = Some(put_aside);
            let ended = match supervisor.terminate_child(id).await {
                // One whose children come and go would forget it: there it is ended and started in one step.
                Err(FindChildError::NotFound) if desk.run_spec(&supervisor).await.is_ok() => return Ok(()),
                ended => ended.map_err(|error| not_found(&desk, error)),
            };
            drop(let_in());
            ended
        };
        let start = async {
            let started = match supervisor.restart_child(id).await {
                Err(RestartChildError::Dynamic) => desk.restart_run(&supervisor).await,
                started => started,
            };
            drop(let_in());
            match started {
                // Since it was stopped its supervisor started it, as with a sibling that crashed, or another call did.
                Ok(_) | Err(RestartChildError::Running | RestartChildError::Restarting) => Ok(()),
                Err(error) => Err(not_started(&desk, &error)),
            }
        };
        desk.restarts.one(stop, start).await
    }
}

/// Starts a session again whose supervisor has children that come and go.
async fn start_run_again(desk: &Desk, supervisor: &Supervisor) -> Result<(), StartError> {
    // It runs, or is about to: a restart of it was not asked for.
    if desk.is_served() {
        return Err(not_started(desk, &RestartChildError::Running));
    }
    match desk.restart_run(supervisor).await {
        // It forgot the session when that was stopped.
        Err(RestartChildError::NotFound) => {
            let spec = options_of(desk).child_spec(&desk.host)?;
            supervisor.start_child(spec).await.map(drop).map_err(|error| StartError::supervisor(&error))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(not_started(desk, &error)),
    }
}

/// What a session was made of, to make it anew.
fn options_of(desk: &Desk) -> SessionOptions {
    let mut options = SessionOptions::clone(&desk.options()).host(&desk.host);
    // One that was made without a name has had its name from then on.
    options.spec.name = Some(desk.name.clone());
    options
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
