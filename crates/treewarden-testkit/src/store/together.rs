//! Many at once, calls that are dropped, and the store opened again.
//!
//! No check here may depend on how tasks are put on threads: each holds on a runtime of one thread too. It is not for several processes, which a
//! backend's own tests are for.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use treewarden_proto::SessionId;
use treewarden_store::{Change, Lines, NameState, StoredTurn, Told};

use super::setup::{
    Hand, Place, held, history, lost, name, new, open_ids, plain, saying, settle, settling, undated,
};

/// 48 writers, each with its own name: every one reads at once what it has stored, and in the end nothing is missing or mixed up.
pub(super) async fn many_names_are_committed_at_once(place: Place) {
    const NAMES: usize = 48;
    const COMMITS: usize = 6;
    let store = place.store().await;
    let writers: Vec<_> = (0..NAMES)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let of = format!("name-{n}");
                let mut hand = Hand::take(&store, &of).await;
                for m in 0..COMMITS {
                    let turn = new(&of, SessionId::random());
                    store.open(turn.clone()).await.expect("opened");
                    let said = format!("{n}/{m}");
                    let change = Change { sent: vec![turn.turn], ..saying(&of, &said) };
                    hand.commit(change).await;
                    // What was stored is seen by whoever asks next.
                    let Ok(Told::Record(record)) = store.record(name(&of)).await else { panic!("no record") };
                    assert_eq!(record.model, Some(said));
                    if m % 2 == 0 {
                        hand.settle(turn.turn, &m.to_string()).await;
                        assert_eq!(held(&store, turn.turn).await.outcome, Some(m.into()));
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no writer fails");
    }
    assert_eq!(store.records().await.expect("read").len(), NAMES);
    for n in 0..NAMES {
        let of = format!("name-{n}");
        assert_eq!(history(&store, &of).await.len(), COMMITS);
        assert_eq!(open_ids(&store, &of).await.len(), COMMITS / 2);
    }
}

/// A reader beside a writer never sees a record of one moment with the turns of another: a session that starts from both would run a turn again that
/// has its outcome.
pub(super) async fn a_name_and_its_open_turns_are_told_of_one_moment(place: Place) {
    const TURNS: usize = 60;
    let store = place.store().await;
    let id = SessionId::random();
    let turns: Vec<_> = (0..TURNS).map(|_| new("a", id)).collect();
    for turn in &turns {
        store.open(turn.clone()).await.expect("opened");
    }
    let ids: Vec<_> = turns.iter().map(|turn| turn.turn).collect();
    let mut hand = Hand::take(&store, "a").await;
    let settled = ids.clone();
    // Each commit says in the record how many of the turns have their outcome.
    let writer = tokio::spawn(async move {
        for (n, turn) in settled.into_iter().enumerate() {
            let change = Change { settle: vec![settle(turn, "1")], ..saying("a", &(n + 1).to_string()) };
            hand.commit(change).await;
        }
    });
    loop {
        let NameState { told, open } = store.name_state(name("a")).await.expect("read");
        let open: Vec<_> = open.iter().map(|row| row.turn).collect();
        let said = match told {
            Told::Never => 0,
            Told::Record(record) => record.model.and_then(|said| said.parse().ok()).expect("a number"),
            Told::Lost { why, .. } => panic!("nothing is lost: {why}"),
        };
        assert_eq!(open, ids[said..]);
        if said == TURNS {
            break;
        }
        // A store that answers at once would never let the writer have the thread.
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer does not fail");
}

/// 64 calls are begun by one poll and awaited later, as a supervisor with many sessions does. A backend that answers only who is polled all along
/// hangs here.
pub(super) async fn what_is_asked_of_many_names_at_once_is_answered_to_each(place: Place) {
    const NAMES: usize = 64;
    let store = place.store().await;
    for n in (0..NAMES).step_by(2) {
        let of = format!("name-{n}");
        Hand::take(&store, &of).await.commit(saying(&of, &of)).await;
        store.open(new(&of, SessionId::random())).await.expect("opened");
    }
    let asked = |n: usize| {
        let mut asked = store.name_state(name(&format!("name-{n}")));
        // It begins, and nobody is woken when it is answered.
        let polled = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        (n, asked, polled)
    };
    let all: Vec<_> = (0..NAMES).map(asked).collect();
    for (n, asked, polled) in all {
        let state = match polled {
            Poll::Ready(state) => state,
            Poll::Pending => asked.await,
        };
        let NameState { told, open } = state.expect("read");
        let said = match told {
            Told::Record(record) => record.model,
            told => {
                assert_eq!(told, Told::Never);
                None
            }
        };
        let is_there = n % 2 == 0;
        assert_eq!(said, is_there.then(|| format!("name-{n}")));
        assert_eq!(open.len(), usize::from(is_there));
    }
}

/// A commit that was polled once and dropped may be stored or not; the same one asked again is stored once either way. One that was never polled did
/// nothing.
pub(super) async fn a_call_that_was_dropped_is_found_out_by_asking_again(place: Place) {
    let store = place.store().await;
    let mut hand = Hand::take(&store, "a").await;
    for n in 0..20 {
        let turn = new("a", SessionId::random());
        store.open(turn.clone()).await.expect("opened");
        let change = Change { interrupted: vec![turn.turn], ..saying("a", &n.to_string()) };
        let mut call = store.commit(hand.tenure.clone(), change.clone());
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(!matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
        drop(call);
        let committed = hand.commit(change).await;
        assert_eq!((committed.already, committed.unknown), (Vec::new(), Vec::new()));
        assert_eq!(held(&store, turn.turn).await.interruptions, 1);
    }
    // One that was never polled did not begin.
    drop(store.commit(hand.tenure.clone(), saying("a", "never")));
    drop(store.take(name("a")));
    hand.commit(Change::default()).await;
}

/// What one handle stores the other reads at once, a taking through one fences the other, and both write different names side by side.
pub(super) async fn two_handles_of_one_store_see_each_other(place: Place) {
    let (one, folder) = place.fresh().await;
    let other = place.at(&folder).await;
    let turn = new("a", SessionId::random());
    let mut first = Hand::take(&one, "a").await;
    first.commit(saying("a", "one")).await;
    other.open(turn.clone()).await.expect("opened");
    assert_eq!(open_ids(&one, "a").await, [turn.turn]);
    let mut second = Hand::take(&other, "a").await;
    assert!(second.tenure.epoch > first.tenure.epoch);
    assert_eq!(lost(one.commit(first.tenure, settling(turn.turn, "1")).await), second.tenure.epoch);
    second.settle(turn.turn, "2").await;
    assert_eq!(held(&one, turn.turn).await.outcome, Some(2.into()));
    let both: Vec<_> = [&one, &other]
        .into_iter()
        .enumerate()
        .map(|(n, store)| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let of = format!("name-{n}");
                let mut hand = Hand::take(&store, &of).await;
                for _ in 0..30 {
                    hand.settled(new(&of, SessionId::random()), "1").await;
                }
            })
        })
        .collect();
    for one in both {
        one.await.expect("both go on beside each other");
    }
    assert_eq!(history(&other, "name-0").await.len(), 30);
    assert_eq!(history(&one, "name-1").await.len(), 30);
}

