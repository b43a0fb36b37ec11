//! Turns: opened once, noted, settled once.
//!
//! It is not for what the outcome means: to a store it is a text of JSON, of which it reads a few fields for `completed`. Nor is it for who may write,
//! which `fence.rs` asks.

use serde_json::{Value, json};
use treewarden_proto::{SessionId, frame};
use treewarden_store::{Change, NewTurn, OpenError, Settle, TurnState};

use super::setup::{
    DAY, Hand, MINUTE, Place, held, history, name, new, now, open_ids, opened, settle, settling, undated,
};

/// Every field of a turn comes back, with a name, an id and a time that no other rule gave; an id that was never opened is told as none.
pub(super) async fn a_turn_is_held_as_it_was_opened(place: Place) {
    let store = place.store().await;
    let asked = NewTurn {
        turn: undated(),
        name: name("tenant-7/reviewer"),
        session_id: SessionId::random(),
        prompt: r#"[{"type":"text","text":"hello"}]"#.into(),
        at_most_once: true,
        opened_at: 1_234_567_890_123,
    };
    assert_eq!(store.turn(asked.turn).await.expect("read"), None);
    store.open(asked.clone()).await.expect("opened");
    let row = held(&store, asked.turn).await;
    assert_eq!((row.turn, row.name, row.session_id), (asked.turn, asked.name, asked.session_id));
    assert_eq!(row.prompt, json!([{ "type": "text", "text": "hello" }]));
    assert_eq!((row.at_most_once, row.opened_at), (true, 1_234_567_890_123));
    assert_eq!((row.state, row.interruptions), (TurnState::Queued, 0));
    assert_eq!((row.outcome, row.settled_at), (None, None));
    assert_eq!(store.turn(undated()).await.expect("read"), None, "another was never there");
}

