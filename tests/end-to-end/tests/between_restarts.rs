//! A session between two restarts, whose supervisor backs off: what can be asked of it acts at once.

use std::time::Duration;

use treewarden::session::{FailureKind, QueryErrorKind, SessionState, Turn};
use treewarden::{Session, SessionOptions};
use treewarden_end_to_end::{Lab, end, eventually, id_of};

/// A session whose CLIs die under its turn, which may take so long, and whose supervisor backs off for ten minutes.
async fn dying(lab: &Lab, name: &str, timeout: Duration) -> (Session, Turn) {
    let backoff = treewarden::supervisor::Backoff::new(Duration::from_secs(600), Duration::from_secs(600));
    let options = SessionOptions::from(lab.spec(name).timeout(timeout)).host(&lab.host).backoff(backoff);
    let session = Session::start(options).await.expect("started");
    let turn = session.stream("PROMPT-1 CRASH=read").await.expect("opened");
    (session, turn)
}

/// The first restart is made at once, and the second one waits.
async fn backs_off(session: &Session) -> bool {
    let status = session.status().await.expect("status");
    status.restarts == 1 && status.state == SessionState::Restarting
}

#[tokio::test]
async fn an_interrupt_acts_at_once_between_two_restarts() {
    let lab = Lab::new();
    let (session, turn) = dying(&lab, "a", Duration::from_secs(3600)).await;
    eventually("its second restart waits", async || backs_off(&session).await.then_some(())).await;
    let behind = session.stream("PROMPT-2").await.expect("opened");
    assert!(session.interrupt().await.expect("it is asked"), "a turn was ended");
    let error = turn.answer().await.expect_err("it is interrupted");
    assert_eq!(error.kind(), QueryErrorKind::Interrupted, "{error}");
    behind.interrupt();
    let error = behind.answer().await.expect_err("it is cancelled");
    assert_eq!(error.kind(), QueryErrorKind::Cancelled, "{error}");
    assert_eq!(session.status().await.expect("status").restarts, 1, "nobody waited for a restart");
    session.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_clear_and_a_restart_act_at_once_between_two_restarts() {
    let lab = Lab::new();
    let (session, turn) = dying(&lab, "a", Duration::from_secs(3600)).await;
    eventually("its second restart waits", async || backs_off(&session).await.then_some(())).await;
    let before = id_of(&session).await;
    let clearing = tokio::spawn({
        let session = session.clone();
        async move { session.clear().await }
    });
    eventually("the clear waits", async || (session.status().await.ok()?.queued == 2).then_some(())).await;
    assert_eq!(id_of(&session).await, before, "it overtakes no turn");
    turn.interrupt();
    turn.answer().await.expect_err("it is interrupted");
    clearing.await.expect("no panic").expect("cleared");
    let second = id_of(&session).await;
    assert_ne!(second, before);
    session.clear().await.expect("nothing is before it");
    assert_ne!(id_of(&session).await, second);
    assert!(backs_off(&session).await, "nobody waited for a restart");
    session.restart().await.expect("restarted");
    let answer = session.query("PROMPT-2").await.expect("it is served again");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    assert_eq!(lab.prompts(&id_of(&session).await), ["PROMPT-2"]);
    end(&session).await;
}

#[tokio::test]
async fn a_turn_runs_out_of_its_time_while_its_session_waits_to_be_restarted() {
    let lab = Lab::new();
    // On a machine that is slow the time may be over before both CLIs have died, which shows nothing: again, with more.
    for seconds in [5, 20, 60] {
        let (session, turn) = dying(&lab, &format!("a-{seconds}"), Duration::from_secs(seconds)).await;
        let error = turn.answer().await.expect_err("its time is over");
        assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::TimedOut), "{error}");
        let waited = backs_off(&session).await;
        session.stop().await.expect("stopped");
        if waited {
            assert!(error.to_string().contains("exit 70"), "it says what kept it: {error}");
            return;
        }
    }
    panic!("two CLIs do not die within a minute");
}