/// Turns, record, lines and tenures are the same after the last handle was dropped; the commit that is no longer the last one is refused still.
pub(super) async fn what_is_stored_is_there_when_the_store_is_opened_again(place: Place) {
    let (store, folder) = place.fresh().await;
    let id = SessionId::random();
    let turns: Vec<_> = (0..3).map(|_| new("a", id)).collect();
    let mut hand = Hand::take(&store, "a").await;
    for turn in &turns {
        store.open(turn.clone()).await.expect("opened");
    }
    let line = Lines { conversation: id, subpath: String::new(), seq: 0, entries: "{}\n".into() };
    let sent = Change { sent: vec![turns[1].turn], lines: vec![line.clone()], ..saying("a", "one") };
    hand.commit(sent.clone()).await;
    let tenure = hand.tenure.clone();
    hand.settle(turns[0].turn, r#"{"outcome":"completed"}"#).await;
    let before = store.turns(name("a"), 10).await.expect("read");
    drop((store, hand.store));
    let store = place.at(&folder).await;
    assert_eq!(store.turns(name("a"), 10).await.expect("read"), before);
    assert_eq!(open_ids(&store, "a").await, [turns[1].turn, turns[2].turn]);
    let Ok(Told::Record(record)) = store.record(name("a")).await else { panic!("no record") };
    assert_eq!(Some(plain(*record)), sent.record.map(plain));
    assert_eq!(store.lines(id, String::new(), 0, 10).await.expect("read"), [line]);
    assert_eq!(store.completed(id).await.expect("read").len(), 1);
    assert_eq!(store.turn(undated()).await.expect("read"), None);
    // The chain of commits goes on where it was, also for whoever asks again.
    let again = store.commit(tenure, settling(turns[2].turn, "2")).await;
    assert_eq!(lost(again), hand.tenure.epoch);
    let taken = Hand::take(&store, "a").await;
    assert!(taken.tenure.epoch > hand.tenure.epoch);
    assert_eq!(taken.tenure.seq, hand.tenure.seq);
    let Ok(Some(StoredTurn::Held(row))) = store.turn(turns[1].turn).await else { panic!("no turn") };
    assert_eq!(row.interruptions, 0);
    assert_eq!(store.problems().await.expect("read"), []);
}
