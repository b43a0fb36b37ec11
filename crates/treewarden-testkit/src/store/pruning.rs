//! What is removed as it is old, and what is known of it afterwards.
//!
//! It is not for when a store prunes, which its host decides. No check waits for time to pass, but one for a moment: turns are opened with times of
//! the past.

use std::time::Duration;

use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{Keep, NewTurn, OpenError, StoredTurn, Told};

use super::setup::{DAY, Hand, MINUTE, Place, history, name, now, open_ids, opened, saying, undated};
use crate::eventually;

const COMPLETED: &str = r#"{"outcome":"completed"}"#;
const FAILED: &str = r#"{"outcome":"failed"}"#;

/// Keeps so many turns of each name, of any age, and the ids of removed ones for an hour.
fn newest(turns: usize) -> Keep {
    Keep { turns: Some(turns), age: None, ids: Duration::from_secs(3600) }
}

/// Of more turns than are to be kept there stay: the newest of each name, all open ones, and the last turn of each conversation that the CLI must have
/// written. Without that one, a resume could not tell what the transcript has to hold. A second pruning finds nothing.
pub(super) async fn pruning_leaves_the_newest_open_turns_and_what_the_cli_must_have(place: Place) {
    let store = place.store().await;
    let (id, other) = (SessionId::random(), SessionId::random());
    let begun = now() - DAY;
    let turns: Vec<_> = (0..9).map(|n| opened("a", id, begun + n * MINUTE)).collect();
    let mut hand = Hand::take(&store, "a").await;
    hand.commit(saying("a", "one")).await;
    hand.settled(turns[0].clone(), COMPLETED).await;
    store.open(turns[1].clone()).await.expect("opened");
    hand.settled(turns[2].clone(), COMPLETED).await;
    // The CLI answered by itself, and wrote nothing of it.
    hand.settled(turns[3].clone(), r#"{"outcome":"completed","result":{"num_turns":0}}"#).await;
    hand.settled(NewTurn { session_id: other, ..turns[4].clone() }, COMPLETED).await;
    for turn in &turns[5..] {
        hand.settled(turn.clone(), FAILED).await;
    }
    let mut of_b = Hand::take(&store, "b").await;
    let b = opened("b", SessionId::random(), begun);
    of_b.settled(b.clone(), FAILED).await;
    assert_eq!(store.prune(newest(2)).await.expect("pruned").turns, 4);
    assert_eq!(history(&store, "a").await, [8, 7, 4, 2, 1].map(|n: usize| turns[n].turn));
    assert_eq!(history(&store, "b").await, [b.turn], "each session is counted by itself");
    let anchor = store.completed(id).await.expect("read");
    assert_eq!(anchor.iter().map(|turn| turn.turn).collect::<Vec<_>>(), [turns[2].turn]);
    assert_eq!(store.prune(newest(0)).await.expect("pruned").turns, 3);
    assert_eq!(history(&store, "a").await, [4, 2, 1].map(|n: usize| turns[n].turn));
    assert_eq!(store.prune(newest(0)).await.expect("pruned").turns, 0);
    assert_eq!(open_ids(&store, "a").await, [turns[1].turn]);
    // Records and tenures stay as they were.
    hand.settle(turns[1].turn, FAILED).await;
    assert!(matches!(store.record(name("a")).await.expect("read"), Told::Record(_)));
    assert_eq!(store.problems().await.expect("read"), []);
}

/// Both bounds hold, and one that is not given does not; without any nothing is removed.
pub(super) async fn pruning_keeps_a_turn_only_if_count_and_age_allow_it(place: Place) {
    let store = place.store().await;
    let begun = now() - 10 * DAY;
    let turns: Vec<_> = (0..8).map(|n| opened("a", SessionId::random(), begun + n * DAY)).collect();
    let mut hand = Hand::take(&store, "a").await;
    for turn in &turns {
        hand.settled(turn.clone(), FAILED).await;
    }
    let days = |days| Some(Duration::from_millis(days * DAY + DAY / 2));
    let keep = |turns, age| Keep { turns, age, ids: Duration::from_secs(3600) };
    assert_eq!(store.prune(keep(None, None)).await.expect("pruned").turns, 0);
    // They are 10, 9, 8, 7, 6, 5, 4 and 3 days old.
    assert_eq!(store.prune(keep(Some(7), days(8))).await.expect("pruned").turns, 2);
    assert_eq!(store.prune(keep(Some(4), days(8))).await.expect("pruned").turns, 2);
    assert_eq!(store.prune(keep(None, days(4))).await.expect("pruned").turns, 2);
    assert_eq!(history(&store, "a").await, [7, 6].map(|n: usize| turns[n].turn));
}

/// However little is to be kept: a host may still ask for what it has just opened.
pub(super) async fn a_turn_of_the_last_minutes_stays(place: Place) {
    let store = place.store().await;
    let mut hand = Hand::take(&store, "a").await;
    let (old, new) = (opened("a", SessionId::random(), now() - DAY), opened("a", SessionId::random(), now()));
    hand.settled(old, FAILED).await;
    hand.settled(new.clone(), FAILED).await;
    let keep = Keep { age: Some(Duration::ZERO), ..newest(0) };
    assert_eq!(store.prune(keep).await.expect("pruned").turns, 1);
    assert_eq!(history(&store, "a").await, [new.turn], "its id could still pass for a new one");
}

/// A removed id is `Expired` and never new: by the time that it names, or, for one that names none, for as long as ids are kept. A retry of an old prompt
/// must not run it a second time.
pub(super) async fn the_id_of_a_removed_turn_has_expired(place: Place) {
    let store = place.store().await;
    let begun = now() - DAY;
    let dated = opened("a", SessionId::random(), begun);
    let earlier = opened("a", SessionId::random(), begun - MINUTE);
    let kept = opened("a", SessionId::random(), begun + MINUTE);
    let foreign = NewTurn { turn: undated(), ..opened("a", SessionId::random(), begun) };
    let mut hand = Hand::take(&store, "a").await;
    hand.settled(dated.clone(), FAILED).await;
    hand.settled(foreign.clone(), FAILED).await;
    hand.settled(kept.clone(), FAILED).await;
    assert_eq!(store.prune(newest(1)).await.expect("pruned").turns, 2);
    let again = |new: &NewTurn| NewTurn { opened_at: now(), ..new.clone() };
    for gone in [&dated, &foreign] {
        assert_eq!(store.turn(gone.turn).await.expect("read"), Some(StoredTurn::Expired));
        assert!(matches!(store.open(again(gone)).await, Err(OpenError::Expired)), "{gone:?}");
        assert_eq!(hand.settle(gone.turn, "1").await.unknown, [gone.turn]);
    }
    // Of an id that says its age nothing else is kept; another is known with its prompt.
    assert!(matches!(store.open(again(&earlier)).await, Err(OpenError::Expired)));
    let other_prompt = NewTurn { prompt: r#""another""#.into(), ..again(&foreign) };
    assert!(matches!(store.open(other_prompt).await, Err(OpenError::Exists)));
    assert!(matches!(store.open(again(&kept)).await, Err(OpenError::Exists)));
    // Other turns are opened as ever, of whatever kind their ids are.
    for turn in [opened("a", SessionId::random(), now()).turn, undated()] {
        store.open(NewTurn { turn, ..again(&foreign) }).await.expect("opened");
    }
    store.open(NewTurn { name: name("b"), ..again(&earlier) }).await.expect("of another session");
    assert_eq!(store.turn(undated()).await.expect("read"), None);
    // In the end the ids are forgotten that say nothing of their age.
    let forget = Keep { turns: None, age: None, ids: Duration::ZERO };
    let forgotten = eventually(Duration::from_secs(120), || async {
        (store.prune(forget).await.expect("pruned").ids == 1).then_some(())
    });
    forgotten.await.expect("its time is over");
    store.open(again(&foreign)).await.expect("nothing is known of it any more");
    assert!(matches!(store.open(again(&dated)).await, Err(OpenError::Expired)));
}

/// Ids of a far future that were removed keep out themselves, and not the turns of today.
pub(super) async fn a_new_turn_is_opened_though_the_clock_was_set_back(place: Place) {
    let store = place.store().await;
    let mut hand = Hand::take(&store, "a").await;
    let future: Vec<TurnId> = {
        let turns: Vec<_> =
            (0..3).map(|n| opened("a", SessionId::random(), now() + 3650 * DAY + n)).collect();
        for turn in &turns {
            hand.settled(turn.clone(), FAILED).await;
        }
        turns.iter().map(|turn| turn.turn).collect()
    };
    assert_eq!(store.prune(newest(0)).await.expect("pruned").turns, 3);
    store.open(opened("a", SessionId::random(), now())).await.expect("it is new");
    let again = NewTurn { turn: future[0], ..opened("a", SessionId::random(), now()) };
    assert!(matches!(store.open(again).await, Err(OpenError::Expired)));
}
