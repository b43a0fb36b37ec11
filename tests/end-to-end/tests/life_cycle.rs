//! The rows of the life-cycle table of `docs/sessions.md`, each a test with that row's name.

use std::time::Duration;

use treewarden::Session;
use treewarden::events::Happening;
use treewarden::session::SessionState;
use treewarden_end_to_end::{Lab, assert_nothing_left, eventually};
use treewarden_testkit::faults;

#[tokio::test]
async fn start_creates_the_actor_and_no_cli() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    assert!(session.is_alive().await);
    let status = session.status().await.expect("status");
    assert_eq!((status.state, status.pid, status.generation), (SessionState::Parked, None, 0));
    session.stop().await.expect("stopped");
}

#[tokio::test]
async fn first_query_starts_the_cli() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let answer = session.query("PROMPT-1").await.expect("answered");
    assert!(answer.text.contains("PROMPT-1"), "{answer}");
    let status = session.status().await.expect("status");
    assert_eq!((status.state, status.generation), (SessionState::Ready, 1));
    assert!(status.pid.is_some());
    session.stop().await.expect("stopped");
}

#[tokio::test]
async fn the_feed_tells_of_a_cli_as_soon_as_it_is_spawned() {
    let lab = Lab::new();
    let mut feed = lab.host.events().now();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    let pid = session.status().await.expect("status").pid;
    let mut states = Vec::new();
    while let Some(Ok(event)) = feed.try_next() {
        if let Happening::State { state, pid } = event.what {
            states.push((state, pid));
        }
    }
    let known = states.iter().find(|(_, pid)| pid.is_some());
    assert_eq!(known, Some(&(SessionState::Starting, pid)), "{states:?}");
    session.stop().await.expect("stopped");
}

#[tokio::test]
async fn later_queries_use_the_same_cli() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("My name is Alice").await.expect("answered");
    let first = session.status().await.expect("status").pid;
    let answer = session.query("What's my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_eq!(session.status().await.expect("status").pid, first);
    session.stop().await.expect("stopped");
}

#[tokio::test]
async fn stop_ends_the_actor_and_the_cli() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    let id = session.id().await.expect("id").expect("a CLI was started").to_string();
    session.stop().await.expect("stopped");
    assert!(!session.is_alive().await);
    assert_nothing_left(&id);
    assert!(session.query("PROMPT-2").await.is_err());
}

#[tokio::test]
async fn process_crash_ends_the_actor_and_the_conversation_goes_on() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("My name is Alice").await.expect("answered");
    let pid = session.status().await.expect("status").pid.expect("a CLI lives");
    faults::kill(pid).expect("killed");
    eventually("the crash is seen", async || (session.status().await.ok()?.restarts == 1).then_some(()))
        .await;
    let answer = session.query("What's my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    let status = session.status().await.expect("status");
    assert_eq!(status.generation, 2);
    session.stop().await.expect("stopped");
}

#[tokio::test]
async fn idle_for_idle_timeout_parks_the_cli_and_the_next_query_resumes() {
    let lab = Lab::new();
    let options = lab.options("assistant").idle_timeout(Duration::from_millis(50));
    let session = Session::start(options).await.expect("started");
    session.query("My name is Alice").await.expect("answered");
    let id = session.id().await.expect("id");
    eventually("the session parks", async || {
        (session.status().await.ok()?.state == SessionState::Parked).then_some(())
    })
    .await;
    assert_nothing_left(&id.expect("a CLI was started").to_string());
    let answer = session.query("What's my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_eq!(session.id().await.expect("id"), id);
    session.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_restart_that_several_ask_for_at_once_is_made_and_fails_for_none_of_them() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("My name is Alice").await.expect("answered");
    let first = session.status().await.expect("status").pid;
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.restart().await })
        })
        .collect();
    for asked in asking {
        asked.await.expect("it ends").expect("restarted");
    }
    let answer = session.query("What's my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_ne!(session.status().await.expect("status").pid, first);
    session.stop().await.expect("stopped");
}
