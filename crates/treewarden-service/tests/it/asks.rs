//! Turns through the service, on a fake CLI.

use serde_json::{Value, json};
use treewarden_service::{Code, Gone};

use super::support::{Door, World};

fn texts(items: &[Value]) -> String {
    items.iter().filter_map(|item| item["text"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_told_as_text_as_frames_or_only_at_its_end() {
    let world = World::with_a_cli(&["a"]).await;
    let mut told = Vec::new();
    for stream in ["none", "text", "frames"] {
        let mut door = Door::default();
        let ask = json!({ "op": "ask", "name": "a", "prompt": "one two SPEAK=1", "stream": stream });
        world.tell(ask, &mut door).await.expect("the caller stays");
        let end = door.end().expect("answered");
        assert_eq!(
            (&end["outcome"], &end["text"]),
            (&json!("completed"), &json!("answer to one two SPEAK=1"))
        );
        assert_eq!(end["result"]["type"], "result");
        let mut items = door.items();
        assert_eq!((&items[0]["type"], &items[0]["turn"]), (&json!("opened"), &end["turn"]));
        told.push((end, items.split_off(1)));
    }
    assert!(told[0].1.is_empty(), "{:?}", told[0].1);
    assert_eq!(texts(&told[1].1), "answer to one two SPEAK=1");
    let frames = &told[2].1;
    assert!(frames.iter().all(|item| item["type"] == "frame"), "{frames:?}");
    assert_eq!(frames.last().map(|item| &item["frame"]["type"]), Some(&json!("result")));
    // What became of it is told later too, as the same.
    for wait in [false, true] {
        let turn = json!({ "op": "turn", "turn": told[0].0["turn"], "wait": wait });
        assert_eq!(world.ask(turn).await.expect("answered"), told[0].0);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_begins_anew_is_told_after_the_word_that_it_does() {
    let world = World::with_a_cli(&["a"]).await;
    let mut door = Door::default();
    let prompt = "one two three SPEAK=1 CRASH=result ONCE=1";
    world
        .tell(json!({ "op": "ask", "name": "a", "prompt": prompt, "stream": "text" }), &mut door)
        .await
        .expect("the caller stays");
    let items = door.items();
    let resumed: Vec<usize> = (0..items.len()).filter(|i| items[*i]["type"] == "resumed").collect();
    let [at] = resumed[..] else { panic!("{items:?}") };
    assert_eq!(items[at]["interruptions"], 1);
    assert_eq!(texts(&items[at..]), format!("answer to {prompt}"));
    assert_eq!(door.end().expect("answered")["interruptions"], 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_whose_caller_goes_is_interrupted_unless_it_is_detached() {
    let world = World::with_a_cli(&["a"]).await;
    let mut door = Door::left_at("opened");
    let ask = |detach| json!({ "op": "ask", "name": "a", "prompt": "one DELAY=600000", "detach": detach });
    assert_eq!(world.tell(ask(false), &mut door).await, Err(Gone));
    let left = json!({ "op": "turn", "turn": door.items()[0]["turn"], "wait": true });
    let outcome = world.ask(left).await.expect("answered")["outcome"].clone();
    assert!(outcome == "interrupted" || outcome == "cancelled", "{outcome}");

    let turn = world.ask(ask(true)).await.expect("it is accepted")["turn"].clone();
    let open = world.ask(json!({ "op": "turn", "turn": turn })).await.expect("answered");
    assert_eq!((&open["outcome"], &open["text"]), (&Value::Null, &Value::Null));
    let cancelled = world.ask(json!({ "op": "cancel", "turn": turn })).await.expect("answered");
    assert_eq!(cancelled, json!({ "cancelled": true }));
    world.ask(json!({ "op": "turn", "turn": turn, "wait": true })).await.expect("it comes to its end");
    let again = world.ask(json!({ "op": "cancel", "turn": turn })).await.expect("answered");
    assert_eq!(again, json!({ "cancelled": false }));
    let nothing = json!({ "op": "cancel", "turn": treewarden::TurnId::new() });
    assert_eq!(world.ask(nothing).await.expect_err("refused").code, Code::NoSuchTurn);
    world.end().await;
}

const LONG: &str = "one DELAY=600000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_whose_session_goes_first_is_told_as_one_that_stays_open() {
    let world = World::with_a_cli(&["a", "b"]).await;
    let dir = world.service.tree().host().state_dir().parent().expect("a folder").to_owned();
    let (with, without) = (dir.join("treewarden.toml"), dir.join("without.toml"));
    let text = std::fs::read_to_string(&with).expect("read");
    std::fs::write(&without, text.replace("[[child]]\nname = \"a\"\n", "")).expect("written");
    let reload = |file| world.ask(json!({ "op": "reload", "file": file, "force": true }));
    let mut door = Door::default();
    let caller = door.clone();
    let asked = world.tell(json!({ "op": "ask", "name": "a", "prompt": LONG }), &mut door);
    let goes = async {
        caller.is_told().await;
        reload(&without).await
    };
    let (told, reloaded) = tokio::join!(asked, goes);
    assert_eq!((told, reloaded.expect("done")["failed"].clone()), (Ok(()), json!([])));
    let open = caller.end().expect("it is no refusal");
    let why = open["message"].as_str().expect("why").to_owned();
    assert!(open["outcome"].is_null() && why.contains("stays open until its session is started"), "{open}");
    // Whoever waits for it hears the same, as long as the session is not there, and then waits.
    let wait = json!({ "op": "turn", "turn": open["turn"], "wait": true });
    let waited = world.ask(wait.clone()).await.expect("the turn is known");
    let why = waited["message"].as_str().expect("why");
    assert!(waited["outcome"].is_null() && why.contains("no session \"a\""), "{waited}");
    reload(&with).await.expect("done");
    world.ask(json!({ "op": "cancel", "turn": open["turn"] })).await.expect("it is open");
    let outcome = world.ask(wait).await.expect("it comes to its end")["outcome"].clone();
    assert!(outcome == "interrupted" || outcome == "cancelled", "{outcome}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_that_is_to_be_shut_waits_until_its_callers_are_told_that_their_turns_stay_open() {
    let world = World::with_a_cli(&["a"]).await;
    let mut door = Door::default();
    let mut follower = Door::default();
    let (caller, follows) = (door.clone(), follower.clone());
    let asked = world.tell(json!({ "op": "ask", "name": "a", "prompt": LONG }), &mut door);
    let followed = world.tell(json!({ "op": "events", "follow": true }), &mut follower);
    let ends = async {
        caller.is_told().await;
        world.service.tree().stop().await;
        // Whoever follows has no end to be told, and keeps nobody.
        world.service.all_told().await;
        follows.leave();
        caller.end().expect("it is no refusal")
    };
    let (told, _, open) = tokio::join!(asked, followed, ends);
    assert_eq!((told, &open["outcome"]), (Ok(()), &Value::Null), "{open}");
    let kept = world.service.tree().host().turn(serde_json::from_value(open["turn"].clone()).expect("an id"));
    assert!(kept.await.expect("read").is_some_and(|kept| kept.outcome.is_none()));
}
