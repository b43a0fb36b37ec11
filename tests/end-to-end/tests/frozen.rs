//! A CLI that gives no sign of life is asked for one, killed if it gives none, and the turn is carried on.

use std::time::Duration;

use treewarden::Session;
use treewarden::session::SessionState;
use treewarden_end_to_end::{Lab, end, id_of, reaches};
use treewarden_testkit::faults;

const MS: fn(u64) -> Duration = Duration::from_millis;

#[tokio::test]
async fn a_cli_that_freezes_is_killed_and_the_turn_is_answered() {
    let lab = Lab::new();
    let options = lab.options("assistant").silence_timeout(MS(200)).probe_timeout(MS(300));
    let session = Session::start(options).await.expect("started");
    let answer = session.query("PROMPT-1 FREEZE ONCE=1").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!(answer.interruptions, 1);
    let status = session.status().await.expect("status");
    assert_eq!((status.restarts, status.generation), (1, 2));
    assert_eq!(lab.times_in_transcript(&id_of(&session).await, "PROMPT-1"), 1);
    end(&session).await;
}

#[tokio::test]
async fn a_cli_that_is_frozen_from_outside_is_killed_and_the_turn_is_answered() {
    let lab = Lab::new();
    let options = lab.options("assistant").silence_timeout(MS(200)).probe_timeout(MS(300));
    let session = Session::start(options).await.expect("started");
    let turn = session.stream("PROMPT-1 STREAM=20:50").await.expect("opened");
    reaches(&session, SessionState::Busy).await;
    faults::freeze(session.status().await.expect("status").pid.expect("a CLI lives")).expect("frozen");
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!(session.status().await.expect("status").restarts, 1);
    end(&session).await;
}

#[tokio::test]
async fn a_turn_that_keeps_printing_is_not_taken_for_frozen() {
    let lab = Lab::new();
    let options = lab.streaming("assistant").silence_timeout(MS(600)).probe_timeout(MS(1));
    let session = Session::start(options).await.expect("started");
    let answer = session.query("PROMPT-1 STREAM=30:50").await.expect("answered");
    assert_eq!(answer.interruptions, 0);
    assert_eq!(session.status().await.expect("status").restarts, 0);
    end(&session).await;
}

#[tokio::test]
async fn a_slow_silent_tool_is_not_taken_for_frozen_since_the_cli_answers_the_probe() {
    let lab = Lab::new();
    let options = lab.options("assistant").silence_timeout(MS(100)).probe_timeout(Duration::from_secs(10));
    let session = Session::start(options).await.expect("started");
    let answer = session.query("PROMPT-1 TOOL=1500").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!(session.status().await.expect("status").restarts, 0);
    end(&session).await;
}

#[tokio::test]
async fn a_cli_that_does_not_come_up_in_time_is_killed_and_started_again() {
    let lab = Lab::new();
    let options = lab.scripted("assistant", r#"{ "start": "HANG ONCE=1" }"#).start_timeout(MS(1500));
    let session = Session::start(options).await.expect("started");
    let answer = session.query("PROMPT-1").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    let status = session.status().await.expect("status");
    assert_eq!(status.restarts, 0, "a start that fails is nobody's crash");
    let last = status.last_exit.expect("it is shown");
    assert!(last.contains("no answer to initialize in time"), "{last}");
    end(&session).await;
}
