//! What a turn took is that turn's alone, and what a session took outlives its CLIs and its host.

use treewarden::Session;
use treewarden::session::Answer;
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{Lab, end, eventually};
use treewarden_proto::frame::Body;

/// What each turn of the fake CLI costs.
const EACH: f64 = 0.001;

/// Sums of the CLI's own are made in another order.
fn same(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9
}

async fn costs(session: &Session, expected: Option<f64>) {
    let told = session.status().await.expect("status").cost_usd;
    let fits = match (told, expected) {
        (Some(told), Some(expected)) => same(told, expected),
        (told, expected) => told.is_none() && expected.is_none(),
    };
    assert!(fits, "the session says {told:?}, and it is {expected:?}");
}

/// The sum that the CLI says in the result of this answer.
fn total(answer: &Answer) -> f64 {
    let frame = answer.result.as_ref().expect("it has a result");
    let Ok(Body::Result(result)) = frame.body() else { panic!("it is none: {}", frame.json()) };
    result.total_cost_usd.expect("it is told")
}

#[tokio::test]
async fn a_turn_has_its_own_cost_and_the_session_the_sum_over_restarts_of_its_cli_and_its_host() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    costs(&session, None).await;
    for n in 1..=3_u32 {
        let answer = session.query(format!("PROMPT-{n}")).await.expect("answered");
        assert!(same(answer.cost_usd().expect("it is told"), EACH), "{:?}", answer.spent);
        let usage = answer.usage().expect("it is told");
        assert_eq!((usage.input_tokens, usage.output_tokens), (10, 5));
        assert!(same(total(&answer), EACH * f64::from(n)), "the CLI's own number is a sum");
        costs(&session, Some(EACH * f64::from(n))).await;
    }
    session.restart().await.expect("restarted");
    let answer = session.query("PROMPT-4").await.expect("answered");
    assert!(same(answer.cost_usd().expect("it is told"), EACH));
    let told = outcome(&lab, &answer).await;
    assert!(same(told["spent"]["cost_usd"].as_f64().expect("it is stored"), EACH), "{told}");
    end(&session).await;

    let lab = lab.reopen();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    costs(&session, Some(EACH * 4.0)).await;
    session.query("PROMPT-5").await.expect("answered");
    costs(&session, Some(EACH * 5.0)).await;
    let usage = session.status().await.expect("status").usage.expect("it is told");
    assert_eq!((usage.input_tokens, usage.output_tokens), (50, 25));
    end(&session).await;
}

async fn outcome(lab: &Lab, answer: &Answer) -> serde_json::Value {
    let row = lab.host.turn(answer.turn).await.expect("the journal is readable").expect("it is there");
    row.outcome.expect("it is settled")
}

#[tokio::test]
async fn what_a_turn_took_under_which_a_cli_died_is_unknown_and_not_a_part_of_it() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let answer = session.query("PROMPT-1 CRASH=delta:2 ONCE=1").await.expect("answered");
    assert_eq!((answer.interruptions, answer.cost_usd(), answer.usage()), (1, None, None));
    // What was told is counted all the same.
    costs(&session, Some(EACH)).await;
    end(&session).await;
}

#[tokio::test]
async fn a_turn_that_the_model_api_failed_has_what_it_took_before_as_well() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let answer = session.query("PROMPT-1 STATUS=529").await.expect("it passed");
    assert!(same(answer.cost_usd().expect("it is told"), EACH * 2.0), "{:?}", answer.spent);
    let answer = session.query("PROMPT-2").await.expect("answered");
    assert!(same(answer.cost_usd().expect("it is told"), EACH), "{:?}", answer.spent);
    costs(&session, Some(EACH * 3.0)).await;
    end(&session).await;
}

#[tokio::test]
async fn what_the_cli_does_by_itself_is_the_sessions_and_no_turns() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let answer = session.query("PROMPT-1 BACKGROUND=1").await.expect("answered");
    assert!(same(answer.cost_usd().expect("it is told"), EACH));
    eventually("the CLI's own turn has its result", async || {
        let cost = session.status().await.ok()?.cost_usd?;
        same(cost, EACH * 2.0).then_some(())
    })
    .await;
    let answer = session.query("PROMPT-2").await.expect("answered");
    assert!(same(answer.cost_usd().expect("it is told"), EACH));
    costs(&session, Some(EACH * 3.0)).await;
    end(&session).await;
}

#[tokio::test]
async fn of_a_cli_that_does_not_say_what_a_turn_took_nothing_is_known() {
    let lab = Lab::new();
    let script = r#"{ "version": "2.1.197", "lifecycle": false }"#;
    let session = Session::start(lab.scripted("assistant", script)).await.expect("started");
    let answer = session.query("PROMPT-1").await.expect("answered");
    assert_eq!((answer.cost_usd(), answer.usage()), (None, None));
    costs(&session, None).await;
    end(&session).await;
}

#[tokio::test]
async fn the_real_cli_says_what_each_turn_took_alone_also_when_it_was_resumed() {
    let Some(real) = RealLab::new().await else { return };
    let session = Session::start(real.options("assistant")).await.expect("started");
    let first = session.query("PROMPT-1").await.expect("answered");
    let second = session.query("PROMPT-2").await.expect("answered");
    let cost = |answer: &Answer| answer.cost_usd().expect("it is told");
    assert!(cost(&first) > 0.0 && cost(&second) > 0.0, "{first:?}, {second:?}");
    assert!(same(cost(&second), total(&second) - total(&first)), "{second:?}");
    let usage = second.usage().expect("it is told");
    assert!(usage.input_tokens >= 10 && usage.output_tokens >= 5, "{usage:?}");
    session.restart().await.expect("restarted");
    let third = session.query("PROMPT-3").await.expect("answered");
    assert!(cost(&third) > 0.0 && cost(&third) < cost(&first) + cost(&second), "{third:?}");
    let sum = cost(&first) + cost(&second) + cost(&third);
    let told = session.status().await.expect("status").cost_usd.expect("it is told");
    // The CLI may ask the model for what is nobody's turn, which is counted to the next result.
    assert!(same(told, sum), "{told} is told, and the turns took {sum}");
    end(&session).await;
}
