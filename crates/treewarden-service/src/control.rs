//! The verbs that act on a session or a supervisor: none of them waits for work, and none needs a place.

use std::path::PathBuf;

use treewarden::session::{Adopted, QueryError, QueryErrorKind};
use treewarden::tree::RestartError;
use treewarden::{SessionId, SessionName, TurnId};

use crate::answer::{Answer, OfTemplate};
use crate::refusal::{Code, Refusal, Unanswered};
use crate::service::{Service, still_there};
use crate::sink::Sink;
use crate::{turns, unsaved};

pub(crate) async fn cancel(service: &Service, turn: TurnId) -> Result<Answer, Unanswered> {
    let found = turns::found(service, turn).await?;
    let is_open = found.outcome.is_none();
    // Of a turn that is settled nothing is left to cancel, and its session may be gone.
    if is_open {
        service.tree.session(found.name.as_str()).cancel(turn).await?;
    }
    Ok(Answer::Cancelled { cancelled: is_open })
}

pub(crate) async fn interrupt(service: &Service, name: &str) -> Result<Answer, Unanswered> {
    let interrupted = service.tree.find_session(name)?.interrupt().await?;
    Ok(Answer::Interrupted { interrupted })
}

pub(crate) async fn clear(service: &Service, name: &str) -> Result<Answer, Unanswered> {
    match service.tree.find_session(name) {
        Ok(session) => session.clear().await?,
        Err(error) => service.tree.host().clear_unheld(&unheld(service, name, error).await?).await?,
    }
    Ok(Answer::Done {})
}

/// A name that no session has, if its record is lost; otherwise there is no such session.
async fn unheld(service: &Service, name: &str, error: QueryError) -> Result<SessionName, Unanswered> {
    let lost = service.tree.host().lost().await.map_err(Refusal::failed)?.names;
    if let Some((found, _)) = lost.into_iter().find(|(lost, _)| lost.as_str() == name) {
        return Ok(found);
    }
    // Another may have ended the loss since it was seen: then that is what there is to say.
    let name = SessionName::new(name).map_err(|_| error.clone())?;
    match service.tree.host().why_not_lost(&name).await {
        Some(why) => {
            Err(Refusal::new(Code::NoSuchSession, format!("no session is named {name}: {why}")).into())
        }
        None => Err(error.into()),
    }
}

pub(crate) async fn clear_lost(service: &Service) -> Result<Answer, Unanswered> {
    let host = service.tree.host();
    // Asked first: afterwards nobody knows which they were.
    let names = host.lost().await.map_err(Refusal::failed)?.names;
    let names = names.into_iter().map(|(name, _)| name).collect();
    let cleared = host.clear_lost().await.map_err(Refusal::failed)?;
    Ok(Answer::Cleared { cleared, names })
}

pub(crate) async fn adopt(service: &Service, name: &str, id: SessionId) -> Result<Answer, Unanswered> {
    match service.tree.find_session(name) {
        Ok(session) => session.adopt(id).await?,
        Err(error) => {
            let name = unheld(service, name, error).await?;
            let name = service.tree.host().adopt_unheld(&name, id).await?;
            let has_template = service.has_template(name.template.as_ref());
            return Ok(Answer::TakenOver(OfTemplate { name, has_template }));
        }
    }
    Ok(Answer::Done {})
}

pub(crate) async fn adopt_lost(service: &Service) -> Result<Answer, Unanswered> {
    let host = service.tree.host();
    let names = host.adopt_lost().await.map_err(Refusal::failed)?;
    let of = |name: Adopted| OfTemplate { has_template: service.has_template(name.template.as_ref()), name };
    let names = names.into_iter().map(of).collect();
    let others = host.lost().await.map_err(Refusal::failed)?.others;
    Ok(Answer::Adopted { names, others })
}

pub(crate) async fn start(service: &Service, name: &str) -> Result<Answer, Unanswered> {
    // Looked for first, so that a name that nobody has is refused as such, and not as a start that failed.
    service.tree.find_session(name)?.start_again().await?;
    Ok(Answer::Done {})
}

