//! Sessions that are made of a template and removed while their tree runs, with the fake CLI.

use treewarden::Session;
use treewarden::session::{QueryErrorKind, SessionState};
use treewarden::supervisor::Supervisor;
use treewarden::tree::{NewSessionError, NodeKind, RemoveSessionError, Tree};
use treewarden_end_to_end::eventually;
use treewarden_end_to_end::ground::{Ground, child, paths, template};

async fn busy(tree: &Tree, name: &str) {
    let state = async || tree.session(name).status().await.expect("it is there").state;
    eventually("its turn runs", async || (state().await == SessionState::Busy).then_some(())).await;
}

#[tokio::test]
async fn a_session_of_a_template_is_made_used_and_removed_and_the_next_of_its_name_goes_on() {
    let ground = Ground::new();
    let tree = ground.start(&(child("lobby") + &template("chat", ""))).await;
    assert_eq!(paths(&tree).await, ["lobby", "chat"]);
    let alice = tree.new_session("chat", "alice").await.expect("it is made");
    assert_eq!(
        alice.status().await.expect("it is there").generation,
        0,
        "no CLI is started before the first turn"
    );
    alice.query("My name is Alice").await.expect("answered");
    let outline = tree.outline().await;
    let session = &outline.children[1].children[0];
    assert_eq!((session.name.as_str(), session.kind), ("alice", NodeKind::Session));
    let (id, pid) = (alice.id().await.expect("an id"), alice.status().await.expect("it is there").pid);
    assert!(pid.is_some());

    tree.remove_session("alice").await.expect("it is removed");
    assert_eq!(paths(&tree).await, ["lobby", "chat"]);
    assert!(tree.host().session("alice").is_none(), "its name is free");
    let error = alice.query("hello").await.expect_err("it is gone");
    assert_eq!(error.kind(), QueryErrorKind::NoSuchSession, "{error}");
    let error = tree.remove_session("alice").await.expect_err("it is gone");
    assert!(matches!(error, RemoveSessionError::NotFound(_)), "{error}");

    let again = tree.new_session("chat", "alice").await.expect("it is made again");
    let answer = again.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_eq!(again.id().await.expect("an id"), id);
    tree.stop().await;
}

#[tokio::test]
async fn a_name_that_any_session_has_is_refused_and_of_many_that_ask_at_once_one_has_it() {
    let ground = Ground::new();
    let tree = ground.start(&(child("lobby") + &template("chat", "") + &template("work", ""))).await;
    tree.new_session("chat", "alice").await.expect("it is made");
    for of in ["chat", "work"] {
        let error = tree.new_session(of, "alice").await.expect_err("the name is taken");
        assert!(matches!(error, NewSessionError::Taken(_)), "{error}");
    }
    // What the file declares cannot be removed, and the refusal does not say that it can.
    let error = tree.new_session("chat", "lobby").await.expect_err("the name is taken");
    assert!(matches!(error, NewSessionError::Declared(_)), "{error}");
    let said = error.to_string();
    assert!(said.contains("the config file declares") && !said.contains("remove"), "{said}");
    tree.session("alice").stop().await.expect("it stops");
    let error = tree.new_session("chat", "alice").await.expect_err("one that is stopped has its name");
    assert!(matches!(error, NewSessionError::Taken(_)), "{error}");
    tree.session("alice").start_again().await.expect("it is started as any other");

    let asked: Vec<_> = (0..16)
        .map(|_| {
            let tree = tree.clone();
            tokio::spawn(async move { tree.new_session("work", "bob").await.is_ok() })
        })
        .collect();
    let mut made = 0;
    for one in asked {
        made += usize::from(one.await.expect("it does not panic"));
    }
    assert_eq!(made, 1);
    let error = tree.remove_session("lobby").await.expect_err("the file has it");
    assert!(matches!(error, RemoveSessionError::Declared(_)), "{error}");
    let error = tree.new_session("chta", "carol").await.expect_err("there is none").to_string();
    assert!(error.contains("did you mean \"chat\"?"), "{error}");
    let error = tree.new_session("z", "carol").await.expect_err("there is none").to_string();
    assert!(error.contains("chat, work"), "{error}");
    let error = tree.new_session("chat", "../carol").await.expect_err("no name");
    assert!(matches!(error, NewSessionError::InvalidName(_)), "{error}");
    tree.stop().await;
}

