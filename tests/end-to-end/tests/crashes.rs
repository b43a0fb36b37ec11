//! The CLI dies at each point of a turn: the caller gets one answer, and the prompt stands in the conversation once.

use std::time::Duration;

use treewarden::session::{Delivery, FailureKind, QueryErrorKind, SessionState};
use treewarden::{Session, SessionOptions};
use treewarden_end_to_end::{Lab, end, eventually, id_of, outcome_of};

/// One turn whose first CLI dies as `faults` say: asks, checks, and goes on with another turn.
///
/// A death of a CLI that was up is a restart; one before that is another start, and no restart.
async fn dies(lab: &Lab, options: SessionOptions, faults: &str, (interruptions, restarts): (u32, u64)) {
    let session = Session::start(options).await.expect("started");
    let answer = session.query(format!("PROMPT-1 {faults}")).await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!(answer.interruptions, interruptions);
    eventually("the crash is counted", async || {
        (session.status().await.ok()?.restarts == restarts).then_some(())
    })
    .await;
    let answer = session.query("PROMPT-2").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    let id = id_of(&session).await;
    assert_eq!(lab.times_in_transcript(&id, "PROMPT-1"), 1);
    assert_eq!(lab.times_in_transcript(&id, "PROMPT-2"), 1);
    let status = session.status().await.expect("status");
    assert_eq!((status.restarts, status.turns, status.generation), (restarts, 2, 2), "{status:?}");
    end(&session).await;
}

async fn dies_in_turn(point: &str) {
    let lab = Lab::new();
    dies(&lab, lab.options("assistant"), &format!("CRASH={point} ONCE=1"), (1, 1)).await;
}

async fn dies_at_start(point: &str) {
    let lab = Lab::new();
    let script = format!(r#"{{ "start": "CRASH={point} ONCE=1" }}"#);
    dies(&lab, lab.scripted("assistant", &script), "", (0, 0)).await;
}

#[tokio::test]
async fn a_cli_that_dies_at_its_spawn_costs_a_start_and_no_turn() {
    dies_at_start("spawn").await;
}

#[tokio::test]
async fn a_cli_that_dies_while_it_initializes_costs_a_start_and_no_turn() {
    dies_at_start("initialize").await;
}

#[tokio::test]
async fn a_cli_that_refuses_to_start_does_not_take_the_conversation_along() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    let id = id_of(&session).await;
    session.stop().await.expect("stopped");
    let script = r#"{ "start": "REFUSE=temp_dir_unusable ONCE=1" }"#;
    let session = Session::start(lab.scripted("assistant", script)).await.expect("started");
    let refused = session.query("PROMPT-2").await.expect_err("it is refused");
    assert!(refused.to_string().contains("temp_dir_unusable"), "{refused}");
    assert_eq!(id_of(&session).await, id);
    let answer = session.query("PROMPT-3").await.expect("the cause is mended");
    assert_eq!((answer.session_id.to_string(), id_of(&session).await), (id.clone(), id.clone()));
    assert_eq!(lab.context(&id), ["PROMPT-1", "PROMPT-3"]);
    end(&session).await;
}

#[tokio::test]
async fn a_turn_outlives_a_cli_that_dies_when_it_has_read_the_prompt() {
    dies_in_turn("read").await;
}

#[tokio::test]
async fn a_turn_outlives_a_cli_that_dies_before_its_first_delta() {
    dies_in_turn("delta:0").await;
}

#[tokio::test]
async fn a_turn_outlives_a_cli_that_dies_between_two_deltas() {
    dies_in_turn("delta:2").await;
}

#[tokio::test]
async fn an_answer_that_was_stored_and_not_printed_is_read_from_the_transcript() {
    dies_in_turn("result").await;
}

#[tokio::test]
async fn an_answer_that_was_printed_in_half_is_read_from_the_transcript() {
    dies_in_turn("half_result").await;
}

#[tokio::test]
async fn a_cli_that_dies_after_the_result_takes_no_answer_back() {
    let lab = Lab::new();
    dies(&lab, lab.options("assistant"), "CRASH=after_result ONCE=1", (0, 1)).await;
}

#[tokio::test]
async fn a_turn_outlives_two_clis() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let answer = session.query("PROMPT-1 CRASH=delta:1 EXIT=kill ONCE=2").await.expect("answered");
    // The second CLI carries the turn on by itself, and may die before the host could give it the turn.
    assert!((1..=2).contains(&answer.interruptions), "{answer:?}");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!(lab.times_in_transcript(&id_of(&session).await, "PROMPT-1"), 1);
    assert_eq!(session.status().await.expect("status").restarts, 2);
    end(&session).await;
}

#[tokio::test]
async fn a_turn_that_must_not_run_twice_fails_with_its_cli() {
    let lab = Lab::new();
    let options = lab.options("assistant").delivery(Delivery::AtMostOnce);
    let session = Session::start(options).await.expect("started");
    let error = session.query("PROMPT-1 CRASH=delta:1 ONCE=1").await.expect_err("it must not run twice");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::Crashed));
    assert!(error.is_retryable());
    let answer = session.query("PROMPT-2").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    assert_eq!(lab.times_in_transcript(&id_of(&session).await, "PROMPT-1"), 1);
    end(&session).await;
}

