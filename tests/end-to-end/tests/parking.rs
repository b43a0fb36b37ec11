//! More sessions than CLIs: an idle one gives its place up, a busy one never, and the wait is fair.

use std::time::Duration;

use treewarden::session::{FailureKind, QueryErrorKind, SessionState};
use treewarden::{Host, Session, SessionOptions};
use treewarden_end_to_end::{Lab, end, eventually, id_of, reaches};

async fn start(lab: &Lab, host: &Host, name: &str) -> Session {
    Session::start(SessionOptions::from(lab.spec(name)).host(host)).await.expect("started")
}

fn crowded(lab: &Lab, max_live: usize) -> Host {
    Host::options().state_dir(lab.path().join("crowded")).max_live(max_live).open().expect("a host")
}

#[tokio::test]
async fn an_idle_session_is_parked_to_make_room_and_resumed_when_it_is_asked() {
    let lab = Lab::new();
    let host = crowded(&lab, 1);
    let (alice, bob) = (start(&lab, &host, "alice").await, start(&lab, &host, "bob").await);
    alice.query("My name is Alice").await.expect("answered");
    for _ in 0..3 {
        bob.query("My name is Bob").await.expect("answered");
        assert_eq!(alice.status().await.expect("status").state, SessionState::Parked);
        let answer = alice.query("What is my name?").await.expect("answered");
        assert!(answer.text.contains("Alice"), "{answer}");
        assert_eq!(bob.status().await.expect("status").state, SessionState::Parked);
    }
    let statuses = [alice.status().await.expect("status"), bob.status().await.expect("status")];
    assert!(statuses.iter().all(|status| status.restarts == 0), "parking is no crash: {statuses:?}");
    end(&alice).await;
    end(&bob).await;
}

#[tokio::test]
async fn a_busy_session_is_never_parked_for_another() {
    let lab = Lab::new();
    let host = crowded(&lab, 1);
    let (busy, other) = (start(&lab, &host, "busy").await, start(&lab, &host, "other").await);
    let running = busy.stream("PROMPT-1 STREAM=10:50").await.expect("opened");
    reaches(&busy, SessionState::Busy).await;
    let pid = busy.status().await.expect("status").pid;
    let waiting = tokio::spawn({
        let other = other.clone();
        async move { other.query("PROMPT-2").await }
    });
    reaches(&other, SessionState::Starting).await;
    assert_eq!(other.status().await.expect("status").pid, None, "there is no place for its CLI");
    assert_eq!(busy.status().await.expect("status").pid, pid);
    let answer = running.answer().await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    assert_eq!(answer.interruptions, 0);
    let answer = waiting.await.expect("no panic").expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    end(&busy).await;
    end(&other).await;
}

#[tokio::test]
async fn the_session_that_was_used_longest_ago_is_parked_first() {
    let lab = Lab::new();
    let host = crowded(&lab, 2);
    let (old, young) = (start(&lab, &host, "old").await, start(&lab, &host, "young").await);
    old.query("PROMPT-1").await.expect("answered");
    young.query("PROMPT-2").await.expect("answered");
    reaches(&young, SessionState::Ready).await;
    let third = start(&lab, &host, "third").await;
    third.query("PROMPT-3").await.expect("answered");
    assert_eq!(old.status().await.expect("status").state, SessionState::Parked);
    assert_eq!(young.status().await.expect("status").state, SessionState::Ready);
    for session in [old, young, third] {
        end(&session).await;
    }
}

