//! Names that the file and the sessions of templates both have, or would have: who has them, at a start, at a reload and at
//! `new`; and what a follower of the events sees of a session that is removed.

use treewarden::events::{Happening, RemovalReason};
use treewarden::session::{QueryErrorKind, SessionState};
use treewarden::tree::{ApplyError, NewSessionError, Tree, TreeErrorKind};
use treewarden_end_to_end::ground::{Ground, child, paths, template};
use treewarden_end_to_end::{eventually, outcome_of, reaches};
use treewarden_store::Told;

const TEAM: &str = "[[child]]\nname = \"team\"\ntype = \"supervisor\"\n[[child.child]]\nname = \"member\"\n";

fn supervisor(name: &str) -> String {
    format!("[[child]]\nname = \"{name}\"\ntype = \"supervisor\"\n")
}

/// The template that the record of a session has on disk.
async fn template_of(tree: &Tree, name: &str) -> Option<String> {
    let told =
        tree.host().store().record(name.parse().expect("a name")).await.expect("the store can be read");
    let Told::Record(record) = told else { panic!("it has a record: {told:?}") };
    record.template.map(|template| template.to_string())
}

async fn knows(tree: &Tree, name: &str) {
    let answer = tree.session(name).query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
}

#[tokio::test]
async fn a_name_that_the_file_took_over_at_a_start_is_no_templates_when_the_file_gives_it_back() {
    let ground = Ground::new();
    let chat = template("chat", "max_sessions = 2");
    let tree = ground.start(&chat).await;
    for name in ["alice", "bob"] {
        tree.new_session("chat", name).await.expect("it is made");
    }
    tree.session("alice").query("My name is Alice").await.expect("answered");
    tree.session("bob").stop().await.expect("it stops");
    tree.stop().await;

    let tree = ground.start(&(child("alice") + &child("bob") + &chat)).await;
    assert_eq!(paths(&tree).await, ["alice", "bob", "chat"]);
    assert_eq!([template_of(&tree, "alice").await, template_of(&tree, "bob").await], [None, None]);
    assert!(!tree.session("bob").is_alive().await, "one that was stopped stays so");
    for name in ["carol", "dave"] {
        tree.new_session("chat", name).await.expect("there are two places");
    }
    tree.stop().await;

    let tree = ground.start(&chat).await;
    assert_eq!(paths(&tree).await, ["chat", "chat/carol", "chat/dave"]);
    tree.remove_session("carol").await.expect("it is removed");
    tree.new_session("chat", "alice").await.expect("the name is free");
    knows(&tree, "alice").await;
    tree.stop().await;
}

#[tokio::test]
async fn a_reload_hands_a_session_of_a_template_to_the_file_with_its_conversation_and_its_running_turn() {
    let ground = Ground::new();
    let chat = template("chat", "max_sessions = 1");
    let tree = ground.start(&chat).await;
    let alice = tree.new_session("chat", "alice").await.expect("it is made");
    alice.query("My name is Alice").await.expect("answered");
    let turn = alice.stream("What is my name? STREAM=20:50").await.expect("opened").detach();
    reaches(&alice, SessionState::Busy).await;

    let declared = child("alice") + &chat;
    let diff = tree.diff(ground.spec(&declared));
    let expected =
        "+ alice: is started\n- chat/alice: is stopped; its conversation is kept\n1 child is unchanged\n";
    assert_eq!((diff.to_string().as_str(), &*diff.conflicts), (expected, &[][..]));
    assert_eq!(diff.ended_sessions().collect::<Vec<_>>(), ["alice"], "whether it is saved is asked first");
    assert_eq!(paths(&tree).await, ["chat", "chat/alice"], "a diff changes nothing");
    tree.apply(diff).await.expect("it is applied");
    assert_eq!(paths(&tree).await, ["alice", "chat"]);
    let outcome = outcome_of(tree.host(), turn).await;
    assert!(outcome["text"].as_str().is_some_and(|text| text.contains("Alice")), "{outcome}");
    assert!(tree.diff(ground.spec(&declared)).is_empty());
    tree.session("alice").restart().await.expect("it knows its supervisor");
    assert_eq!(template_of(&tree, "alice").await, None);
    tree.new_session("chat", "bob").await.expect("the template has a place again");

    // The file gives it back: it is nobody's, and no template's at the next start.
    ground.apply(&tree, &chat).await;
    assert_eq!(paths(&tree).await, ["chat", "chat/bob"]);
    tree.stop().await;
    let tree = ground.start(&chat).await;
    assert_eq!(paths(&tree).await, ["chat", "chat/bob"]);
    tree.remove_session("bob").await.expect("it is removed");
    tree.new_session("chat", "alice").await.expect("the name is free");
    knows(&tree, "alice").await;
    tree.stop().await;
}