#[tokio::test]
async fn no_more_sessions_of_a_template_exist_than_may() {
    let ground = Ground::new();
    let file = |limit: u32| template("chat", &format!("max_sessions = {limit}"));
    let tree = ground.start(&file(2)).await;
    let asked: Vec<_> = (0..8)
        .map(|n| {
            let tree = tree.clone();
            tokio::spawn(async move { tree.new_session("chat", &format!("s{n}")).await })
        })
        .collect();
    let mut made = Vec::new();
    for one in asked {
        match one.await.expect("it does not panic") {
            Ok(session) => made.push(session.name().to_owned()),
            Err(error) => assert!(matches!(error, NewSessionError::Limit { limit: 2, .. }), "{error}"),
        }
    }
    assert_eq!(made.len(), 2);
    tree.session(&made[0]).stop().await.expect("it stops");
    tree.new_session("chat", "late").await.expect_err("one that is stopped exists");
    tree.remove_session(&made[0]).await.expect("it is removed");
    tree.new_session("chat", "late").await.expect("there is a place again");
    // Those that exist stay when fewer may.
    ground.apply(&tree, &file(1)).await;
    assert_eq!(paths(&tree).await.len(), 3);
    tree.new_session("chat", "later").await.expect_err("two exist, and one may");
    tree.stop().await;
}

#[tokio::test]
async fn sessions_that_were_not_removed_come_back_with_their_tree_and_their_open_turns() {
    let ground = Ground::new();
    let file = template("chat", "");
    let tree = ground.start(&file).await;
    for name in ["alice", "bob", "carol"] {
        tree.new_session("chat", name).await.expect("it is made");
    }
    tree.session("alice").query("My name is Alice").await.expect("answered");
    let turn = tree.session("alice").stream("What is my name? DELAY=300").await.expect("opened").detach();
    busy(&tree, "alice").await;
    tree.session("bob").stop().await.expect("it stops");
    tree.remove_session("carol").await.expect("it is removed");
    tree.stop().await;

    let tree = ground.start(&file).await;
    assert_eq!(paths(&tree).await, ["chat", "chat/alice", "chat/bob"]);
    let settled = async || tree.host().turn(turn).await.expect("the journal can be read")?.outcome;
    let outcome = eventually("its turn is carried on by itself", settled).await;
    assert!(outcome["text"].as_str().is_some_and(|text| text.contains("Alice")), "{outcome}");
    assert!(!tree.session("bob").is_alive().await, "one that was stopped stays so");
    tree.session("bob").start_again().await.expect("it is started as any other");
    tree.stop().await;

    // The file has the names that it declares.
    let tree = ground.start(&(child("alice") + &file)).await;
    assert_eq!(paths(&tree).await, ["alice", "chat", "chat/bob"]);
    let answer = tree.session("alice").query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    tree.stop().await;
}

#[tokio::test]
async fn a_removal_gives_every_turn_its_outcome() {
    let ground = Ground::new();
    let tree = ground.start(&template("chat", "")).await;
    let alice = tree.new_session("chat", "alice").await.expect("it is made");
    let running = alice.stream("hello STREAM=10000:50").await.expect("opened");
    busy(&tree, "alice").await;
    let waiting = alice.stream("hello").await.expect("opened");
    let turns = [running.id(), waiting.id()];
    tree.remove_session("alice").await.expect("it is removed");
    for (turn, word) in turns.into_iter().zip(["interrupted", "cancelled"]) {
        let report = tree.host().turn(turn).await.expect("the journal can be read").expect("it is there");
        assert_eq!(report.outcome.expect("it has an outcome")["outcome"], word);
    }
    drop((running, waiting));
    // Whoever has the name next is asked nothing of the last one's.
    let alice = tree.new_session("chat", "alice").await.expect("it is made");
    assert_eq!(alice.status().await.expect("it is there").queued, 0);
    tree.stop().await;
}

/// Makes a session twenty times, asks it thrice at once, and ends it meanwhile; each turn that was accepted has its outcome then.
async fn asked_while_it_ends(ends: impl AsyncFn(&Tree, &Session)) {
    let ground = Ground::new();
    let tree = ground.start(&template("chat", "")).await;
    for round in 0..20 {
        let alice = tree.new_session("chat", "alice").await.expect("it is made");
        let asked: Vec<_> = (0..3)
            .map(|_| {
                let alice = alice.clone();
                tokio::spawn(async move { alice.submit("hello").await })
            })
            .collect();
        ends(&tree, &alice).await;
        for asked in asked {
            // One that came behind the removal is refused.
            let Ok(turn) = asked.await.expect("no panic") else { continue };
            let report = tree.host().turn(turn).await.expect("the journal can be read").expect("it is there");
            assert!(report.outcome.is_some(), "round {round}: {turn} was accepted and is open");
        }
    }
    tree.stop().await;
}

#[tokio::test]
async fn a_turn_that_was_on_its_way_when_its_session_was_removed_has_its_outcome() {
    asked_while_it_ends(async |tree, _| tree.remove_session("alice").await.expect("it is removed")).await;
}

#[tokio::test]
async fn a_turn_that_was_on_its_way_when_its_session_was_stopped_and_removed_has_its_outcome() {
    asked_while_it_ends(async |tree, alice| {
        // The removal may be first, so that there is nobody to be stopped.
        let (_stopped, removed) = tokio::join!(alice.stop(), tree.remove_session("alice"));
        removed.expect("it is removed");
    })
    .await;
}