/// Copies the store; the caller may go meanwhile, and the copy is made all the same.
pub(crate) async fn backup(service: &Service, to: PathBuf) -> Result<Answer, Unanswered> {
    // A path that is not whole would be taken from where the tree happens to have been started.
    if !to.is_absolute() {
        let text = format!("{} is no absolute path", to.display());
        return Err(Refusal::new(Code::BadRequest, text).into());
    }
    service.tree.host().backup(to).await.map_err(Refusal::failed)?;
    Ok(Answer::Done {})
}

/// Refuses to end a session if that would lose its conversation and nobody insists, or if the caller has gone meanwhile.
async fn may_end(
    service: &Service,
    sink: &mut impl Sink,
    name: &str,
    force: bool,
    how: &str,
) -> Result<(), Unanswered> {
    if !force {
        unsaved::refuse(service, [name], &format!("{name} is not {how}")).await?;
    }
    // The look may take seconds: a caller who has gone by now may have thought better of it.
    Ok(still_there(sink)?)
}

/// Stops a session, unless that would lose its conversation and nobody insists.
pub(crate) async fn stop(
    service: &Service,
    sink: &mut impl Sink,
    name: &str,
    force: bool,
) -> Result<Answer, Unanswered> {
    let session = service.tree.find_session(name)?;
    may_end(service, sink, name, force, "stopped").await?;
    session.stop().await?;
    // The session is stopped either way; if it cannot be asked any more, it has nothing to tell.
    let may_be_left = session.status().await.ok().and_then(|status| status.may_be_left);
    Ok(Answer::Stopped { may_be_left })
}

/// Makes a session of a template.
pub(crate) async fn new(service: &Service, template: &str, name: &str) -> Result<Answer, Unanswered> {
    let session = service.tree.new_session(template, name).await?;
    Ok(Answer::Made { name: session.name().to_owned() })
}

/// Removes a session that was made of a template, unless that would lose its conversation and nobody insists.
pub(crate) async fn remove(
    service: &Service,
    sink: &mut impl Sink,
    name: &str,
    force: bool,
) -> Result<Answer, Unanswered> {
    may_end(service, sink, name, force, "removed").await?;
    // The handle is taken before the removal, which frees the name.
    let session = service.tree.host().session(name);
    service.tree.remove_session(name).await?;
    // The handle still shows what the session left, although its name is free by now.
    let status = match session {
        Some(session) => session.status().await.ok(),
        None => None,
    };
    Ok(Answer::Stopped { may_be_left: status.and_then(|status| status.may_be_left) })
}

/// Restarts a session, or else a supervisor of this name, unless that would lose a conversation and nobody insists.
pub(crate) async fn restart(
    service: &Service,
    sink: &mut impl Sink,
    name: &str,
    force: bool,
) -> Result<Answer, Unanswered> {
    let session = service.tree.session(name);
    if !force {
        let below = match session.status().await {
            // A name that no session has may be a supervisor's, with all sessions below it.
            Ok(_) => vec![name.to_owned()],
            Err(_) => unsaved::below(&service.tree.outline().await, name),
        };
        let below = below.iter().map(String::as_str);
        unsaved::refuse(service, below, &format!("{name} is not restarted")).await?;
    }
    still_there(sink)?;
    // Asked again: the look took its time.
    match session.status().await {
        Ok(_) => session.restart().await?,
        Err(error) if error.kind() == QueryErrorKind::NoSuchSession => {
            let restarted = service.tree.restart_supervisor(name).await;
            restarted.map_err(|error| not_restarted(&error))?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Answer::Done {})
}

fn not_restarted(error: &RestartError) -> Refusal {
    match error {
        RestartError::NotFound { .. } => Refusal::new(Code::NoSuchSession, error),
        RestartError::Ambiguous { .. } => Refusal::new(Code::BadRequest, error),
        RestartError::Busy => Refusal::new(Code::Busy, error),
        RestartError::Stopping => Refusal::new(Code::Stopped, error),
        _ => Refusal::failed(error),
    }
}
