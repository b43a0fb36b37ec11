//! `give_up = "park"`: whoever waits for a session that crashes too often gets its outcome at once.

use treewarden::session::{FailureKind, QueryErrorKind, SessionState};
use treewarden::supervisor::{GiveUp, Supervisor};
use treewarden::{ExitReason, SessionOptions};
use treewarden_end_to_end::{Lab, eventually};

/// A session whose CLI comes up, and dies whenever it is asked.
fn hopeless(lab: &Lab, name: &str) -> SessionOptions {
    lab.scripted(name, r#"{ "prompts": [{ "contains": "hello", "do": "CRASH=read" }] }"#)
}

async fn park(lab: &Lab, max_restarts: u32) -> Supervisor {
    let spec = hopeless(lab, "weak").child_spec(&lab.host).expect("valid");
    let strong = lab.options("strong").child_spec(&lab.host).expect("valid");
    let builder = Supervisor::builder().give_up(GiveUp::Park).max_restarts(max_restarts).max_seconds(60);
    builder.children([spec, strong]).start().await.expect("started")
}

#[tokio::test]
async fn every_turn_of_a_parked_session_fails_as_given_up_at_once() {
    let lab = Lab::new();
    let supervisor = park(&lab, 1).await;
    let weak = lab.host.session("weak").expect("it is there");
    let mut turns = Vec::new();
    for _ in 0..3 {
        turns.push(weak.stream("hello").await.expect("opened"));
    }
    let clear = tokio::spawn({
        let weak = weak.clone();
        async move { weak.clear().await }
    });
    for turn in turns {
        let error = turn.answer().await.expect_err("it is given up");
        assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::GivenUp), "{error}");
        let report =
            lab.host.turn(error.turn().expect("it was opened")).await.expect("readable").expect("known");
        assert_eq!(report.outcome.expect("it is settled")["failure"], "given_up");
    }
    assert!(clear.await.expect("it ends").is_err(), "a clear does not wait for ever either");
    let status = weak.status().await.expect("it is there");
    assert_eq!((status.state, status.queued, status.pid), (SessionState::GivenUp, 0, None));
    assert!(status.reason.as_deref().is_some_and(|reason| reason.contains("exit")), "{status:?}");
    assert!(!weak.is_alive().await);
    let refused = weak.query("hello").await.expect_err("it is given up");
    assert_eq!((refused.kind(), refused.turn()), (QueryErrorKind::Failed(FailureKind::GivenUp), None));
    lab.host.session("strong").expect("it is there").query("hello").await.expect("its sibling lives on");
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn the_name_of_a_parked_session_is_still_its_own() {
    let lab = Lab::new();
    let supervisor = park(&lab, 0).await;
    lab.host.session("weak").expect("it is there").query("hello").await.expect_err("it is given up");
    assert!(treewarden::Session::start(lab.options("weak")).await.is_err());
    supervisor.stop(ExitReason::Shutdown).await;
    assert!(lab.host.session("weak").is_none());
}

#[tokio::test]
async fn the_sessions_below_a_parked_supervisor_are_given_up_with_it() {
    let lab = Lab::new();
    let below = Supervisor::builder()
        .max_restarts(0)
        .child(hopeless(&lab, "weak").child_spec(&lab.host).expect("valid"))
        .child(lab.options("strong").child_spec(&lab.host).expect("valid"));
    let supervisor = Supervisor::builder()
        .give_up(GiveUp::Park)
        .max_restarts(1)
        .child(below.into_child("team"))
        .start()
        .await
        .expect("started");
    let error = lab.host.session("weak").expect("there").query("hello").await.expect_err("it is given up");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::GivenUp), "{error}");
    let strong = lab.host.session("strong").expect("it is there");
    eventually("its sibling is given up as well", async || (!strong.is_alive().await).then_some(())).await;
    let error = strong.query("hello").await.expect_err("nobody serves it");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::GivenUp), "{error}");
    supervisor.restart_child("team").await.expect("it starts again");
    strong.query("hello").await.expect("it is served again");
    supervisor.stop(ExitReason::Shutdown).await;
}

#[tokio::test]
async fn a_session_that_waits_for_its_restart_when_the_tree_stops_is_not_given_up() {
    let lab = Lab::new();
    let backoff = treewarden::supervisor::Backoff::new(
        std::time::Duration::from_secs(600),
        std::time::Duration::from_secs(600),
    );
    let options = hopeless(&lab, "weak").backoff(backoff);
    let supervisor = Supervisor::builder()
        .max_restarts(10)
        .child(options.child_spec(&lab.host).expect("valid"))
        .start()
        .await
        .expect("started");
    let weak = lab.host.session("weak").expect("it is there");
    let turn = weak.stream("hello").await.expect("opened");
    let id = turn.id();
    let waits = async || {
        let status = weak.status().await.ok()?;
        (status.restarts == 1 && status.state == SessionState::Restarting).then_some(())
    };
    eventually("it waits for its second restart", waits).await;
    supervisor.stop(ExitReason::Shutdown).await;
    let error = turn.answer().await.expect_err("the tree is gone");
    assert_eq!(error.kind(), QueryErrorKind::Stopped, "{error}");
    let report = lab.host.turn(id).await.expect("readable").expect("known");
    assert!(report.outcome.is_none(), "the next host carries it on");
}