#[tokio::test]
async fn six_sessions_share_two_clis_and_all_get_their_answers() {
    let lab = Lab::new();
    let host = crowded(&lab, 2);
    let mut sessions = Vec::new();
    for n in 0..6 {
        sessions.push(start(&lab, &host, &format!("session-{n}")).await);
    }
    let tasks: Vec<_> = sessions
        .iter()
        .cloned()
        .map(|session| {
            tokio::spawn(async move {
                for n in 0..4 {
                    let answer = session.query(format!("PROMPT-{n}-")).await.expect("answered");
                    assert_eq!(answer.text, format!("answer to PROMPT-{n}-"));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("every session gets its answers");
    }
    let live = host.sessions().into_iter().filter(|status| status.pid.is_some());
    assert!(live.count() <= 2);
    for session in &sessions {
        assert_eq!(session.status().await.expect("status").restarts, 0);
        end(session).await;
    }
}

async fn pinned(lab: &Lab, host: &Host, name: &str) -> Session {
    let options = SessionOptions::from(lab.spec(name)).host(host).pinned(true);
    Session::start(options.idle_timeout(Duration::from_millis(1))).await.expect("started")
}

async fn state(session: &Session) -> SessionState {
    session.status().await.expect("status").state
}

#[tokio::test]
async fn a_pinned_session_is_never_parked() {
    let lab = Lab::new();
    let host = crowded(&lab, 2);
    let kept = pinned(&lab, &host, "kept").await;
    kept.query("PROMPT-0").await.expect("answered");
    let pid = kept.status().await.expect("status").pid;
    let (alice, bob) = (start(&lab, &host, "alice").await, start(&lab, &host, "bob").await);
    for _ in 0..3 {
        alice.query("PROMPT-1").await.expect("answered");
        bob.query("PROMPT-2").await.expect("answered");
        assert_eq!(
            state(&alice).await,
            SessionState::Parked,
            "it was used later, and is parked all the same"
        );
    }
    let status = kept.status().await.expect("status");
    assert_eq!((status.state, status.pid, status.generation), (SessionState::Ready, pid, 1));
    for session in [kept, alice, bob] {
        end(&session).await;
    }
}

#[tokio::test]
async fn a_turn_that_finds_every_place_pinned_fails_at_once_and_runs_when_one_is_free() {
    let lab = Lab::new();
    let host = crowded(&lab, 1);
    let (kept, other) = (pinned(&lab, &host, "kept").await, start(&lab, &host, "other").await);
    kept.query("PROMPT-0").await.expect("answered");
    let error = other.query("PROMPT-1").await.expect_err("there is no place");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::NoPlace));
    assert!(error.to_string().contains("`max_live`") && error.to_string().contains('1'), "{error}");
    let status = other.status().await.expect("status");
    assert_eq!((status.state, status.restarts, status.generation), (SessionState::Failed, 0, 0));
    end(&kept).await;
    other.query("PROMPT-2").await.expect("answered");
    end(&other).await;
}

#[tokio::test]
async fn those_that_wait_fail_when_the_last_place_is_taken_by_a_pinned_session() {
    let lab = Lab::new();
    let host = crowded(&lab, 1);
    let (busy, kept) = (start(&lab, &host, "busy").await, pinned(&lab, &host, "kept").await);
    let late = start(&lab, &host, "late").await;
    let running = busy.stream("PROMPT-0 STREAM=10:20").await.expect("opened");
    reaches(&busy, SessionState::Busy).await;
    let first = kept.stream("PROMPT-1").await.expect("opened");
    reaches(&kept, SessionState::Starting).await;
    let second = late.stream("PROMPT-2").await.expect("opened");
    running.answer().await.expect("answered");
    first.answer().await.expect("answered");
    let error = second.answer().await.expect_err("the pinned session has the place");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::NoPlace));
    end(&kept).await;
    end(&busy).await;
    late.stop().await.expect("stopped");
}

