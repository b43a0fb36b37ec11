//! Turns over the socket: asked, streamed, waited for, and interrupted when the client goes.

use serde_json::{Value, json};
use treewarden::host::TurnReport;
use treewarden::session::{Event, Outcome, QueryError, QueryErrorKind, Turn};
use treewarden::{SessionName, TurnId};

use super::Shared;
use super::connection::{Connection, Hangup};
use crate::wire::{Code, Refusal, Streaming};

/// Sends a prompt to a session and answers with its outcome.
pub(super) async fn ask(
    shared: &Shared,
    connection: &mut Connection,
    name: &str,
    prompt: String,
    stream: Streaming,
    detach: bool,
) -> Result<(), Hangup> {
    // Whoever does not wait for the answer needs no place among those that do.
    let place = if detach { Ok(None) } else { connection.lasting(&shared.clients).await?.map(Some) };
    let _place = match place {
        Ok(place) => place,
        Err(refusal) => return connection.end(Err(refusal)).await,
    };
    let turn = match shared.tree.session(name).stream(prompt).await {
        Ok(turn) => turn,
        Err(error) => return connection.end(Err(refusal(&error))).await,
    };
    connection.is_carried_out();
    let id = turn.id();
    if detach {
        let answer = json!({ "turn": turn.detach(), "name": name });
        return connection.end(Ok(answer)).await;
    }
    connection.item(json!({ "type": "opened", "turn": id })).await?;
    follow(shared, connection, name, turn, stream).await
}

/// Waits for an open turn without owning it, and answers with its outcome.
pub(super) async fn wait(shared: &Shared, connection: &mut Connection, turn: TurnId) -> Result<(), Hangup> {
    let name = match shared.tree.host().turn(turn) {
        Ok(Some(report)) if report.outcome.is_none() => report.name,
        _ => return connection.end(report(shared, turn).await).await,
    };
    let _place = match connection.lasting(&shared.clients).await? {
        Ok(place) => place,
        Err(refusal) => return connection.end(Err(refusal)).await,
    };
    match shared.tree.session(name.as_str()).attach(turn).await {
        Ok(Some(joined)) => follow(shared, connection, name.as_str(), joined, Streaming::None).await,
        // It was settled just now, or its session is not served here.
        Ok(None) => connection.end(report(shared, turn).await).await,
        Err(error) => connection.end(Err(refusal(&error))).await,
    }
}

/// Passes a turn's events on until its outcome. When the client goes the turn is dropped, which interrupts it unless
/// it was only joined.
async fn follow(
    shared: &Shared,
    connection: &mut Connection,
    name: &str,
    mut turn: Turn,
    stream: Streaming,
) -> Result<(), Hangup> {
    let id = turn.id();
    if stream == Streaming::None {
        let outcome = tokio::select! {
            outcome = turn.outcome() => outcome,
            hangup = connection.gone() => return Err(hangup),
        };
        return match outcome {
            Ok(outcome) => connection.end(settled(shared, id, name, &outcome).await).await,
            Err(error) => connection.end(Err(refusal(&error))).await,
        };
    }
    // Text is told from frames here as `Turn::text_deltas` does, with the resumptions in between.
    let (mut saw_delta, mut told) = (false, false);
    loop {
        let event = tokio::select! {
            event = turn.next() => event,
            hangup = connection.gone() => return Err(hangup),
        };
        match event {
            Some(Event::Frame(frame)) if stream == Streaming::Frames => {
                let raw = serde_json::from_slice::<Value>(frame.raw()).unwrap_or_default();
                connection.item(json!({ "type": "frame", "frame": raw })).await?;
            }
            Some(Event::Frame(frame)) => {
                if let Some(text) = text(&frame, &mut saw_delta) {
                    told = true;
                    connection.item(json!({ "type": "text", "text": text })).await?;
                }
            }
            Some(Event::Resumed { interruptions }) => {
                saw_delta = false;
                connection.item(json!({ "type": "resumed", "interruptions": interruptions })).await?;
            }
            Some(Event::Outcome(outcome)) => {
                let text =
                    outcome.answer().map(|answer| &answer.text).filter(|text| !told && !text.is_empty());
                if let Some(text) = text.filter(|_| stream == Streaming::Text) {
                    connection.item(json!({ "type": "text", "text": text })).await?;
                }
                return connection.end(settled(shared, id, name, &outcome).await).await;
            }
            None => {
                let why = turn.outcome().await.err();
                let refusal =
                    why.as_ref().map_or_else(|| Refusal::new(Code::Stopped, "the session ended"), refusal);
                return connection.end(Err(refusal)).await;
            }
            Some(_) => {}
        }
    }
}