#[tokio::test]
async fn a_reload_that_declares_a_session_of_a_template_that_is_gone_takes_it_over() {
    let ground = Ground::new();
    let chat = template("chat", "");
    let tree = ground.start(&chat).await;
    tree.new_session("chat", "alice")
        .await
        .expect("it is made")
        .query("My name is Alice")
        .await
        .expect("answered");
    // It goes with its template, of which it is still.
    ground.apply(&tree, &child("lobby")).await;
    assert_eq!(template_of(&tree, "alice").await.as_deref(), Some("chat"));
    ground.apply(&tree, &child("alice")).await;
    assert_eq!(template_of(&tree, "alice").await, None);
    knows(&tree, "alice").await;
    ground.apply(&tree, &chat).await;
    assert_eq!(paths(&tree).await, ["chat"]);
    tree.stop().await;
}

#[tokio::test]
async fn a_session_that_was_made_since_the_diff_is_not_handed_over_unseen() {
    let ground = Ground::new();
    let chat = template("chat", "");
    let tree = ground.start(&chat).await;
    let declares = tree.diff(ground.spec(&(child("alice") + &chat)));
    let names = tree.diff(ground.spec(&(supervisor("alice") + &chat)));
    tree.new_session("chat", "alice").await.expect("it is made");
    assert!(matches!(tree.apply(declares).await, Err(ApplyError::Stale)));
    assert!(matches!(tree.apply(names).await, Err(ApplyError::Names(_))));
    assert_eq!(paths(&tree).await, ["chat", "chat/alice"]);
    ground.apply(&tree, &(child("alice") + &chat)).await;
    assert_eq!(paths(&tree).await, ["alice", "chat"]);
    tree.stop().await;
}

