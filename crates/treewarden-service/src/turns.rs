//! Turns: asked, streamed, waited for, and interrupted when the caller goes.

use serde_json::Value;
use treewarden::session::{Denied, Event, QueryError, QueryErrorKind, Spent, TextEvent, Turn, TurnReport};
use treewarden::{Prompt, SessionName, StoreErrorKind, TurnId};

use crate::answer::{Answer, Progress, TurnAnswer};
use crate::message::Streaming;
use crate::refusal::{Code, Refusal, Unanswered};
use crate::service::Service;
use crate::sink::Sink;

/// So much is told of the arguments of a tool call, in characters.
const TOOL_INPUT: usize = 1000;

/// Sends a prompt to a session, and answers with the turn's outcome.
pub(crate) async fn ask(
    service: &Service,
    sink: &mut impl Sink,
    name: String,
    prompt: Prompt,
    stream: Streaming,
    detach: bool,
) -> Result<Answer, Unanswered> {
    let session = service.tree.find_session(&name)?;
    if detach {
        // The turn goes on without its caller, who has the id to ask for it.
        let turn = session.submit(prompt).await.map_err(|error| in_words(service, error))?;
        return Ok(Answer::Detached { turn, name });
    }
    let turn = session.stream(prompt).await.map_err(|error| in_words(service, error))?;
    // A caller who goes here drops the turn, which interrupts it.
    sink.item(Progress::Opened { turn: turn.id() }.into()).await?;
    follow(service, sink, &name, turn, stream).await
}