#[tokio::test]
async fn what_is_parked_answers_status_and_id_at_once_and_starts_no_cli() {
    let lab = Lab::new();
    let host = crowded(&lab, 1);
    let (alice, bob) = (start(&lab, &host, "alice").await, start(&lab, &host, "bob").await);
    alice.query("PROMPT-1").await.expect("answered");
    let id = alice.id().await.expect("an id");
    bob.query("PROMPT-2").await.expect("answered");
    let status = alice.status().await.expect("status");
    assert_eq!((status.state, status.pid, status.generation), (SessionState::Parked, None, 1));
    assert_eq!((status.session_id, alice.id().await.expect("an id")), (id, id));
    let all: Vec<_> =
        host.sessions().into_iter().map(|status| (status.name.to_string(), status.state)).collect();
    assert_eq!(all, [("alice".into(), SessionState::Parked), ("bob".into(), SessionState::Ready)]);
    assert_eq!(alice.status().await.expect("status").generation, 1);
    end(&alice).await;
    end(&bob).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_comes_while_its_session_is_being_parked_is_answered() {
    let lab = Lab::new();
    let host = crowded(&lab, 1);
    let (alice, bob) = (start(&lab, &host, "alice").await, start(&lab, &host, "bob").await);
    let mut asked = Vec::new();
    for n in 0..20 {
        alice.query(format!("PROMPT-a{n}-")).await.expect("answered");
        let other = bob.stream(format!("PROMPT-b{n}-")).await.expect("opened");
        // The turns meet the way to the parked session at another point each time.
        eventually("alice is asked to go", async || {
            Some(state(&alice).await).filter(|state| n % 4 == 0 || *state != SessionState::Ready)
        })
        .await;
        let answer = alice.query(format!("PROMPT-c{n}-")).await.expect("answered");
        assert_eq!(answer.text, format!("answer to PROMPT-c{n}-"));
        assert_eq!(answer.interruptions, 0, "parking interrupts nothing");
        other.answer().await.expect("answered");
        asked.extend([format!("PROMPT-a{n}-"), format!("PROMPT-c{n}-")]);
    }
    assert_eq!(lab.prompts(&id_of(&alice).await), asked, "each prompt once, in order");
    assert_eq!(alice.status().await.expect("status").restarts, 0);
    end(&alice).await;
    end(&bob).await;
}

#[tokio::test]
async fn places_go_to_those_who_wait_in_the_order_of_asking() {
    let lab = Lab::new();
    let host = crowded(&lab, 1);
    let busy = start(&lab, &host, "busy").await;
    let running = busy.stream("PROMPT-0 STREAM=10:50").await.expect("opened");
    reaches(&busy, SessionState::Busy).await;
    let mut waiting = Vec::new();
    for n in 0..6 {
        let session = start(&lab, &host, &format!("waits-{n}")).await;
        let turn = session.stream("PROMPT-1").await.expect("opened");
        reaches(&session, SessionState::Starting).await;
        waiting.push((session, turn));
    }
    running.answer().await.expect("answered");
    let mut turns = waiting.into_iter();
    while let Some((session, turn)) = turns.next() {
        turn.answer().await.expect("answered");
        for (later, _) in turns.as_slice().iter().skip(1) {
            let generation = later.status().await.expect("status").generation;
            assert_eq!(generation, 0, "none begins before its turn has come");
        }
        assert_eq!(session.status().await.expect("status").generation, 1);
    }
    for status in host.sessions() {
        assert_eq!((status.generation, status.restarts), (1, 0), "{}", status.name);
        end(&host.session(status.name.as_str()).expect("it is there")).await;
    }
}

#[tokio::test]
async fn no_more_sessions_are_parked_than_others_wait() {
    let lab = Lab::new();
    let host = crowded(&lab, 3);
    let mut sessions = Vec::new();
    let mut turns = Vec::new();
    for n in 0..3 {
        let session = start(&lab, &host, &format!("busy-{n}")).await;
        turns.push(session.stream("PROMPT-1 STREAM=10:50").await.expect("opened"));
        sessions.push(session);
    }
    for session in &sessions {
        reaches(session, SessionState::Busy).await;
    }
    let one = start(&lab, &host, "one").await;
    let waiting = one.stream("PROMPT-2").await.expect("opened");
    for turn in turns {
        turn.answer().await.expect("answered");
    }
    waiting.answer().await.expect("answered");
    let mut states = Vec::new();
    for session in &sessions {
        states.push(state(session).await);
    }
    assert_eq!(states.iter().filter(|state| **state == SessionState::Parked).count(), 1, "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == SessionState::Ready).count(), 2, "{states:?}");
    sessions.push(one);
    for session in &sessions {
        end(session).await;
    }
}
