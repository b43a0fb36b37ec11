//! What happened lately, and what happens, told to a caller.
//!
//! A caller's place in the events is a number: one that reads slowly keeps no event here but the one that it is told.

use treewarden::events::Position;

use crate::answer::{Answer, Item};
use crate::refusal::Unanswered;
use crate::service::Service;
use crate::sink::Sink;

/// Tells the events that are kept, or those since a position, and those that come if the caller follows.
pub(crate) async fn tell(
    service: &Service,
    sink: &mut impl Sink,
    follow: bool,
    since: Option<Position>,
) -> Result<Answer, Unanswered> {
    let events = service.tree.events();
    let mut reader = since.map_or_else(|| events.kept(), |position| events.since(position));
    // A caller who does not follow is told what had happened when it asked: otherwise one that reads slowly
    // would never come to an end.
    let until = events.latest();
    loop {
        let next = if follow {
            tokio::select! {
                next = reader.next() => next,
                // A follower who has gone would hold its place until the next event, and there may be none
                // for hours.
                gone = sink.gone() => return Err(gone.into()),
            }
        } else {
            reader.try_next()
        };
        match next {
            Some(Ok(event)) => sink.item(Item::Event(event)).await?,
            Some(Err(gap)) => sink.item(Item::Missed(gap)).await?,
            None => break,
        }
        if !follow && reader.position().seq >= until.seq {
            break;
        }
    }
    Ok(Answer::Position(reader.position()))
}