/// The id decides, not what else is said: a second opening is `Exists`, also under another name, after the outcome, and for 15 of 16 who ask at once.
/// A turn that could be opened twice would be sent twice.
pub(super) async fn a_turn_is_opened_once(place: Place) {
    let store = place.store().await;
    let asked = new("a", SessionId::random());
    store.open(asked.clone()).await.expect("opened");
    let again = NewTurn { name: name("b"), prompt: r#""another""#.into(), ..asked.clone() };
    for other in [asked.clone(), again.clone()] {
        assert!(matches!(store.open(other).await, Err(OpenError::Exists)));
    }
    Hand::take(&store, "a").await.settle(asked.turn, "1").await;
    for other in [asked.clone(), again] {
        assert!(matches!(store.open(other).await, Err(OpenError::Exists)), "also once it is settled");
    }
    let row = held(&store, asked.turn).await;
    assert_eq!((row.name, row.prompt), (name("a"), json!("a prompt")));
    assert_eq!(history(&store, "b").await, []);
    // Of many who ask at once one opens it.
    let asked = new("a", SessionId::random());
    let all: Vec<_> = (0..16)
        .map(|_| {
            let (store, asked) = (store.clone(), asked.clone());
            tokio::spawn(async move { store.open(asked).await })
        })
        .collect();
    let mut opened = 0;
    for one in all {
        match one.await.expect("no panic") {
            Ok(()) => opened += 1,
            Err(OpenError::Exists) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(opened, 1);
}

/// Neither by id nor by time: prompts that were asked in an order are sent in it, whatever the clock did meanwhile. A settled one is left out.
pub(super) async fn open_turns_come_in_the_order_of_their_opening(place: Place) {
    let store = place.store().await;
    // The ids and the times sort otherwise: what counts is when the store was asked.
    let asked: Vec<_> = (0..5).map(|n| opened("a", SessionId::random(), now() - n * MINUTE)).collect();
    for (n, asked) in asked.iter().enumerate() {
        store.open(asked.clone()).await.expect("opened");
        store.open(new(if n % 2 == 0 { "a/b" } else { "b" }, asked.session_id)).await.expect("opened");
    }
    Hand::take(&store, "a").await.settle(asked[3].turn, "1").await;
    assert_eq!(open_ids(&store, "a").await, [0, 1, 2, 4].map(|n: usize| asked[n].turn));
}

/// The history of one name, open and settled turns alike, cut off at the limit; of a name that has none it is empty.
pub(super) async fn turns_come_newest_first_and_no_more_than_asked(place: Place) {
    let store = place.store().await;
    let asked: Vec<_> = (0..5).map(|n| opened("a", SessionId::random(), now() - n * MINUTE)).collect();
    for asked in &asked {
        store.open(asked.clone()).await.expect("opened");
    }
    store.open(new("b", SessionId::random())).await.expect("opened");
    Hand::take(&store, "a").await.settle(asked[3].turn, "1").await;
    let newest: Vec<_> = asked.iter().rev().map(|asked| asked.turn).collect();
    assert_eq!(history(&store, "a").await, newest);
    let two = store.turns(name("a"), 2).await.expect("read");
    assert_eq!(two.iter().map(|row| row.turn).collect::<Vec<_>>(), newest[..2]);
    assert_eq!((two[0].state, two[1].state), (TurnState::Queued, TurnState::Settled));
    assert_eq!(store.turns(name("c"), 2).await.expect("read"), []);
}

/// `Sent` and the count of interruptions add up over commits. What comes with the outcome is noted before it: the last crash of a turn counts.
pub(super) async fn what_is_noted_of_a_turn_is_kept(place: Place) {
    let store = place.store().await;
    let asked = new("a", SessionId::random());
    store.open(asked.clone()).await.expect("opened");
    let mut hand = Hand::take(&store, "a").await;
    hand.commit(Change { sent: vec![asked.turn], ..Change::default() }).await;
    let row = held(&store, asked.turn).await;
    assert_eq!((row.state, row.interruptions), (TurnState::Sent, 0));
    hand.commit(Change { interrupted: vec![asked.turn], ..Change::default() }).await;
    hand.commit(Change { sent: vec![asked.turn], interrupted: vec![asked.turn], ..Change::default() }).await;
    let row = held(&store, asked.turn).await;
    assert_eq!((row.state, row.interruptions), (TurnState::Sent, 2));
    // What is noted with the outcome is noted first.
    let settled = Change { interrupted: vec![asked.turn], ..settling(asked.turn, r#"{"a":1}"#) };
    let at = settled.settle[0].at;
    hand.commit(settled).await;
    let row = held(&store, asked.turn).await;
    assert_eq!((row.state, row.interruptions), (TurnState::Settled, 3));
    assert_eq!((row.outcome, row.settled_at), (Some(json!({ "a": 1 })), Some(at)));
}

/// A second outcome is not stored, in a later change or in the same one, and the answer has the first to the byte. The rest of such a change is stored.
pub(super) async fn the_first_outcome_stands(place: Place) {
    let store = place.store().await;
    let (first, other) = (new("a", SessionId::random()), new("a", SessionId::random()));
    store.open(first.clone()).await.expect("opened");
    store.open(other.clone()).await.expect("opened");
    let mut hand = Hand::take(&store, "a").await;
    let text = r#"{ "outcome" : "completed" }"#;
    assert_eq!(hand.settle(first.turn, text).await.already, []);
    // The rest of such a change is stored.
    let both = Change { settle: vec![settle(first.turn, "2"), settle(other.turn, "3")], ..Change::default() };
    let committed = hand.commit(both).await;
    assert_eq!(committed.already, [(first.turn, text.into())]);
    assert_eq!(held(&store, first.turn).await.outcome, Some(json!({ "outcome": "completed" })));
    assert_eq!(held(&store, other.turn).await.outcome, Some(json!(3)));
    // Also where one change has two.
    let twice = new("a", SessionId::random());
    store.open(twice.clone()).await.expect("opened");
    let both = Change { settle: vec![settle(twice.turn, "4"), settle(twice.turn, "5")], ..Change::default() };
    assert_eq!(hand.commit(both).await.already, [(twice.turn, "4".into())]);
}

/// A settled turn keeps its whole row, whatever a late change notes of it.
pub(super) async fn what_has_its_outcome_changes_no_more(place: Place) {
    let store = place.store().await;
    let asked = new("a", SessionId::random());
    let mut hand = Hand::take(&store, "a").await;
    hand.settled(asked.clone(), "1").await;
    let before = held(&store, asked.turn).await;
    let late = Settle { answered_in: Some(SessionId::random()), at: 1, ..settle(asked.turn, "2") };
    let change = Change {
        sent: vec![asked.turn],
        interrupted: vec![asked.turn],
        settle: vec![late],
        ..Change::default()
    };
    hand.commit(change).await;
    assert_eq!(held(&store, asked.turn).await, before);
}

/// An id that nobody opened, or that another name has, is told once, settles nothing, and keeps nothing else of the change from being stored.
pub(super) async fn a_turn_that_the_name_does_not_hold_is_told_as_unknown(place: Place) {
    let store = place.store().await;
    let (ours, theirs) = (new("a", SessionId::random()), new("b", SessionId::random()));
    store.open(ours.clone()).await.expect("opened");
    store.open(theirs.clone()).await.expect("opened");
    let nobodys = undated();
    let change = Change {
        settle: vec![settle(nobodys, "1"), settle(theirs.turn, "2"), settle(ours.turn, "3")],
        sent: vec![nobodys, theirs.turn],
        interrupted: vec![nobodys],
        ..super::setup::saying("a", "one")
    };
    let mut unknown = Hand::take(&store, "a").await.commit(change).await.unknown;
    unknown.sort_unstable();
    let mut expected = [nobodys, theirs.turn];
    expected.sort_unstable();
    assert_eq!(unknown, expected, "each once");
    assert_eq!(store.turn(nobodys).await.expect("read"), None);
    assert_eq!(held(&store, theirs.turn).await.state, TurnState::Queued, "it is not this name's to settle");
    assert_eq!(held(&store, ours.turn).await.outcome, Some(json!(3)), "the rest is stored");
}

/// Where the outcome names another conversation than the one that was asked, the turn is among that one's completed turns from then on.
pub(super) async fn a_turn_belongs_to_the_conversation_that_answered_it(place: Place) {
    let store = place.store().await;
    let (asked_in, answered_in) = (SessionId::random(), SessionId::random());
    let (stays, moves) = (new("a", asked_in), new("a", asked_in));
    let mut hand = Hand::take(&store, "a").await;
    hand.settled(stays.clone(), r#"{"outcome":"completed"}"#).await;
    store.open(moves.clone()).await.expect("opened");
    let moved = Settle { answered_in: Some(answered_in), ..settle(moves.turn, r#"{"outcome":"completed"}"#) };
    hand.commit(Change { settle: vec![moved], ..Change::default() }).await;
    let last = async |id| store.completed(id).await.expect("read").first().map(|turn| turn.turn);
    assert_eq!(last(asked_in).await, Some(stays.turn));
    assert_eq!(last(answered_in).await, Some(moves.turn));
    assert_eq!(held(&store, moves.turn).await.session_id, answered_in);
}

/// Outcomes that a JSON library would change or refuse come back to the byte: cut surrogates, numbers without a value, keys that stand there twice,
/// 300 levels, megabytes. The CLI writes such texts, and a host compares them.
pub(super) async fn an_outcome_is_kept_as_it_came(place: Place) {
    let store = place.store().await;
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    let long = "x\\n\u{1f980}".repeat(200_000);
    let fields = [
        r#""cut \ud83d""#.to_owned(),
        r#"{"\udc00":1,"a":"\ude00"}"#.to_owned(),
        r#"{"cost":1e999}"#.to_owned(),
        r#""\u0000 and \ud83e\udd80""#.to_owned(),
        "{ \"spaced\" :\t1 , \"twice\":1,\"twice\":2}".to_owned(),
        "0.1000000000000000055511151231257827".to_owned(),
        deep,
        format!("\"{long}\""),
    ];
    let mut hand = Hand::take(&store, "a").await;
    for field in fields {
        let asked = new("a", SessionId::random());
        let outcome = format!(r#"{{"outcome":"completed","text":"said","result":{field}}}"#);
        hand.settled(asked.clone(), &outcome).await;
        let row = held(&store, asked.turn).await;
        assert_eq!(row.outcome, Some(frame::value(&outcome).expect("readable")), "{field:.60}");
        let already = hand.settle(asked.turn, "null").await.already;
        assert!(already == [(asked.turn, outcome.into())], "{field:.60} comes back another text");
    }
    assert_eq!(store.problems().await.expect("read"), []);
}

/// A store that keeps one row a line must not be split by line ends within an outcome.
pub(super) async fn an_outcome_of_several_lines_is_kept_as_it_came(place: Place) {
    let store = place.store().await;
    let asked = new("a", SessionId::random());
    let mut hand = Hand::take(&store, "a").await;
    let outcome = "{\n\t\"outcome\": \"failed\"\r\n}\n";
    hand.settled(asked.clone(), outcome).await;
    assert_eq!(held(&store, asked.turn).await.outcome, Some(json!({ "outcome": "failed" })));
    assert_eq!(hand.settle(asked.turn, "null").await.already, [(asked.turn, outcome.into())]);
}

/// NUL, quotes of SQL, marks of direction, line ends of every kind, a megabyte: a prompt comes back as it was given.
pub(super) async fn a_prompt_may_be_any_text(place: Place) {
    let store = place.store().await;
    let texts = [
        String::new(),
        "\0 a NUL, \u{1f980}, \u{202e}, \u{feff}, \"'; DROP TABLE turns; --".to_owned(),
        "\r\n\t\u{7f}\u{85}\u{2028}".to_owned(),
        "\u{10ffff}\u{fffd}\u{e000}".to_owned(),
        "0123456789abcdef".repeat(65_536),
    ];
    let texts = texts.map(Value::from);
    let blocks = json!([{ "type": "image", "data": "x".repeat(1000) }, { "type": "text", "text": "\0" }]);
    for prompt in texts.into_iter().chain([blocks]) {
        let asked =
            NewTurn { prompt: prompt.to_string().into(), ..opened("a", SessionId::random(), now() - DAY) };
        store.open(asked.clone()).await.expect("opened");
        assert!(held(&store, asked.turn).await.prompt == prompt, "{prompt:.60} comes back another text");
    }
}
