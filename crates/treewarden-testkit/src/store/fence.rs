//! Who may write a name, and what becomes of a commit that is asked again.
//!
//! A host that was thought dead may write on, and only the store can tell it from the one that has the name now. What becomes of the host that was
//! refused is not asked here.

use std::sync::Arc;

use treewarden_proto::SessionId;
use treewarden_store::{Change, Lines, SessionRecord, Settle, Tenure, Told, TurnState};

use super::setup::{Hand, Place, held, lost, name, new, open_ids, plain, refused, saying, settle, settling};

/// A commit without a taking is refused and leaves nothing; a taking alone is no record either. A store that makes a name up on its first commit
/// would let a writer in that nobody fenced.
pub(super) async fn a_name_that_nobody_took_takes_no_commit(place: Place) {
    let store = place.store().await;
    let tenure = Tenure { name: name("a"), epoch: 1, seq: 0 };
    lost(store.commit(tenure, saying("a", "one")).await);
    assert_eq!(store.record(name("a")).await.expect("read"), Told::Never);
    assert_eq!(store.take(name("a")).await.expect("taken").told, Told::Never);
    assert_eq!(
        store.record(name("a")).await.expect("read"),
        Told::Never,
        "to take is to write nothing of it"
    );
}

/// Epochs grow with each taking, the numbers of the commits go on from one to the next, and each name is counted by itself.
pub(super) async fn each_taking_has_a_higher_epoch_and_goes_on_counting(place: Place) {
    let store = place.store().await;
    let mut epochs = Vec::new();
    for commits in 0..4 {
        let mut hand = Hand::take(&store, "a").await;
        assert_eq!(hand.tenure.seq, commits, "one commit was stored under each epoch before");
        epochs.push(hand.tenure.epoch);
        // Names are counted apart.
        Hand::take(&store, "b").await.commit(Change::default()).await;
        hand.commit(Change::default()).await;
    }
    assert!(epochs[0] > 0 && epochs.is_sorted_by(|one, next| one < next), "{epochs:?}");
}

/// The writer that lost the name is told so, with the epoch that has it, and none of its record, outcome, note or lines is stored. Nor does an
/// epoch count that nobody was given.
pub(super) async fn a_commit_of_an_earlier_epoch_changes_nothing(place: Place) {
    let store = place.store().await;
    let conversation = SessionId::random();
    let turn = new("a", conversation);
    store.open(turn.clone()).await.expect("opened");
    let earlier = Hand::take(&store, "a").await;
    let mut later = Hand::take(&store, "a").await;
    let line = Lines { conversation, subpath: String::new(), seq: 0, entries: "{}\n".into() };
    let change = Change {
        settle: vec![settle(turn.turn, "1")],
        sent: vec![turn.turn],
        lines: vec![line],
        ..saying("a", "earlier")
    };
    assert_eq!(lost(store.commit(earlier.tenure, change).await), later.tenure.epoch);
    assert_eq!(store.record(name("a")).await.expect("read"), Told::Never);
    assert_eq!(held(&store, turn.turn).await.state, TurnState::Queued);
    assert_eq!(store.lines(conversation, String::new(), 0, 10).await.expect("read"), []);
    later.commit(saying("a", "later")).await;
    // Nor one of an epoch that is yet to come.
    let to_come = Tenure { epoch: later.tenure.epoch + 1, ..later.tenure.clone() };
    assert_eq!(lost(store.commit(to_come, saying("a", "to come")).await), later.tenure.epoch);
    assert_eq!(model(&store).await, "later");
}

/// A number that was used by another change, or that is ahead, is refused: two writers with one tenure would else both believe to be stored.
pub(super) async fn a_commit_with_another_number_changes_nothing(place: Place) {
    let store = place.store().await;
    let mut hand = Hand::take(&store, "a").await;
    let first = hand.tenure.clone();
    let ahead = Tenure { seq: first.seq + 1, ..first.clone() };
    assert_eq!(lost(store.commit(ahead, saying("a", "ahead")).await), first.epoch);
    hand.commit(saying("a", "one")).await;
    assert_eq!(lost(store.commit(first, saying("a", "another")).await), hand.tenure.epoch);
    assert_eq!(model(&store).await, "one");
}

/// The same change with the same tenure has the same answer as the first time, and counts once. So a host whose answer was lost asks again
/// without a thought; the outcome that its own change stored is not told as one that was there before.
pub(super) async fn a_change_that_is_asked_again_is_stored_once(place: Place) {
    let store = place.store().await;
    let (done, open, unknown) =
        (new("a", SessionId::random()), new("a", SessionId::random()), new("a", SessionId::random()));
    store.open(done.clone()).await.expect("opened");
    store.open(open.clone()).await.expect("opened");
    let mut hand = Hand::take(&store, "a").await;
    hand.settle(done.turn, "1").await;
    let change = Change {
        settle: vec![settle(done.turn, "2"), settle(unknown.turn, "3")],
        interrupted: vec![open.turn],
        ..saying("a", "one")
    };
    let tenure = hand.tenure.clone();
    let first = hand.commit(change.clone()).await;
    assert_eq!(first.already, [(done.turn, "1".into())]);
    assert_eq!(first.unknown, [unknown.turn]);
    for _ in 0..3 {
        let again = store.commit(tenure.clone(), change.clone()).await.expect("answered as before");
        assert_eq!(again, first);
    }
    assert_eq!(held(&store, open.turn).await.interruptions, 1);
    // An outcome that this very change stored is none that was there before.
    let settling = settling(open.turn, "4");
    let tenure = hand.tenure.clone();
    assert_eq!(hand.commit(settling.clone()).await.already, []);
    assert_eq!(store.commit(tenure, settling).await.expect("answered").already, []);
}

