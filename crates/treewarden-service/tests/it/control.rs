//! The verbs that change the tree: who may use them, and for whom they are not carried out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use treewarden_service::{Access, Caller, Code, Gone, Request};
use treewarden_testkit::faults;

use super::support::{Door, World};

#[tokio::test]
async fn a_caller_is_refused_what_its_level_does_not_allow() {
    let world = World::of(&["a"]).await;
    for level in [Access::Look, Access::Talk] {
        let mut door = Door::default();
        let stop = Request::Stop { name: "a".into(), force: true };
        world.service.answer(stop, Caller::with(level), &mut door).await.expect("the caller stays");
        assert_eq!(door.end().expect_err("refused").code, Code::Forbidden);
        assert_eq!(door.items(), Vec::<Value>::new(), "it has not begun");
    }
    assert_eq!(world.state("a").await, "parked");
    world.ask(json!({ "op": "stop", "name": "a" })).await.expect("whoever may change things stops it");
    assert_eq!(world.state("a").await, "stopped");
    world.end().await;
}

#[tokio::test]
async fn what_a_caller_asked_who_went_meanwhile_is_not_done_later() {
    let world = World::of(&["a", "b"]).await;
    world.ask(json!({ "op": "stop", "name": "b" })).await.expect("stopped");
    world.declare("c");
    for request in [
        json!({ "op": "stop", "name": "a", "force": true }),
        json!({ "op": "stop", "name": "a" }),
        json!({ "op": "start", "name": "b" }),
        json!({ "op": "reload" }),
    ] {
        let mut door = Door::left_at("begun");
        assert_eq!(world.tell(request.clone(), &mut door).await, Err(Gone), "{request}");
        let mut gone_before = Door::default();
        gone_before.leave();
        assert_eq!(world.tell(request, &mut gone_before).await, Err(Gone));
        assert_eq!(gone_before.items(), Vec::<Value>::new());
    }
    assert_eq!((&*world.state("a").await, &*world.state("b").await), ("parked", "stopped"));
    assert_eq!(world.service.tree().spec().root.children.len(), 2);
    world.ask(json!({ "op": "reload" })).await.expect("it can be done");
    assert_eq!(world.state("c").await, "parked");
    world.end().await;
}

#[tokio::test]
async fn a_refusal_says_what_has_it_done_all_the_same() {
    let world = World::of(&["a"]).await;
    let empty = world.service.tree().host().state_dir().join("empty.toml");
    std::fs::write(&empty, "").expect("written");
    let refusal = world.ask(json!({ "op": "reload", "file": empty })).await.expect_err("refused");
    assert_eq!((refusal.code, refusal.anyway.as_deref()), (Code::Config, Some("allow_empty")));
    let nobody = world.ask(json!({ "op": "restart", "name": "nobody" })).await.expect_err("refused");
    assert_eq!((nobody.code, nobody.anyway), (Code::NoSuchSession, None));
    let reloaded =
        world.ask(json!({ "op": "reload", "file": empty, "allow_empty": true })).await.expect("done");
    assert_eq!((&reloaded["changed"], &reloaded["failed"]), (&json!(true), &json!([])));
    world.end().await;
}