/// Waits for a turn without owning it, and answers with its outcome.
pub(crate) async fn wait(
    service: &Service,
    sink: &mut impl Sink,
    turn: TurnId,
) -> Result<Answer, Unanswered> {
    let found = found(service, turn).await?;
    if found.outcome.is_some() {
        return Ok(said(service, found).await);
    }
    let name = found.name.as_str();
    match service.tree.session(name).attach(turn).await {
        Ok(Some(joined)) => follow(service, sink, name, joined, Streaming::None).await,
        // It was settled just now, or nobody serves its session, as after a reload without it: the turn is there all
        // the same.
        Ok(None) => {
            let whose = if service.tree.is_stopping() { "the tree was stopped: " } else { "" };
            Ok(left(service, turn, &format!("{whose}the session {name:?} is stopped")).await?)
        }
        Err(error) if error.kind() == QueryErrorKind::NoSuchSession => {
            Ok(left(service, turn, &format!("the tree has no session {name:?}")).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the journal has the turn, without an outcome.
pub(crate) async fn is_open(service: &Service, turn: TurnId) -> bool {
    found(service, turn).await.is_ok_and(|found| found.outcome.is_none())
}

/// What a turn yields.
enum Yield {
    Item(Progress),
    /// It has its outcome, or the session ended first.
    End,
}

/// Passes a turn's events on until its outcome. When the caller goes the turn is dropped, which interrupts it unless it was
/// only joined.
async fn follow(
    service: &Service,
    sink: &mut impl Sink,
    name: &str,
    mut turn: Turn,
    stream: Streaming,
) -> Result<Answer, Unanswered> {
    let id = turn.id();
    if stream != Streaming::None {
        tell(sink, &mut turn, stream).await?;
    }
    // Its frames are not kept for anybody: the CLI must not wait until they are read.
    let delivered = tokio::select! {
        delivered = turn.delivered() => delivered,
        gone = sink.gone() => return Err(gone.into()),
    };
    match delivered {
        // What is delivered is what counts, whatever the journal says by now, or can not say.
        Ok(delivered) => {
            let name = SessionName::new(name).map_err(Refusal::failed)?;
            Ok(said(service, TurnReport::of_delivered(id, name, &delivered)).await)
        }
        Err(error) => ended_first(service, id, error).await,
    }
}

/// Answers for a turn whose session ended first.
async fn ended_first(service: &Service, turn: TurnId, error: QueryError) -> Result<Answer, Unanswered> {
    // A journal that does not have the turn (`durability = "nothing"`), or cannot be read, carries it on for nobody.
    match service.tree.host().turn(turn).await {
        Ok(Some(_)) if error.kind() == QueryErrorKind::Stopped => {
            Ok(left(service, turn, &in_words(service, error).message).await?)
        }
        _ => Err(in_words(service, error).into()),
    }
}

/// Why a session did nothing, and that its tree did not want more, where that is why.
fn in_words(service: &Service, error: QueryError) -> Refusal {
    let is_trees = error.kind() == QueryErrorKind::Stopped && service.tree.is_stopping();
    let mut refusal = Refusal::from(error);
    if is_trees {
        refusal.message = format!("the tree was stopped: {}", refusal.message);
    }
    refusal
}

/// Tells what comes before the outcome.
async fn tell(sink: &mut impl Sink, turn: &mut Turn, stream: Streaming) -> Result<(), Unanswered> {
    loop {
        let told = tokio::select! {
            told = next(turn, stream) => told,
            gone = sink.gone() => return Err(gone.into()),
        };
        match told {
            Yield::Item(item) => sink.item(item.into()).await?,
            Yield::End => return Ok(()),
        }
    }
}

/// Waits for what a caller is told next. Nothing is lost when the future is dropped.
async fn next(turn: &mut Turn, stream: Streaming) -> Yield {
    loop {
        let event = match stream {
            Streaming::Text => turn.text_events().next().await.map(told_as_text),
            _ => turn.next().await.map(told_as_frames),
        };
        match event {
            Some(Some(told)) => return told,
            Some(None) => {}
            None => return Yield::End,
        }
    }
}

fn told_as_text(event: TextEvent) -> Option<Yield> {
    match event {
        TextEvent::Text(text) => Some(Yield::Item(Progress::Text { text })),
        TextEvent::ToolUse(tool) => Some(Yield::Item(told_as_tool(tool.name, tool.input))),
        TextEvent::Resumed { interruptions } => Some(Yield::Item(Progress::Resumed { interruptions })),
        TextEvent::CutOff { bytes } => Some(Yield::Item(Progress::CutOff { bytes })),
        TextEvent::Outcome(_) => Some(Yield::End),
        _ => None,
    }
}

/// A tool call without all that it writes: a file may be an argument.
fn told_as_tool(name: Option<String>, input: Option<Value>) -> Progress {
    let input = input.map(|input| input.to_string()).unwrap_or_default();
    let input = input.chars().take(TOOL_INPUT).collect();
    Progress::Tool { name: name.unwrap_or_default(), input }
}

fn told_as_frames(event: Event) -> Option<Yield> {
    match event {
        Event::Frame(frame) => {
            // A number that no parser takes would make the whole message unreadable.
            let frame = serde_json::from_slice::<Value>(frame.raw()).unwrap_or_default();
            Some(Yield::Item(Progress::Frame { frame }))
        }
        Event::Resumed { interruptions } => Some(Yield::Item(Progress::Resumed { interruptions })),
        Event::Outcome(_) => Some(Yield::End),
        _ => None,
    }
}

/// A turn as the journal has it, or as its session has it in hand.
pub(crate) async fn found(service: &Service, turn: TurnId) -> Result<TurnReport, Refusal> {
    let found = service.tree.host().turn(turn).await.map_err(|error| {
        let is_damaged = error.kind() == StoreErrorKind::Corrupt;
        let code = if is_damaged { Code::TurnDamaged } else { Code::Failed };
        Refusal::new(code, format!("failed to {error}"))
    })?;
    match found {
        Some(found) => Ok(found),
        None if service.tree.host().has_expired(turn).await.map_err(Refusal::failed)? => {
            let text = format!(
                "the turn {turn} has expired: turns of its age were removed (`keep_turns`, `keep_turns_for`), and what became of \
                 it is not known any more"
            );
            Err(Refusal::new(Code::TurnExpired, text))
        }
        None => {
            let why = match service.tree.host().store().keeps_turns() {
                true => "",
                false => {
                    ": with `durability = \"nothing\"` no turn is stored, and what became of one is told to who waits for it alone"
                }
            };
            Err(Refusal::new(Code::NoSuchTurn, format!("no turn has the id {turn}{why}")))
        }
    }
}

/// The same as an answer.
pub(crate) async fn report(service: &Service, turn: TurnId) -> Result<Answer, Refusal> {
    Ok(said(service, found(service, turn).await?).await)
}

/// The same of a turn that nobody works at, for this reason: if it is open it stays so, and goes on with its session.
async fn left(service: &Service, turn: TurnId, why: &str) -> Result<Answer, Refusal> {
    let found = found(service, turn).await?;
    let is_open = found.outcome.is_none();
    let mut answer = report_of(service, found).await;
    if is_open {
        answer.message = Some(format!("{why}; the turn stays open until its session is started again"));
    }
    Ok(Answer::Turn(answer))
}

async fn said(service: &Service, found: TurnReport) -> Answer {
    Answer::Turn(report_of(service, found).await)
}

/// With every key that the protocol promises; a turn without an answer has the conversation that its session has.
async fn report_of(service: &Service, found: TurnReport) -> TurnAnswer {
    let mut outcome = found.outcome.unwrap_or_default();
    let mut take = |key: &str| outcome.get_mut(key).map(Value::take).filter(|value| !value.is_null());
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let mut session_id = take("session_id").and_then(|id| serde_json::from_value(id).ok());
    // Only an answer says in which conversation it stands.
    if session_id.is_none() {
        session_id = service.tree.session(found.name.as_str()).id().await.ok().flatten();
    }
    let unstored = if found.stored { None } else { unstored(service, &found.name).await };
    let spent: Option<Spent> = take("spent").and_then(|spent| serde_json::from_value(spent).ok());
    let result = take("result");
    TurnAnswer {
        turn: found.turn,
        name: found.name,
        outcome: text(take("outcome")),
        text: text(take("text")),
        session_id,
        interruptions: found.interruptions,
        cost_usd: spent.map(|spent| spent.cost_usd),
        usage: spent.map(|spent| spent.usage),
        failure: text(take("failure")),
        message: text(take("message")),
        stored: found.stored,
        unstored,
        denied: result.as_ref().map(Denied::in_result).unwrap_or_default(),
        result,
    }
}

/// Why an outcome of this session is in hand, in words; `None` where no turn is stored at all.
async fn unstored(service: &Service, name: &SessionName) -> Option<String> {
    if !service.tree.host().store().keeps_turns() {
        return None;
    }
    let status = service.tree.session(name.as_str()).status().await.ok();
    // The session may be gone, or the store may have taken it since.
    let why = status.and_then(|status| status.unstored).map(Into::into);
    Some(why.unwrap_or_else(|| {
        "the store had not taken it in time; `treewarden turn` shows whether it has since".to_owned()
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_call_is_told_without_all_that_it_writes() {
        let told = |input| match told_as_tool(Some("Write".to_owned()), Some(input)) {
            Progress::Tool { name, input } => (name, input),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(json!({ "a": 1 })), ("Write".to_owned(), r#"{"a":1}"#.to_owned()));
        let (_, cut) = told(json!({ "content": "é".repeat(5000) }));
        assert_eq!(cut.chars().count(), TOOL_INPUT);
    }
}
