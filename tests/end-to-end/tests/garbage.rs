//! A CLI that prints what it should not, or too much of it: typed outcomes, bounded memory, nothing left running.

use std::time::{Duration, Instant};

use treewarden::Session;
use treewarden::events::Happening;
use treewarden::session::{Event, FailureKind, Outcome, QueryErrorKind};
use treewarden_end_to_end::{Lab, assert_nothing_left, end, eventually, id_of};

async fn answers(session: &Session, prompt: &str) {
    let answer = session.query(prompt).await.expect("answered");
    assert!(answer.text.contains(&format!("answer to {prompt}")), "{answer}");
}

#[tokio::test]
async fn lines_that_are_no_frames_are_skipped_counted_and_told() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let mut feed = lab.host.events().now();
    answers(&session, "PROMPT-1 GARBAGE=5").await;
    let status = session.status().await.expect("status");
    assert_eq!((status.skipped_lines, status.restarts), (5, 0));
    let mut told = 0;
    while let Some(Ok(event)) = feed.try_next() {
        told += u32::from(matches!(event.what, Happening::Garbage { .. }));
    }
    assert_eq!(told, 5);
    answers(&session, "PROMPT-2").await;
    end(&session).await;
}

#[tokio::test]
async fn frames_of_unknown_types_are_counted_and_delivered() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let mut feed = lab.host.events().now();
    answers(&session, "PROMPT-1 UNKNOWN").await;
    let mut raw = Vec::new();
    while let Some(Ok(event)) = feed.try_next() {
        if let Happening::Unsolicited { frame: Some(frame), .. } = &event.what {
            raw.push(String::from_utf8_lossy(frame.raw()).into_owned());
        }
    }
    raw.retain(|line| line.contains("from_the_future"));
    // They name no turn, so the feed has them, as they came.
    assert_eq!(raw.len(), 2, "{raw:?}");
    assert!(raw[1].contains("[1,2,3]"), "{raw:?}");
    let status = session.status().await.expect("status");
    assert_eq!((status.unknown_frames, status.skipped_lines, status.restarts), (2, 0, 0));
    end(&session).await;
}

#[tokio::test]
async fn a_line_that_comes_in_two_writes_is_one_frame() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    answers(&session, "PROMPT-1 PARTIAL").await;
    assert_eq!(session.status().await.expect("status").skipped_lines, 0);
    end(&session).await;
}

#[tokio::test]
async fn a_torn_last_line_is_counted_and_the_turn_is_answered() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    answers(&session, "PROMPT-1 CRASH=half_result ONCE=1").await;
    assert_eq!(session.status().await.expect("status").skipped_lines, 1);
    end(&session).await;
}

#[tokio::test]
async fn a_result_with_hardly_any_fields_is_an_answer_all_the_same() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    answers(&session, "PROMPT-1 MISSING").await;
    answers(&session, "PROMPT-2").await;
    assert_eq!(session.status().await.expect("status").restarts, 0);
    end(&session).await;
}

#[tokio::test]
async fn an_api_error_is_a_typed_failure() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant").api_retries(0)).await.expect("started");
    let turn = session.stream("PROMPT-1 STATUS=529").await.expect("opened");
    let Outcome::Failed(failure) = turn.outcome().await.expect("settled") else { panic!("it failed") };
    assert_eq!(failure.kind, FailureKind::Api);
    assert!(failure.result.is_some());
    answers(&session, "PROMPT-2").await;
    end(&session).await;
}

#[tokio::test]
async fn a_cli_that_ignores_eof_and_sigterm_is_gone_after_a_stop() {
    let lab = Lab::new();
    let script = r#"{ "start": "IGNORE_EOF IGNORE_TERM" }"#;
    let session = Session::start(lab.scripted("assistant", script)).await.expect("started");
    answers(&session, "PROMPT-1 CHILD").await;
    end(&session).await;
}

#[tokio::test]
async fn a_cli_that_hears_nothing_and_ignores_sigterm_is_gone_after_a_stop() {
    let lab = Lab::new();
    let options = lab.options("assistant").drain_timeout(Duration::from_millis(300));
    let session = Session::start(options).await.expect("started");
    let turn = session.stream("PROMPT-1 IGNORE_EOF IGNORE_TERM CHILD HANG").await.expect("opened");
    eventually("the prompt is read", async || {
        let id = session.status().await.ok()?.session_id?.to_string();
        (lab.times_in_transcript(&id, "PROMPT-1") == 1).then_some(())
    })
    .await;
    let (id, began) = (id_of(&session).await, Instant::now());
    session.stop().await.expect("stopped");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_nothing_left(&id);
    let error = turn.answer().await.expect_err("interrupted with the session");
    assert_eq!(error.kind(), QueryErrorKind::Interrupted);
}

#[tokio::test]
async fn a_consumer_that_does_not_read_stops_the_cli_and_loses_nothing() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let mut turn = session.stream("PROMPT-1 N=40000").await.expect("opened");
    let first = turn.next().await;
    let is_delta = matches!(first, Some(Event::Frame(frame)) if frame.text_delta().is_some());
    let mut deltas = u32::from(is_delta);
    while let Some(text) = turn.text_deltas().next().await {
        deltas += u32::from(text == "The quick brown fox ");
    }
    assert_eq!(deltas, 40_000);
    end(&session).await;
}

#[tokio::test]
async fn a_consumer_that_does_not_read_keeps_nobody_from_interrupting_or_stopping() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let mut turn = session.stream("PROMPT-1 N=100000000").await.expect("opened");
    assert!(turn.next().await.is_some());
    let (id, began) = (id_of(&session).await, Instant::now());
    session.stop().await.expect("stopped");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_nothing_left(&id);
    let mut last = None;
    while let Some(event) = turn.next().await {
        last = Some(event);
    }
    assert!(matches!(last, Some(Event::Outcome(Outcome::Interrupted))), "{last:?}");
}