/// Only the last commit of a name can be asked again. A store that keeps older answers would let a stale change pass for a stored one.
pub(super) async fn a_change_is_not_asked_again_once_another_was_stored(place: Place) {
    let store = place.store().await;
    let mut hand = Hand::take(&store, "a").await;
    let first = hand.tenure.clone();
    hand.commit(saying("a", "one")).await;
    hand.commit(saying("a", "two")).await;
    lost(store.commit(first, saying("a", "one")).await);
    assert_eq!(model(&store).await, "two");
}

/// Once the name is taken, asking again is refused too, though the change is stored: the taker has seen it, and the earlier holder is over.
pub(super) async fn a_taking_ends_what_the_earlier_holder_asks_again(place: Place) {
    let store = place.store().await;
    let mut earlier = Hand::take(&store, "a").await;
    let tenure = earlier.tenure.clone();
    earlier.commit(saying("a", "one")).await;
    let taken = store.take(name("a")).await.expect("taken");
    let Told::Record(record) = taken.told else { panic!("{:?}", taken.told) };
    assert_eq!(record.model.as_deref(), Some("one"), "whoever takes it learns what is there");
    assert_eq!(lost(store.commit(tenure, saying("a", "one")).await), taken.tenure.epoch);
}

/// A change of which one part cannot be stored (here a place among the lines that is taken) leaves nothing of the other parts, and its number free.
pub(super) async fn a_change_is_stored_whole_or_not_at_all(place: Place) {
    let store = place.store().await;
    let conversation = SessionId::random();
    let turn = new("a", conversation);
    store.open(turn.clone()).await.expect("opened");
    let mut hand = Hand::take(&store, "a").await;
    let line =
        |seq, entries: &str| Lines { conversation, subpath: String::new(), seq, entries: entries.into() };
    hand.commit(Change { lines: vec![line(0, "first\n")], ..saying("a", "one") }).await;
    let change = Change {
        settle: vec![settle(turn.turn, "1")],
        interrupted: vec![turn.turn],
        lines: vec![line(1, "next\n"), line(0, "another\n")],
        ..saying("a", "two")
    };
    refused(store.commit(hand.tenure.clone(), change).await);
    assert_eq!(model(&store).await, "one");
    let row = held(&store, turn.turn).await;
    assert_eq!((row.state, row.interruptions), (TurnState::Queued, 0));
    let lines = store.lines(conversation, String::new(), 0, 10).await.expect("read");
    assert_eq!(lines, [line(0, "first\n")]);
    // Its place in the chain is still free.
    hand.settle(turn.turn, "2").await;
    assert_eq!(open_ids(&store, "a").await, []);
}

/// A tenure of one name writes no other's record, and its number is free afterwards.
pub(super) async fn a_record_of_another_name_is_refused(place: Place) {
    let store = place.store().await;
    let mut hand = Hand::take(&store, "a").await;
    let said = refused(store.commit(hand.tenure.clone(), saying("b", "of b")).await);
    assert!(!said.is_empty());
    assert_eq!(store.records().await.expect("read"), Vec::<SessionRecord>::new());
    hand.commit(saying("a", "of a")).await;
    assert_eq!(model(&store).await, "of a");
}

/// Of 16 who commit with one tenure at once exactly one is stored, with its record and its outcome together; the others hear that they lost.
pub(super) async fn one_tenure_has_one_commit_however_many_ask(place: Place) {
    let store = place.store().await;
    let turn = new("a", SessionId::random());
    store.open(turn.clone()).await.expect("opened");
    let hand = Hand::take(&store, "a").await;
    let asked: Vec<_> = (0..16)
        .map(|n| {
            let (store, tenure) = (Arc::clone(&store), hand.tenure.clone());
            let settle = vec![Settle { at: 1, ..settle(turn.turn, &n.to_string()) }];
            let change = Change { settle, ..saying("a", &n.to_string()) };
            tokio::spawn(async move { store.commit(tenure, change).await })
        })
        .collect();
    let mut stored = Vec::new();
    for (n, asked) in asked.into_iter().enumerate() {
        match asked.await.expect("no panic") {
            Ok(_) => stored.push(n.to_string()),
            Err(error) => assert_eq!(lost(Err(error)), hand.tenure.epoch),
        }
    }
    assert_eq!(stored, [model(&store).await], "one is stored");
    let outcome = held(&store, turn.turn).await.outcome.expect("settled");
    assert_eq!(outcome.to_string(), stored[0], "with all that it says");
}

/// What the record of `a` says of its model: which of the changes was stored last.
async fn model(store: &Arc<dyn treewarden_store::Backend>) -> String {
    match store.record(name("a")).await.expect("read") {
        Told::Record(record) => plain(*record).model.expect("a model"),
        other => panic!("a record is to be there, and there is {other:?}"),
    }
}
