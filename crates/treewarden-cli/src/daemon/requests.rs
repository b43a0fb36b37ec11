//! What each request does.

use serde_json::{Value, json};
use treewarden::TurnId;
use treewarden::events::Position;
use treewarden::session::QueryErrorKind;
use treewarden::tree::RestartError;

use super::connection::{Connection, Hangup};
use super::reload::{self, Reload};
use super::{Shared, asking, unsaved};
use crate::wire::{Code, Refusal, Request, VERSION};

/// Answers one request.
pub(super) async fn answer(
    request: Request,
    connection: &mut Connection,
    shared: &Shared,
) -> Result<(), Hangup> {
    // What may take its time says so, since a client waits for a sign of life and not for the end.
    if request.takes_its_time() {
        connection.item(json!({ "type": "begun" })).await?;
    }
    let answer = match request {
        Request::Ask { name, prompt, stream, detach } => {
            return asking::ask(shared, connection, &name, prompt, stream, detach).await;
        }
        Request::Turn { turn, wait: true } => return asking::wait(shared, connection, turn).await,
        Request::Events { follow, since } => return events(shared, connection, follow, since).await,
        Request::Hello {} => Ok(json!({
            "protocol": VERSION, "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(),
            "state_dir": shared.tree.host().state_dir(),
        })),
        Request::Reload { file, dry_run, allow_empty, force } => {
            reload::reload(shared, file, Reload { dry_run, allow_empty, force }).await
        }
        Request::Ps {} => {
            let host = shared.tree.host();
            json_of(&json!({ "sessions": host.sessions(), "warm": host.warm(), "removed": host.removed() }))
        }
        Request::Tree {} => json_of(&shared.tree.outline().await),
        Request::Turn { turn, wait: false } => asking::report(shared, turn).await,
        Request::Cancel { turn } => cancel(shared, turn).await,
        Request::Restart { name, force } => restart(shared, &name, force).await.map(|()| done()),
        Request::Stop { name, force } => stop(shared, &name, force).await,
        Request::Start { name } => {
            let session = shared.tree.session(&name);
            match session.status().await {
                Ok(_) => session.start_again().await.map_err(|error| Refusal::new(Code::Failed, error)),
                Err(error) => Err(asking::refusal(&error)),
            }
            .map(|()| done())
        }
        Request::Clear { name } => {
            shared.tree.session(&name).clear().await.map(|()| done()).map_err(|error| asking::refusal(&error))
        }
        Request::Interrupt { name } => {
            let interrupted = shared.tree.session(&name).interrupt().await;
            interrupted
                .map(|interrupted| json!({ "interrupted": interrupted }))
                .map_err(|error| asking::refusal(&error))
        }
    };
    connection.end(answer).await
}

/// Stops a session, unless that would lose its conversation and nobody insists.
async fn stop(shared: &Shared, name: &str, force: bool) -> Result<Value, Refusal> {
    let session = shared.tree.session(name);
    if !force {
        unsaved::refuse(shared, [name], &format!("{name} is not stopped"), "stop it").await?;
    }
    session.stop().await.map_err(|error| asking::refusal(&error))?;
    let left = session.status().await.ok().and_then(|status| status.may_be_left);
    Ok(json!({ "may_be_left": left }))
}

/// Restarts a session, or else a supervisor of this name, unless that would lose a conversation and nobody insists.
async fn restart(shared: &Shared, name: &str, force: bool) -> Result<(), Refusal> {
    let session = shared.tree.session(name);
    if !force {
        let below = match session.status().await {
            Ok(_) => vec![name.to_owned()],
            Err(_) => unsaved::below(&shared.tree.outline().await, name),
        };
        let below = below.iter().map(String::as_str);
        unsaved::refuse(shared, below, &format!("{name} is not restarted"), "restart it").await?;
    }
    // A call to somebody who is not there is that, before it is anything else.
    match session.status().await {
        Ok(_) => session.restart().await.map_err(|error| Refusal::new(Code::Failed, error)),
        Err(error) if error.kind() == QueryErrorKind::NoSuchSession => {
            shared.tree.restart_supervisor(name).await.map_err(|error| not_restarted(shared, name, &error))
        }
        Err(error) => Err(asking::refusal(&error)),
    }
}

fn not_restarted(shared: &Shared, name: &str, error: &RestartError) -> Refusal {
    match error {
        RestartError::NotFound { known, .. } => {
            let sessions: Vec<String> =
                shared.tree.host().sessions().iter().map(|session| session.name.to_string()).collect();
            let message = format!(
                "nothing that can be restarted is named {name:?}; sessions: {}; supervisors: {}",
                listed(&sessions),
                listed(known)
            );
            Refusal::new(Code::NoSuchSession, message)
        }
        RestartError::Ambiguous { .. } => Refusal::new(Code::BadRequest, error),
        RestartError::Busy => Refusal::new(Code::Busy, error),
        RestartError::Stopping => Refusal::new(Code::Stopped, error),
        _ => Refusal::new(Code::Failed, error),
    }
}

/// The first names of a list, and how many more there are.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    match names.len() {
        0 => "none".to_owned(),
        len if len > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), len - SHOWN),
        _ => names.join(", "),
    }
}

fn done() -> Value {
    json!({})
}

fn json_of(value: &impl serde::Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|error| Refusal::new(Code::Failed, error))
}

async fn cancel(shared: &Shared, turn: TurnId) -> Result<Value, Refusal> {
    let found = shared.tree.host().turn(turn).map_err(|error| Refusal::new(Code::Failed, error))?;
    let Some(found) = found else {
        return Err(Refusal::new(Code::NoSuchTurn, format!("no turn has the id {turn}")));
    };
    let is_open = found.outcome.is_none();
    if is_open {
        let session = shared.tree.session(found.name.as_str());
        session.cancel(turn).await.map_err(|error| asking::refusal(&error))?;
    }
    Ok(json!({ "cancelled": is_open }))
}

/// Shows the events that are kept, or those since a position, and those that come if the client follows.
///
/// The client's place in the events is a number: one that reads slowly keeps no event here but the one it is sent.
async fn events(
    shared: &Shared,
    connection: &mut Connection,
    follow: bool,
    since: Option<Position>,
) -> Result<(), Hangup> {
    let place = if follow { connection.lasting(&shared.clients).await?.map(Some) } else { Ok(None) };
    let _place = match place {
        Ok(place) => place,
        Err(refusal) => return connection.end(Err(refusal)).await,
    };
    let events = shared.tree.events();
    let mut reader = since.map_or_else(|| events.kept(), |position| events.since(position));
    // What happens while the client reads is not waited for, or a slow one would never come to an end.
    let until = events.latest();
    let mut is_there = false;
    loop {
        let next = if is_there && !follow {
            None
        } else if follow {
            tokio::select! {
                next = reader.next() => next,
                hangup = connection.gone() => return Err(hangup),
            }
        } else {
            reader.try_next()
        };
        match next {
            Some(Ok(event)) => connection.item_of(&*event).await?,
            Some(Err(gap)) => connection.item_of(&gap).await?,
            None => return connection.end(json_of(&reader.position())).await,
        }
        is_there = reader.position().seq >= until.seq;
    }
}