/// The process and the state of a session's CLI, if there is such a session.
async fn shown(world: &World, name: &str) -> Option<(Option<u32>, Value)> {
    let ps = world.ask(json!({ "op": "ps" })).await.expect("answered");
    let session = ps["sessions"].as_array()?.iter().find(|session| session["name"] == name)?;
    Some((session["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()), session["state"].clone()))
}

/// A frozen CLI ends some seconds after it was asked to. A round in which that was too soon to be seen is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_being_removed_is_no_session_to_who_would_start_it() {
    let world = Arc::new(World::with_a_cli(&["a"]).await);
    world.add("template", "chat");
    world.ask(json!({ "op": "reload" })).await.expect("it can be done");
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        assert!(Instant::now() < until, "the removal was over before it was seen, each time");
        world.ask(json!({ "op": "new", "template": "chat", "name": "alice" })).await.expect("made");
        world.ask(json!({ "op": "ask", "name": "alice", "prompt": "hello" })).await.expect("answered");
        let pid = shown(&world, "alice").await.and_then(|(pid, _)| pid);
        faults::freeze(pid.expect("a CLI lives")).expect("frozen");
        let removal = tokio::spawn({
            let world = Arc::clone(&world);
            async move { world.ask(json!({ "op": "remove", "name": "alice", "force": true })).await }
        });
        while !removal.is_finished()
            && shown(&world, "alice").await.is_some_and(|(_, state)| state != "stopping")
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut refusals = Vec::new();
        for op in ["restart", "start"] {
            refusals.push(world.ask(json!({ "op": op, "name": "alice" })).await.expect_err("refused"));
        }
        let in_time = shown(&world, "alice").await == Some((pid, json!("stopping")));
        for refusal in refusals {
            assert_eq!(refusal.code, Code::NoSuchSession, "{refusal}");
            assert!(!in_time || refusal.message.contains("is being removed"), "{refusal}");
        }
        removal.await.expect("no panic").expect("removed");
        if in_time {
            break;
        }
    }
    assert_eq!(shown(&world, "alice").await, None);
    world.service.tree().stop().await;
}

#[tokio::test]
async fn what_is_asked_has_the_keys_that_are_documented() {
    let world = World::of(&["a"]).await;
    let keys = |value: Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    for (op, documented) in [
        ("hello", &["pid", "protocol", "state_dir", "version"][..]),
        ("ps", &["lost", "problems", "removed", "sessions", "warm"]),
        ("reload", &["changed", "dry_run", "failed", "nodes", "text", "unchanged"]),
        ("events", &["boot", "seq"]),
    ] {
        assert_eq!(keys(world.ask(json!({ "op": op })).await.expect("answered")), documented, "{op}");
    }
    let tree = world.ask(json!({ "op": "tree" })).await.expect("answered");
    assert_eq!((&tree["kind"], &tree["children"][0]["name"]), (&json!("supervisor"), &json!("a")));
    world.end().await;
}

#[tokio::test]
async fn a_name_that_nobody_has_is_refused_with_the_nearest_or_with_what_has_it() {
    let world = World::of(&["assistant", "writer"]).await;
    world.add("template", "chat");
    world.ask(json!({ "op": "reload" })).await.expect("it can be done");
    let id = treewarden::SessionId::random();
    let refused = async |mut request: Value, name: &str| {
        request["name"] = json!(name);
        let refusal = world.ask(request.clone()).await.expect_err("refused");
        assert_eq!(refusal.code, Code::NoSuchSession, "{request}: {refusal}");
        refusal.message
    };
    for request in [
        json!({ "op": "ask", "prompt": "hello" }),
        json!({ "op": "ask", "prompt": "hello", "detach": true }),
        json!({ "op": "start" }),
        json!({ "op": "stop" }),
        json!({ "op": "restart" }),
        json!({ "op": "remove" }),
        json!({ "op": "clear" }),
        json!({ "op": "adopt", "session_id": id }),
        json!({ "op": "interrupt" }),
    ] {
        let said = refused(request.clone(), "asistant").await;
        assert!(said.contains("\"asistant\"; did you mean \"assistant\"?"), "{request}: {said}");
        let said = refused(request.clone(), "zoe").await;
        assert!(said.contains("writer") && said.contains("assistant"), "{request}: {said}");
    }
    let said = refused(json!({ "op": "stop" }), "chat").await;
    assert!(said.contains("that is a template") && said.contains("treewarden new chat NAME"), "{said}");
    world.end().await;
}

#[tokio::test]
async fn a_session_that_runs_is_not_started_and_it_is_said_what_starts_it_anew() {
    let world = World::of(&["a"]).await;
    let refusal = world.ask(json!({ "op": "start", "name": "a" })).await.expect_err("refused");
    assert_eq!(refusal.code, Code::Failed);
    assert!(
        refusal.message.contains("runs already") && refusal.message.contains("treewarden restart a"),
        "{refusal}"
    );
    world.end().await;
}

#[test]
fn the_levels_of_the_verbs_are_documented() {
    let page = include_str!("../../../../docs/command.md");
    for (op, access) in treewarden_service::VERBS {
        let row = format!("| {} |", format!("{access:?}").to_lowercase());
        let row = page.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row {row}"));
        assert!(row.contains(&format!("`{op}`")), "{op} is not in {row}");
    }
}
