//! More sessions than CLIs: an idle one gives its place up, a busy one never, and the wait is fair.

use treewarden::session::SessionState;
use treewarden::{Host, Session, SessionOptions};
use treewarden_end_to_end::{Lab, end, reaches};

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
        assert_eq!(alice.status().expect("status").state, SessionState::Parked);
        let answer = alice.query("What is my name?").await.expect("answered");
        assert!(answer.text.contains("Alice"), "{answer}");
        assert_eq!(bob.status().expect("status").state, SessionState::Parked);
    }
    let statuses = [alice.status().expect("status"), bob.status().expect("status")];
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
    let pid = busy.status().expect("status").pid;
    let waiting = tokio::spawn({
        let other = other.clone();
        async move { other.query("PROMPT-2").await }
    });
    reaches(&other, SessionState::Starting).await;
    assert_eq!(other.status().expect("status").pid, None, "there is no place for its CLI");
    assert_eq!(busy.status().expect("status").pid, pid);
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
    assert_eq!(old.status().expect("status").state, SessionState::Parked);
    assert_eq!(young.status().expect("status").state, SessionState::Ready);
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
    let live = sessions.iter().filter(|session| session.status().is_ok_and(|status| status.pid.is_some()));
    assert!(live.count() <= 2);
    for session in &sessions {
        assert_eq!(session.status().expect("status").restarts, 0);
        end(session).await;
    }
}
