//! A usage limit is the account's: it costs no restart, holds for every session of the account, and what waits for it runs when it
//! is lifted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use treewarden::clock::{Clock, SystemClock};
use treewarden::events::Happening;
use treewarden::session::{FailureKind, OnLimit, QueryErrorKind, SessionState, Turn};
use treewarden::{Host, Session, SessionOptions};
use treewarden_end_to_end::{Lab, end, eventually, id_of, reaches};
use treewarden_testkit::faults;

/// A clock that the test sets forward: as if the machine had slept, no limit is lifted before.
#[derive(Debug, Default)]
struct Asleep(AtomicU64);

impl Clock for Asleep {
    fn now(&self) -> Duration {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// A host whose limits are lifted when the test says so.
struct Held {
    lab: Lab,
    clock: Arc<Asleep>,
    host: Host,
}

/// How long the limits of these tests hold: longer than any of them takes.
const LIMIT: u64 = 7200;

impl Held {
    fn new() -> Self {
        let lab = Lab::new();
        let clock = Arc::new(Asleep::default());
        let host =
            Host::options().state_dir(lab.path().join("held")).clock(clock.clone()).open().expect("opened");
        Self { lab, clock, host }
    }

    fn options(&self, name: &str) -> SessionOptions {
        SessionOptions::from(self.lab.spec(name)).host(&self.host)
    }

    /// A session whose turns wait for limits.
    async fn patient(&self, name: &str) -> Session {
        Session::start(self.options(name).on_limit(OnLimit::Wait)).await.expect("started")
    }

    /// Long enough for all who wait to have gone on.
    fn lift(&self) {
        self.clock.0.store(LIMIT + 120, Ordering::SeqCst);
    }
}

async fn answered(turn: Turn, prompt: &str) {
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains(&format!("answer to {prompt}")), "{answer}");
}

#[tokio::test]
async fn a_turn_that_meets_the_limit_fails_at_once_and_so_does_the_next_unless_it_waits() {
    let held = Held::new();
    let session = Session::start(held.options("assistant")).await.expect("started");
    let limited = session.stream("PROMPT-1 LIMIT=7200").await.expect("opened");
    let next = session.stream("PROMPT-2").await.expect("opened");
    let waiting = session.submit("PROMPT-3").await.expect("opened");
    for turn in [limited, next] {
        let error = turn.answer().await.expect_err("limited");
        assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::UsageLimit), "{error}");
        assert!(error.is_retryable());
    }
    reaches(&session, SessionState::Suspended).await;
    let until =
        session.status().await.expect("status").suspended_until.expect("the end of the limit is shown");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_secs();
    assert!(until <= now + LIMIT + 1, "{until}");
    let error = session.query("PROMPT-4").await.expect_err("limited");
    assert!(error.to_string().contains("it is lifted in"), "{error}");
    let joined = session.attach(waiting).await.expect("it is asked").expect("it is open");
    held.lift();
    answered(joined, "PROMPT-3").await;
    let status = session.status().await.expect("status");
    assert_eq!((status.restarts, status.suspended_until), (0, None));
    end(&session).await;
}

#[tokio::test]
async fn a_turn_that_waits_for_the_limit_is_gone_on_with_and_its_prompt_stands_once() {
    let held = Held::new();
    let session = held.patient("assistant").await;
    let mut turn = session.stream("PROMPT-1 LIMIT=7200").await.expect("opened");
    reaches(&session, SessionState::Suspended).await;
    held.lift();
    let mut told = String::new();
    while let Some(text) = turn.text_deltas().next().await {
        told.push_str(&text);
    }
    assert!(told.contains("answer to PROMPT-1") && !told.contains("API Error"), "{told}");
    let id = session.id().await.expect("asked").expect("it has one").to_string();
    assert_eq!(held.lab.times_in_transcript(&id, "PROMPT-1"), 1);
    end(&session).await;
}

#[tokio::test]
async fn a_limit_holds_for_every_session_of_the_account_and_for_no_other() {
    let held = Held::new();
    let one = Session::start(held.options("one")).await.expect("started");
    let two = held.patient("two").await;
    let spec = held.lab.spec("other").env("ANTHROPIC_API_KEY", "of another account");
    let other = Session::start(SessionOptions::from(spec).host(&held.host)).await.expect("started");
    one.query("PROMPT-1 LIMIT=7200").await.expect_err("limited");
    let waiting = two.stream("PROMPT-2").await.expect("opened");
    reaches(&two, SessionState::Suspended).await;
    assert_eq!(two.status().await.expect("status").generation, 0, "no CLI is started into the limit");
    let turn = other.stream("PROMPT-3").await.expect("opened");
    answered(turn, "PROMPT-3").await;
    held.lift();
    answered(waiting, "PROMPT-2").await;
    let mut events = held.host.events().kept();
    let mut told = 0;
    while let Some(Ok(event)) = events.try_next() {
        let is_told = |kind: &Option<String>| kind.as_deref() == Some("five_hour");
        told += usize::from(matches!(&event.what, Happening::UsageLimit { kind, .. } if is_told(kind)));
    }
    assert_eq!(told, 1);
    for session in [one, two, other] {
        end(&session).await;
    }
}

