//! The stream of events from outside: sessions and supervisors in one order, and readers that come back.

use std::sync::Arc;

use treewarden::events::{Happening, HostEvent, Reader, SupervisionContext};
use treewarden::session::SessionState;
use treewarden::tree::Tree;
use treewarden::{Session, config};
use treewarden_end_to_end::{Lab, end, eventually, fake_cli_path, reaches};
use treewarden_testkit::faults;

const TREE: &str = r#"
[[child]]
name = "bob"

[[child]]
name = "team"
type = "supervisor"

[[child.child]]
name = "alice"
"#;

/// A tree on the fake CLI, with a session below the root and one below a supervisor.
async fn tree(lab: &Lab) -> Tree {
    let (cli, home) = (fake_cli_path(), lab.path().join("claude"));
    let text = format!(
        "[defaults]\ncli_path = {cli:?}\ncwd = {:?}\nenv = {{ CLAUDE_CONFIG_DIR = {home:?} }}\n{TREE}",
        lab.path()
    );
    let spec =
        config::parse(&text, &lab.path().join("treewarden.toml")).unwrap_or_else(|error| panic!("{error}"));
    Tree::builder(spec).state_dir(lab.path().join("tree")).start().await.expect("the tree starts")
}

/// All that there is for the reader, none of it missing.
fn all(reader: &mut Reader) -> Vec<Arc<HostEvent>> {
    std::iter::from_fn(|| reader.try_next()).map(|event| event.expect("nothing is missed")).collect()
}

/// The event as one word, with its path; none where its order is not what the test is about.
fn word(event: &HostEvent) -> Option<String> {
    let what = match &event.what {
        Happening::TurnOpened { .. } => "opened".to_owned(),
        Happening::TurnSettled { outcome, .. } => (*outcome).to_owned(),
        Happening::Exited { .. } => "exited".to_owned(),
        Happening::Supervision { context, child: Some(child), .. } => format!("{} {child}", context.as_str()),
        _ => return None,
    };
    Some(format!("{}: {what}", event.path))
}

#[tokio::test]
async fn supervisors_and_sessions_are_told_of_in_one_order_each_with_its_path() {
    let lab = Lab::new();
    let tree = tree(&lab).await;
    let alice = tree.session("alice");
    alice.query("My name is Alice").await.expect("answered");
    faults::kill(alice.status().await.expect("status").pid.expect("a CLI lives")).expect("killed");
    eventually("it is started again", async || (alice.status().await.ok()?.restarts == 1).then_some(()))
        .await;
    tree.session("bob").query("PROMPT-1").await.expect("answered");
    let mut reader = tree.events().kept();
    let events = all(&mut reader);

    let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>(), "from the first, without a hole");
    assert!(events.iter().all(|event| event.boot == tree.events().latest().boot));
    let words: Vec<String> = events.iter().filter_map(|event| word(event)).collect();
    let expected = [
        ": progress bob",
        "team: progress alice",
        ": progress team",
        "team/alice: opened",
        "team/alice: completed",
        "team/alice: exited",
        "team: child_terminated alice",
        "team: progress alice",
        "bob: opened",
        "bob: completed",
    ];
    assert_eq!(words, expected);
    for event in &events {
        let is_of_a_session = !matches!(event.what, Happening::Supervision { .. });
        assert_eq!(event.name.is_some(), is_of_a_session, "{event:?}");
    }
    let why = events.iter().find_map(|event| match &event.what {
        Happening::Supervision { context: SupervisionContext::ChildTerminated, reason, .. } => reason.clone(),
        _ => None,
    });
    assert!(why.is_some_and(|why| why.contains("session alice ended")), "the reason is told in words");
    tree.stop().await;
}

#[tokio::test]
async fn a_reader_that_comes_back_gets_what_followed_once_and_no_more() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let mut reader = lab.host.events().now();
    session.query("PROMPT-1").await.expect("answered");
    let before = all(&mut reader);
    let position = before.last().expect("something happened").position();
    assert_eq!(position, reader.position());
    drop(reader);
    session.query("PROMPT-2").await.expect("answered");
    let after = all(&mut lab.host.events().since(position));
    assert_eq!(after.first().map(|event| event.seq), Some(position.seq + 1));
    let settled = after.iter().filter(|event| matches!(event.what, Happening::TurnSettled { .. }));
    assert_eq!(settled.count(), 1);
    assert!(after.iter().all(|event| &*event.path == "assistant"), "outside a tree its path is its name");
    end(&session).await;
}

#[tokio::test]
async fn a_reader_of_an_earlier_host_is_told_so_and_gets_what_is_kept() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    end(&session).await;
    let position = lab.host.events().latest();
    drop(session);
    let lab = lab.reopen();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-2").await.expect("answered");
    reaches(&session, SessionState::Ready).await;
    let mut reader = lab.host.events().since(position);
    let gap = reader.try_next().expect("there is something").expect_err("nobody knows what was missed");
    assert_eq!((gap.missed, gap.boot), (None, lab.host.events().latest().boot));
    assert_ne!(gap.boot, position.boot);
    let events = all(&mut reader);
    assert_eq!(events.first().map(|event| event.seq), Some(1));
    assert!(events.iter().any(|event| matches!(event.what, Happening::TurnSettled { .. })));
    end(&session).await;
}

#[tokio::test]
async fn the_events_end_with_the_last_handle_of_their_host() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let events = lab.host.events();
    let mut reader = events.now();
    session.stop().await.expect("stopped");
    drop((session, lab));
    let ended = async { while reader.next().await.is_some() {} };
    tokio::time::timeout(treewarden_end_to_end::PATIENCE, ended).await.expect("it comes to an end");
}
