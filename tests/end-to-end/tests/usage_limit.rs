//! A usage limit suspends the session: it costs no restart, and what waits runs when the limit is lifted.

use std::time::{Duration, SystemTime};

use treewarden::Session;
use treewarden::session::{FailureKind, QueryErrorKind, SessionState};
use treewarden_end_to_end::{Lab, end, reaches};
use treewarden_testkit::faults;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[tokio::test]
async fn a_turn_that_hits_the_limit_fails_and_the_next_runs_when_it_is_lifted() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let limited = session.stream("PROMPT-1 LIMIT=3").await.expect("opened");
    let waiting = session.stream("PROMPT-2").await.expect("opened");
    let error = limited.answer().await.expect_err("limited");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::UsageLimit));
    assert!(error.is_retryable());
    reaches(&session, SessionState::Suspended).await;
    let until =
        session.status().await.expect("status").suspended_until.expect("the end of the limit is shown");
    assert!(until <= now() + 4, "{until}");
    let answer = waiting.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    assert!(now() + 1 >= until, "it began before the limit was lifted");
    let status = session.status().await.expect("status");
    assert_eq!((status.restarts, status.suspended_until), (0, None));
    end(&session).await;
}

#[tokio::test]
async fn a_suspended_session_that_loses_its_cli_stays_suspended() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let limited = session.query("PROMPT-1 LIMIT=3").await;
    limited.expect_err("limited");
    reaches(&session, SessionState::Suspended).await;
    let status = session.status().await.expect("status");
    let until = status.suspended_until.expect("the end of the limit is shown");
    faults::kill(status.pid.expect("a CLI lives")).expect("killed");
    let answer = session.query("PROMPT-2").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    assert!(now() + 1 >= until, "it began before the limit was lifted");
    end(&session).await;
}

#[tokio::test]
async fn a_suspended_session_can_be_stopped() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-1 LIMIT=3600").await.expect_err("limited");
    let waiting = session.stream("PROMPT-2").await.expect("opened");
    reaches(&session, SessionState::Suspended).await;
    tokio::time::timeout(Duration::from_secs(10), end(&session)).await.expect("stopped in time");
    let error = waiting.answer().await.expect_err("cancelled with the session");
    assert_eq!(error.kind(), QueryErrorKind::Cancelled);
}
