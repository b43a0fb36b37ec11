//! What each request does.

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use treewarden::TurnId;
use treewarden::session::QueryErrorKind;
use treewarden::tree::RestartError;

use super::connection::{Connection, Hangup};
use super::reload::{self, Reload};
use super::{Shared, asking, journal, unsaved};
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
        Request::Events { follow } => return events(shared, connection, follow).await,
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
        Request::Turn { turn, wait: false } => asking::report(shared, turn),
        Request::Cancel { turn } => cancel(shared, turn),
        Request::Restart { name, force } => restart(shared, &name, force).await.map(|()| done()),
        Request::Stop { name, force } => stop(shared, &name, force).await,
        Request::Start { name } => {
            let session = shared.tree.session(&name);
            match session.status() {
                Ok(_) => session.start_again().await.map_err(|error| Refusal::new(Code::Failed, error)),
                Err(error) => Err(asking::refusal(&error)),
            }
            .map(|()| done())
        }
        Request::Clear { name } => {
            shared.tree.session(&name).clear().await.map(|()| done()).map_err(|error| asking::refusal(&error))
        }
        Request::Interrupt { name } => {
            let interrupted = shared.tree.session(&name).interrupt();
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
    let left = session.status().ok().and_then(|status| status.may_be_left);
    Ok(json!({ "may_be_left": left }))
}

/// Restarts a session, or else a supervisor of this name, unless that would lose a conversation and nobody insists.
async fn restart(shared: &Shared, name: &str, force: bool) -> Result<(), Refusal> {
    let session = shared.tree.session(name);
    if !force {
        let below = match session.status() {
            Ok(_) => vec![name.to_owned()],
            Err(_) => unsaved::below(&shared.tree.outline().await, name),
        };
        let below = below.iter().map(String::as_str);
        unsaved::refuse(shared, below, &format!("{name} is not restarted"), "restart it").await?;
    }
    // A call to somebody who is not there is that, before it is anything else.
    match session.status() {
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

fn cancel(shared: &Shared, turn: TurnId) -> Result<Value, Refusal> {
    let found = shared.tree.host().turn(turn).map_err(|error| Refusal::new(Code::Failed, error))?;
    let Some(found) = found else {
        return Err(Refusal::new(Code::NoSuchTurn, format!("no turn has the id {turn}")));
    };
    let is_open = found.outcome.is_none();
    if is_open {
        let session = shared.tree.session(found.name.as_str());
        session.cancel(turn).map_err(|error| asking::refusal(&error))?;
    }
    Ok(json!({ "cancelled": is_open }))
}

async fn events(shared: &Shared, connection: &mut Connection, follow: bool) -> Result<(), Hangup> {
    let place = if follow { connection.lasting(&shared.clients).await?.map(Some) } else { Ok(None) };
    let _place = match place {
        Ok(place) => place,
        Err(refusal) => return connection.end(Err(refusal)).await,
    };
    let (kept, mut live) = shared.journal.read();
    for event in kept {
        connection.item((*event).clone()).await?;
    }
    if !follow {
        return connection.end(Ok(done())).await;
    }
    loop {
        let event = tokio::select! {
            event = live.recv() => event,
            hangup = connection.gone() => return Err(hangup),
        };
        match event {
            Ok(event) => connection.item((*event).clone()).await?,
            Err(RecvError::Lagged(missed)) => connection.item(journal::lagged(missed)).await?,
            Err(RecvError::Closed) => return connection.end(Ok(done())).await,
        }
    }
}