/// The text that a frame adds to the answer.
fn text(frame: &treewarden_proto::frame::Frame, saw_delta: &mut bool) -> Option<String> {
    if frame.parent_tool_use_id().is_some() {
        return None;
    }
    if let Some(text) = frame.text_delta() {
        *saw_delta = true;
        return Some(text.into_owned());
    }
    let is_message = frame.kind() == treewarden_proto::frame::FrameKind::Assistant;
    if !is_message || std::mem::replace(saw_delta, false) {
        return None;
    }
    let value: Value = serde_json::from_slice(frame.raw()).ok()?;
    let blocks = value["message"]["content"].as_array()?;
    let text: String = blocks.iter().filter_map(|block| block["text"].as_str()).collect();
    (!text.is_empty()).then_some(text)
}

/// A turn as the journal has it, with every key that `--json` promises.
pub(super) async fn report(shared: &Shared, turn: TurnId) -> Result<Value, Refusal> {
    let found = shared.tree.host().turn(turn).map_err(|error| Refusal::new(Code::Failed, error))?;
    let Some(found) = found else {
        return Err(Refusal::new(Code::NoSuchTurn, format!("no turn has the id {turn}")));
    };
    Ok(said(shared, found).await)
}

/// A turn whose outcome was just delivered; a journal that does not hold that has nothing to say about it.
async fn settled(shared: &Shared, turn: TurnId, name: &str, outcome: &Outcome) -> Result<Value, Refusal> {
    let stored = shared.tree.host().turn(turn).ok().flatten().filter(|stored| stored.outcome.is_some());
    match (stored, SessionName::new(name)) {
        (Some(stored), _) => Ok(said(shared, stored).await),
        (None, Ok(name)) => Ok(said(shared, TurnReport::of_outcome(turn, name, outcome)).await),
        (None, Err(error)) => Err(Refusal::new(Code::Failed, error)),
    }
}

async fn said(shared: &Shared, found: TurnReport) -> Value {
    let host = shared.tree.host();
    let outcome = found.outcome.unwrap_or_default();
    let get = |key: &str| outcome.get(key).cloned().unwrap_or_default();
    let mut session_id = get("session_id");
    if session_id.is_null() {
        session_id = match host.session(found.name.as_str()) {
            Some(session) => json!(session.id().await.ok().flatten()),
            None => Value::Null,
        };
    }
    json!({
        "turn": found.turn, "name": found.name, "outcome": get("outcome"), "text": get("text"),
        "session_id": session_id, "interruptions": found.interruptions, "failure": get("failure"),
        "message": get("message"), "result": get("result"),
    })
}

/// Why a query was refused, as the protocol says it.
pub(super) fn refusal(error: &QueryError) -> Refusal {
    let code = match error.kind() {
        QueryErrorKind::NoSuchSession => Code::NoSuchSession,
        QueryErrorKind::QueueFull | QueryErrorKind::TooManyConsumers | QueryErrorKind::Store => Code::Busy,
        QueryErrorKind::Stopped => Code::Stopped,
        QueryErrorKind::NotGone => Code::NotGone,
        _ => Code::Failed,
    };
    Refusal::new(code, error)
}