#[tokio::test]
async fn a_session_that_crashes_too_often_is_given_up_and_its_turn_fails() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let error = session.query("PROMPT-1 CRASH=delta:1 EXIT=9").await.expect_err("it never gets through");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::GivenUp), "{error}");
    assert!(error.to_string().contains("exit 9"), "the last exit is named: {error}");
    let turn = error.turn().expect("the turn was opened");
    let stored = outcome_of(&lab.host, turn).await;
    assert_eq!(stored["failure"], "given_up", "{stored}");
    eventually("the session is gone", async || (!session.is_alive().await).then_some(())).await;
    let error = session.query("PROMPT-2").await.expect_err("nobody serves it");
    assert_eq!(error.kind(), QueryErrorKind::NoSuchSession);
    let status = session.status().await.expect("a handle still tells what became of it");
    assert_eq!((status.state, status.restarts), (SessionState::Stopped, 3));
    treewarden_end_to_end::nothing_left(&id_of(&session).await).await;
}

#[tokio::test]
async fn a_turn_that_kills_every_cli_fails_and_the_session_lives_on() {
    let lab = Lab::new();
    let options = lab.options("assistant").max_attempts(2).max_restarts(10);
    let session = Session::start(options).await.expect("started");
    let error = session.query("PROMPT-1 CRASH=delta:1").await.expect_err("it kills every CLI");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::Crashed));
    let answer = session.query("PROMPT-2").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    // A CLI that carries the turn on and dies before the host could give it the turn is no attempt.
    let restarts = session.status().await.expect("status").restarts;
    assert!((2..=10).contains(&restarts), "{restarts}");
    end(&session).await;
}

#[tokio::test]
async fn a_cli_that_is_killed_for_memory_is_told_apart_and_the_turn_is_answered() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let answer = session.query("PROMPT-1 CRASH=delta:1 EXIT=137 ONCE=1").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    let last = session.status().await.expect("status").last_exit.expect("a CLI ended");
    assert!(last.contains("out of memory"), "{last}");
    end(&session).await;
}

const WEAK: &str = r#"{ "lifecycle": false, "version": "2.1.197" }"#;

#[tokio::test]
async fn a_cli_that_names_no_prompts_answers_and_the_status_says_so() {
    let lab = Lab::new();
    let session = Session::start(lab.scripted("assistant", WEAK)).await.expect("started");
    let answer = session.query("PROMPT-1").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!(session.status().await.expect("status").attributed, Some(false));
    end(&session).await;
}

#[tokio::test]
async fn a_cli_that_names_no_prompts_and_dies_mid_turn_is_answered_from_the_transcript() {
    for point in ["delta:1", "result", "half_result"] {
        let lab = Lab::new();
        let session = Session::start(lab.scripted("assistant", WEAK)).await.expect("started");
        let asked = format!("PROMPT-1 CRASH={point} ONCE=1");
        let answer = session.query(asked).await.unwrap_or_else(|error| panic!("{point}: {error}"));
        assert!(answer.text.contains("answer to PROMPT-1"), "{point}: {answer}");
        let answer = session.query("PROMPT-2").await.expect("answered");
        assert!(answer.text.contains("answer to PROMPT-2"), "{point}: {answer}");
        assert_eq!(lab.times_in_transcript(&id_of(&session).await, "PROMPT-1"), 1, "{point}");
        end(&session).await;
    }
}

#[test]
fn a_first_turn_that_waits_for_a_place_outlives_its_host() {
    let lab = Lab::new();
    let state = lab.path().join("crowded");
    let open = || treewarden::Host::options().state_dir(&state).max_live(1).open().expect("a host");
    let first = tokio::runtime::Runtime::new().expect("a runtime");
    let turn = first.block_on(async {
        let host = open();
        let start = |name| Session::start(SessionOptions::from(lab.spec(name)).host(&host));
        let (busy, waiting) =
            (start("busy").await.expect("started"), start("waiting").await.expect("started"));
        let turn = busy.stream("PROMPT-1 DELAY=600000").await.expect("opened");
        eventually("it has the place", async || busy.status().await.ok()?.pid).await;
        let _kept = turn.detach();
        waiting.stream("My name is Alice").await.expect("opened").detach()
    });
    // Nothing is stopped: every task of the host is dropped where it stands.
    first.shutdown_timeout(Duration::from_secs(10));
    let second = tokio::runtime::Runtime::new().expect("a runtime");
    second.block_on(async {
        let host = open();
        let options = SessionOptions::from(lab.spec("waiting")).host(&host);
        let session = Session::start(options).await.expect("started again");
        let outcome = outcome_of(&host, turn).await;
        assert_eq!(outcome["outcome"], "completed", "{outcome}");
        assert_eq!(lab.prompts(&id_of(&session).await), ["My name is Alice"]);
        end(&session).await;
    });
}

#[test]
fn a_turn_outlives_its_host_and_its_outcome_can_be_fetched_by_its_id() {
    let lab = Lab::new();
    let first = tokio::runtime::Runtime::new().expect("a runtime");
    let (turn, id) = first.block_on(async {
        let session = Session::start(lab.options("assistant")).await.expect("started");
        session.query("My name is Alice").await.expect("answered");
        let mut turn = session.stream("my name? STREAM=200:20").await.expect("opened");
        assert!(turn.next().await.is_some());
        let turn = turn.detach();
        (turn, id_of(&session).await)
    });
    // Nothing is stopped: every task of the host is dropped where it stands.
    first.shutdown_timeout(Duration::from_secs(10));
    let lab = lab.reopen();
    let second = tokio::runtime::Runtime::new().expect("a runtime");
    second.block_on(async {
        let session = Session::start(lab.options("assistant")).await.expect("started again");
        let outcome = outcome_of(&lab.host, turn).await;
        assert_eq!(outcome["outcome"], "completed", "{outcome}");
        assert!(outcome["text"].as_str().is_some_and(|text| text.contains("Alice")), "{outcome}");
        assert_eq!(id_of(&session).await, id);
        assert_eq!(lab.times_in_transcript(&id, "my name?"), 1);
        end(&session).await;
    });
}
