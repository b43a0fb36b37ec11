//! Which turns the CLI must have written.
//!
//! A start reads it to find out whether the transcript is the one that was left: the turns that must be in it are looked for there. Told too few, it
//! trusts a transcript that was cut; told too many, it reads for long.

use std::sync::Arc;

use treewarden_proto::{SessionId, TurnId};
use treewarden_store::Backend;

use super::setup::{Hand, Place, new};

/// Each completed turn, whether the CLI must have written it, and whether it has an answer.
async fn completed(store: &Arc<dyn Backend>, id: SessionId) -> Vec<(TurnId, bool, bool)> {
    let completed = store.completed(id).await.expect("read");
    completed.into_iter().map(|turn| (turn.turn, turn.written, turn.answered)).collect()
}

/// The CLI must have written a turn whose result says `num_turns` above 0 or a `terminal_reason`, or that has no result at all; not one whose result
/// says neither. Eight shapes are tried, among them a text that is no valid Unicode and a number that no float holds.
pub(super) async fn completed_turns_are_told_down_to_one_that_the_cli_must_have_written(place: Place) {
    let outcomes = [
        ("", true),
        (r#","result":null"#, true),
        (r#","result":{"num_turns":3}"#, true),
        (r#","result":{"num_turns":0,"terminal_reason":"completed"}"#, true),
        (r#","result":{"num_turns":2,"result":"cut \ud83d","cost":1e999}"#, true),
        (r#","result":{"num_turns":0}"#, false),
        (r#","result":{"num_turns":0,"terminal_reason":null}"#, false),
        (r#","result":{}"#, false),
    ];
    let store = place.store().await;
    let mut hand = Hand::take(&store, "a").await;
    for (outcome, written) in outcomes {
        let id = SessionId::random();
        let turns: Vec<_> = (0..6).map(|_| new("a", id)).collect();
        let said = format!(r#"{{"outcome":"completed","text":"said"{outcome}}}"#);
        let outcomes = [
            r#"{"outcome":"completed"}"#,
            r#"{"outcome":"completed","text":"","result":{"num_turns":1}}"#,
            r#"{"outcome":"interrupted"}"#,
            &said,
            r#"{"outcome":"failed"}"#,
        ];
        for (turn, outcome) in turns.iter().zip(outcomes) {
            hand.settled(turn.clone(), outcome).await;
        }
        store.open(turns[5].clone()).await.expect("opened");
        let mut expected = vec![(turns[3].turn, written, true)];
        if !written {
            expected.push((turns[1].turn, true, false));
        }
        assert_eq!(completed(&store, id).await, expected, "{outcome}");
    }
}

/// 64 turns that the CLI need not have written come at most, and behind them the one that it must have: a start reads no whole history.
pub(super) async fn no_more_completed_turns_are_told_than_a_start_can_use(place: Place) {
    let store = place.store().await;
    let id = SessionId::random();
    assert_eq!(completed(&store, id).await, []);
    let mut hand = Hand::take(&store, "a").await;
    let written = new("a", id);
    hand.settled(written.clone(), r#"{"outcome":"completed"}"#).await;
    let turns: Vec<_> = (0..70).map(|_| new("a", id)).collect();
    for turn in &turns {
        hand.settled(turn.clone(), r#"{"outcome":"completed","text":"said","result":{"num_turns":0}}"#).await;
    }
    let newest = turns.iter().rev().take(64).map(|turn| (turn.turn, false, true));
    let expected: Vec<_> = newest.chain([(written.turn, true, false)]).collect();
    assert_eq!(completed(&store, id).await, expected);
}