#[tokio::test]
async fn a_name_that_another_child_of_the_tree_has_is_refused_and_the_refusal_says_what_has_it() {
    let ground = Ground::new();
    let tree = ground.start(&(TEAM.to_owned() + &template("chat", "") + &template("work", ""))).await;
    for (name, holder) in [("team", "a supervisor"), ("chat", "a template"), ("work", "a template")] {
        let error = tree.new_session("chat", name).await.expect_err("the name is taken");
        assert!(matches!(error, NewSessionError::NameOf { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{holder} of the tree has that name")), "{error}");
    }
    let error = tree.new_session("chat", "member").await.expect_err("the name is taken");
    assert!(matches!(error, NewSessionError::Declared(_)), "{error}");
    tree.restart_supervisor("team").await.expect("it is reached by its name");
    tree.restart_supervisor("chat").await.expect("it is reached by its name");
    tree.stop().await;
}

#[tokio::test]
async fn a_reload_refuses_a_supervisor_or_a_template_with_the_name_of_a_templates_session() {
    let ground = Ground::new();
    let chat = template("chat", "");
    let tree = ground.start(&chat).await;
    tree.new_session("chat", "alice").await.expect("it is made");
    for (file, what) in [
        (supervisor("alice") + &chat, "a supervisor"),
        (
            supervisor("top") + "[[child.child]]\nname = \"alice\"\ntype = \"supervisor\"\n" + &chat,
            "a supervisor",
        ),
        (chat.clone() + &template("alice", ""), "a template"),
    ] {
        let diff = tree.diff(ground.spec(&file));
        let words = format!(
            "{what} cannot be named alice, as a session of the template chat has that name: remove that one (treewarden \
             remove alice), or choose another name"
        );
        assert_eq!(diff.conflicts.iter().map(ToString::to_string).collect::<Vec<_>>(), [words.as_str()]);
        assert!(diff.to_string().starts_with(&format!("! {words}\n")), "{diff}");
        let error = tree.apply(diff).await.expect_err("it is refused").to_string();
        assert!(error.contains(&words) && error.contains("nothing is changed"), "{error}");
        assert_eq!(paths(&tree).await, ["chat", "chat/alice"]);
    }
    tree.remove_session("alice").await.expect("it is removed");
    ground.apply(&tree, &(supervisor("alice") + &chat)).await;
    tree.restart_supervisor("alice").await.expect("it is reached by its name");
    tree.stop().await;
}

#[tokio::test]
async fn a_spec_with_one_name_for_two_does_not_start_and_leaves_the_directory_free() {
    let ground = Ground::new();
    let file = ground.spec(&(TEAM.to_owned() + &child("alice") + &template("chat", "")));
    let state = ground.path().join("state");
    let tree = Tree::builder(file.clone()).state_dir(&state).start().await.expect("the file's spec starts");
    for child in &file.root.children {
        let mut twice = file.clone();
        twice.root.children.push(child.clone());
        let refused = tree.apply(tree.diff(twice.clone())).await;
        assert!(matches!(refused, Err(ApplyError::Names(_))), "{refused:?}");
        let elsewhere = ground.path().join("elsewhere");
        let error = Tree::builder(twice).state_dir(elsewhere).start().await.expect_err("it does not start");
        assert_eq!(error.kind(), TreeErrorKind::Names);
        assert!(error.to_string().contains(&format!("{:?}", child.name.as_str())), "{error}");
    }
    let mut twice = file.clone();
    twice.root.children.extend(ground.spec(&child("member")).root.children);
    let error = Tree::builder(twice).state_dir(ground.path().join("elsewhere")).start().await;
    let error = error.expect_err("a session's name is unique in the whole tree").to_string();
    assert!(error.contains("\"team/member\"") && error.contains("\"member\""), "{error}");
    assert_eq!(paths(&tree).await, ["team", "team/member", "alice", "chat"]);
    tree.stop().await;
    Tree::builder(file)
        .state_dir(ground.path().join("elsewhere"))
        .start()
        .await
        .expect("it is free")
        .stop()
        .await;
}

#[tokio::test]
async fn the_last_event_of_a_session_that_is_removed_says_so_and_why() {
    let ground = Ground::new();
    let tree = ground.start(&template("chat", "")).await;
    let events = |name: &str| {
        let mut reader = tree.events().kept();
        let all = std::iter::from_fn(|| reader.try_next()).map(|event| event.expect("nothing is missed"));
        all.filter(|event| event.name.as_ref().is_some_and(|of| of.as_str() == name)).collect::<Vec<_>>()
    };
    for name in ["asked", "unused", "idle", "stopped"] {
        tree.new_session("chat", name).await.expect("it is made");
    }
    tree.session("asked").query("hello").await.expect("answered");
    tree.session("stopped").stop().await.expect("it stops");
    assert!(!events("stopped").iter().any(|event| matches!(event.what, Happening::SessionRemoved { .. })));
    for name in ["asked", "unused", "stopped"] {
        tree.remove_session(name).await.expect("it is removed");
    }
    ground.apply(&tree, &template("chat", "remove_idle = \"1s\"")).await;
    let last = async |name| {
        let is_removed = || {
            let last = events(name).pop()?;
            matches!(last.what, Happening::SessionRemoved { .. }).then_some(last)
        };
        eventually("its last event says that it is removed", async || is_removed()).await
    };
    let expected = [
        ("asked", RemovalReason::Asked, "asked"),
        ("unused", RemovalReason::Asked, "asked"),
        ("stopped", RemovalReason::Asked, "asked"),
        ("idle", RemovalReason::Idle, "idle"),
    ];
    for (name, reason, word) in expected {
        let event = last(name).await;
        assert!(matches!(event.what, Happening::SessionRemoved { why } if why == reason), "{event:?}");
        let json = serde_json::to_value(&*event).expect("it can be written");
        let told = [&json["event"], &json["name"], &json["path"], &json["why"]];
        assert_eq!(told, ["session_removed", name, &format!("chat/{name}"), word]);
        let all = events(name);
        let before = all.iter().rev().find_map(|event| match event.what {
            Happening::State { state, .. } => Some(state),
            _ => None,
        });
        assert_eq!(before, Some(SessionState::Stopped), "what it ended as is told as of any session");
        let error = tree.session(name).query("hello").await.expect_err("it is gone");
        assert_eq!(error.kind(), QueryErrorKind::NoSuchSession, "{error}");
    }
    tree.stop().await;
}