#[tokio::test]
async fn an_idle_session_is_removed_and_one_with_a_turn_is_not() {
    let ground = Ground::new();
    let file = |lines: &str| template("chat", lines);
    let tree = ground.start(&file("")).await;
    let idle = tree.new_session("chat", "idle").await.expect("it is made");
    idle.query("My name is Alice").await.expect("answered");
    let worker = tree.new_session("chat", "worker").await.expect("it is made");
    let turn = worker.stream("hello STREAM=1000:50").await.expect("opened");
    busy(&tree, "worker").await;
    // It holds for those that exist.
    ground.apply(&tree, &file("remove_idle = \"1s\"")).await;
    eventually("the idle one is removed", async || tree.host().session("idle").is_none().then_some(())).await;
    assert_eq!(paths(&tree).await, ["chat", "chat/worker"]);
    let again = tree.new_session("chat", "idle").await.expect("it is made again");
    let answer = again.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    turn.interrupt();
    turn.outcome().await.expect("it has an outcome");
    eventually("both are idle", async || tree.host().sessions().is_empty().then_some(())).await;
    tree.stop().await;
    let tree = ground.start(&file("")).await;
    assert_eq!(paths(&tree).await, ["chat"], "what was removed does not come back");
    tree.stop().await;
}

#[tokio::test]
async fn a_reload_changes_the_sessions_of_a_template_and_takes_them_with_it() {
    let ground = Ground::new();
    let tree = ground.start(&template("chat", "")).await;
    let alice = tree.new_session("chat", "alice").await.expect("it is made");
    alice.query("My name is Alice").await.expect("answered");
    let before = alice.status().await.expect("it is there").pid;
    let changed = template("chat", "model = \"opus\"\nmax_sessions = 9");
    let diff = tree.diff(ground.spec(&changed)).to_string();
    assert!(diff.contains("~ chat") && diff.contains("max_sessions") && diff.contains("model"), "{diff}");
    ground.apply(&tree, &changed).await;
    assert!(tree.diff(ground.spec(&changed)).is_empty());
    let answer = alice.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_ne!(alice.status().await.expect("it is there").pid, before, "its CLI has the new options");

    let turn = alice.stream("hello STREAM=1000:50").await.expect("opened").detach();
    busy(&tree, "alice").await;
    let diff = tree.diff(ground.spec(&child("lobby")));
    assert_eq!(diff.ended_sessions().collect::<Vec<_>>(), ["alice"], "{diff}");
    tree.apply(diff).await.expect("it is applied");
    assert_eq!(paths(&tree).await, ["lobby"]);
    assert!(tree.host().session("alice").is_none());
    let open = tree.host().turn(turn).await.expect("the journal can be read").expect("it is there");
    assert!(open.outcome.is_none(), "its open turns are kept, as those of a child that goes");
    tree.new_session("chat", "bob").await.expect_err("there is no such template");

    // With the template its sessions are back.
    ground.apply(&tree, &(child("lobby") + &changed)).await;
    assert_eq!(paths(&tree).await, ["lobby", "chat", "chat/alice"]);
    tree.session("alice").cancel(turn).await.expect("it is open");
    tree.new_session("chat", "bob").await.expect("it is made");
    tree.stop().await;
}

#[tokio::test]
async fn a_session_of_a_template_that_crashes_too_often_is_given_up_alone() {
    let ground = Ground::new();
    let tree = ground.start(&template("chat", "max_restarts = 1")).await;
    let alice = tree.new_session("chat", "alice").await.expect("it is made");
    tree.new_session("chat", "bob").await.expect("it is made");
    let error = alice.query("hello CRASH=read").await.expect_err("it is given up");
    assert_eq!(alice.status().await.expect("it is there").state, SessionState::GivenUp, "{error}");
    tree.session("bob").query("hello").await.expect("its sibling lives on");
    tree.remove_session("alice").await.expect("one that is given up can be removed");
    tree.new_session("chat", "alice").await.expect("it is made").query("hello").await.expect("answered");
    tree.stop().await;
}

#[tokio::test]
async fn a_supervisor_of_a_template_that_restarts_has_its_sessions_and_not_those_that_were_removed() {
    let ground = Ground::new();
    let tree = ground.start(&template("chat", "")).await;
    for name in ["alice", "bob"] {
        tree.new_session("chat", name).await.expect("it is made");
    }
    tree.remove_session("bob").await.expect("it is removed");
    tree.restart_supervisor("chat").await.expect("it is restarted");
    assert_eq!(paths(&tree).await, ["chat", "chat/alice"]);
    let supervisor = tree.supervisor().child("chat").await.expect("it runs");
    let supervisor = supervisor.extension::<Supervisor>().expect("it is a supervisor").clone();
    supervisor.cell().kill();
    supervisor.wait().await;
    // It is down for a moment; whoever asks then is told so.
    loop {
        match tree.new_session("chat", "carol").await {
            Ok(_) => break,
            Err(NewSessionError::Down(_)) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(paths(&tree).await, ["chat", "chat/alice", "chat/carol"]);
    tree.session("alice").restart().await.expect("it knows its supervisor");
    tree.stop().await;
}