#[tokio::test]
async fn a_suspended_session_that_loses_its_cli_stays_suspended() {
    let held = Held::new();
    let session = held.patient("assistant").await;
    let turn = session.stream("PROMPT-1 LIMIT=7200 ONCE=1").await.expect("opened");
    reaches(&session, SessionState::Suspended).await;
    let pid = session.status().await.expect("status").pid.expect("a CLI lives");
    faults::kill(pid).expect("killed");
    eventually("it waits without a CLI", async || {
        let status = session.status().await.ok()?;
        (status.state == SessionState::Suspended && status.pid.is_none()).then_some(())
    })
    .await;
    held.lift();
    answered(turn, "PROMPT-1").await;
    let id = session.id().await.expect("asked").expect("it has one").to_string();
    assert_eq!(held.lab.times_in_transcript(&id, "PROMPT-1"), 1);
    end(&session).await;
}

#[tokio::test]
async fn a_suspended_session_can_be_stopped() {
    let held = Held::new();
    let session = held.patient("assistant").await;
    let limited = session.stream("PROMPT-1 LIMIT=7200").await.expect("opened");
    let waiting = session.stream("PROMPT-2").await.expect("opened");
    reaches(&session, SessionState::Suspended).await;
    end(&session).await;
    assert!(limited.answer().await.is_err());
    let error = waiting.answer().await.expect_err("cancelled with the session");
    assert_eq!(error.kind(), QueryErrorKind::Cancelled);
}

#[tokio::test]
async fn a_clear_waits_for_no_limit_and_overtakes_no_turn() {
    let held = Held::new();
    let one = Session::start(held.options("one")).await.expect("started");
    let two = held.patient("two").await;
    one.query("PROMPT-1 LIMIT=7200").await.expect_err("limited");
    reaches(&one, SessionState::Suspended).await;
    let before = id_of(&one).await;
    one.clear().await.expect("nothing runs in it");
    assert_ne!(id_of(&one).await, before);
    // A turn that waits belongs to the conversation in which it was asked.
    let waiting = two.stream("PROMPT-2").await.expect("opened");
    reaches(&two, SessionState::Suspended).await;
    let before = two.id().await.expect("asked");
    let clearing = tokio::spawn({
        let two = two.clone();
        async move { two.clear().await }
    });
    eventually("the clear waits", async || (two.status().await.ok()?.queued == 2).then_some(())).await;
    assert_eq!(two.id().await.expect("asked"), before);
    waiting.interrupt();
    waiting.answer().await.expect_err("cancelled");
    clearing.await.expect("no panic").expect("cleared");
    assert_ne!(two.id().await.expect("asked"), before);
    end(&one).await;
    two.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_session_that_waits_for_a_limit_without_a_cli_can_be_cancelled_and_stopped() {
    let held = Held::new();
    let one = Session::start(held.options("one")).await.expect("started");
    let two = held.patient("two").await;
    one.query("PROMPT-1 LIMIT=7200").await.expect_err("limited");
    let first = two.stream("PROMPT-2").await.expect("opened");
    let second = two.stream("PROMPT-3").await.expect("opened");
    reaches(&two, SessionState::Suspended).await;
    two.cancel(first.id()).await.expect("cancelled");
    let error = first.answer().await.expect_err("cancelled");
    assert_eq!(error.kind(), QueryErrorKind::Cancelled);
    two.stop().await.expect("stopped");
    let error = second.answer().await.expect_err("cancelled with the session");
    assert_eq!(error.kind(), QueryErrorKind::Cancelled);
    end(&one).await;
}

#[tokio::test]
async fn a_turn_that_the_model_api_failed_is_gone_on_with_and_its_prompt_stands_once() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let answer = session.query("PROMPT-1 STATUS=529").await.expect("it passed");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!(answer.interruptions, 0);
    let id = session.id().await.expect("asked").expect("it has one").to_string();
    assert_eq!(lab.times_in_transcript(&id, "PROMPT-1"), 1);
    let status = session.status().await.expect("status");
    assert_eq!((status.restarts, status.generation), (0, 1));
    end(&session).await;
}

#[tokio::test]
async fn a_failure_of_the_model_api_that_does_not_pass_is_told_and_so_is_one_that_cannot() {
    let lab = Lab::new();
    let script = r#"{ "prompts": [{ "contains": "Continue from", "do": "STATUS=500" }] }"#;
    let session = Session::start(lab.scripted("assistant", script).api_retries(1)).await.expect("started");
    let error = session.query("PROMPT-1 STATUS=529").await.expect_err("it fails");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::Api));
    assert!(error.to_string().contains("500"), "the last words are told: {error}");
    let error = session.query("PROMPT-2 STATUS=400").await.expect_err("it fails");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::Api));
    assert!(error.to_string().contains("400"), "{error}");
    end(&session).await;
}

#[tokio::test]
async fn a_failed_turn_whose_cli_dies_before_it_goes_on_is_carried_on_by_the_next() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let turn = session.stream("PROMPT-1 STATUS=529 ONCE=1").await.expect("opened");
    let id = eventually("a conversation", async || session.id().await.ok().flatten()).await.to_string();
    eventually("the failure", async || lab.transcript(&id).contains("isApiErrorMessage").then_some(())).await;
    let pid = session.status().await.expect("status").pid.expect("a CLI lives");
    faults::kill(pid).expect("killed");
    let answer = turn.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!(lab.times_in_transcript(&id, "PROMPT-1"), 1);
    end(&session).await;
}
