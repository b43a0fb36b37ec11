//! A CLI that cannot write its transcript has the only copy of the conversation: it is kept, and that is said.

use std::time::Duration;

use treewarden::events::Happening;
use treewarden::session::{FailureKind, QueryErrorKind, SessionState};
use treewarden::{Host, Session, SessionOptions};
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{Lab, end, eventually, reaches};

const SHORT: Duration = Duration::from_millis(100);

/// Puts a plain file where the transcripts would be, so that none can be written.
fn blocked(folder: &std::path::Path) -> std::path::PathBuf {
    std::fs::create_dir_all(folder).expect("a folder can be made");
    let projects = folder.join("projects");
    std::fs::write(&projects, "").expect("a file can be written");
    projects
}

async fn is_unsaved(session: &Session) -> String {
    eventually("it is seen that nothing is saved", async || {
        session.status().await.ok()?.unsaved.map(|why| why.to_string())
    })
    .await
}

#[tokio::test]
async fn a_session_that_cannot_save_is_not_parked_until_it_can() {
    let lab = Lab::new();
    let projects = blocked(&lab.path().join("claude"));
    let mut feed = lab.host.events().now();
    let session = Session::start(lab.options("alice").idle_timeout(SHORT)).await.expect("started");
    let turn = session.stream("My name is Alice").await.expect("opened");
    let id = turn.id().to_string();
    turn.answer().await.expect("answered");
    let why = is_unsaved(&session).await;
    assert!(why.contains(&id) && why.contains("projects"), "{why}");
    assert_eq!(session.unsaved().await.expect("the session is there"), Some(why));
    assert_eq!(session.status().await.expect("status").state, SessionState::Ready);
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    std::fs::remove_file(&projects).expect("the file is ours");
    session.query("PROMPT-3").await.expect("answered");
    reaches(&session, SessionState::Parked).await;
    assert_eq!(session.status().await.expect("status").unsaved, None);
    let mut told = Vec::new();
    while let Some(Ok(event)) = feed.try_next() {
        match event.what {
            Happening::Unsaved { .. } => told.push("unsaved"),
            Happening::Saved => told.push("saved"),
            _ => {}
        }
    }
    assert_eq!(told.first(), Some(&"unsaved"));
    assert_eq!(told.last(), Some(&"saved"));
    end(&session).await;
}

#[tokio::test]
async fn a_session_that_cannot_save_keeps_its_place_until_it_can() {
    let lab = Lab::new();
    let projects = blocked(&lab.path().join("claude"));
    let host = Host::options().state_dir(lab.path().join("crowded")).max_live(1).open().expect("a host");
    let start = |name| Session::start(SessionOptions::from(lab.spec(name)).host(&host));
    let (alice, bob) = (start("alice").await.expect("started"), start("bob").await.expect("started"));
    alice.query("PROMPT-1").await.expect("answered");
    let waiting = tokio::spawn({
        let bob = bob.clone();
        async move { bob.query("PROMPT-2").await.expect("answered").text }
    });
    is_unsaved(&alice).await;
    assert_eq!(bob.status().await.expect("status").pid, None, "there is no place for it");
    std::fs::remove_file(&projects).expect("the file is ours");
    alice.query("PROMPT-3").await.expect("answered");
    assert!(waiting.await.expect("no panic").contains("answer to PROMPT-2"));
    assert_eq!(alice.status().await.expect("status").state, SessionState::Parked);
    end(&alice).await;
    end(&bob).await;
}

#[tokio::test]
async fn a_session_without_a_journal_is_parked_whatever_is_on_disk() {
    let lab = Lab::new();
    blocked(&lab.path().join("claude"));
    let host = Host::options()
        .state_dir(lab.path().join("forgetful"))
        .durability(treewarden::Durability::Nothing)
        .open()
        .expect("a host");
    let options = SessionOptions::from(lab.spec("alice")).host(&host).idle_timeout(SHORT);
    let session = Session::start(options).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    reaches(&session, SessionState::Parked).await;
    end(&session).await;
}

/// A session that has a turn in its conversation and no CLI, and the folder of its transcript taken away, with a file in its
/// place: nothing can be put there, as on a disk that is read-only.
async fn in_the_way(lab: &Lab, options: SessionOptions) -> (Session, std::path::PathBuf) {
    let session = Session::start(options).await.expect("started");
    session.query("My name is Alice").await.expect("answered");
    reaches(&session, SessionState::Parked).await;
    let projects = lab.path().join("claude/projects");
    std::fs::remove_dir_all(&projects).expect("removed");
    std::fs::write(&projects, "").expect("a file can be written");
    (session, projects)
}

#[tokio::test]
async fn a_turn_waits_while_the_transcript_cannot_be_used_and_is_answered_then() {
    let lab = Lab::new();
    let (session, projects) = in_the_way(&lab, lab.options("alice").idle_timeout(SHORT)).await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.query("What is my name?").await.expect("answered").text }
    });
    let shown = async || session.status().await.ok()?.reason.filter(|why| why.contains("projects"));
    let why = eventually("it is said what it waits for", shown).await;
    assert!(why.contains("os error") && why.contains("nothing of the conversation"), "{why}");
    std::fs::remove_file(&projects).expect("the file is ours");
    assert!(waiting.await.expect("no panic").contains("Alice"));
    assert_eq!(session.status().await.expect("status").reason, None);
    end(&session).await;
}

#[tokio::test]
async fn a_transcript_that_cannot_be_used_for_long_is_no_lost_conversation() {
    let lab = Lab::new();
    let options = lab.options("alice").idle_timeout(SHORT).start_timeout(Duration::from_secs(2));
    let (session, projects) = in_the_way(&lab, options).await;
    let error = session.query("What is my name?").await.expect_err("nothing can be put there");
    let QueryErrorKind::Failed(FailureKind::NotStarted) = error.kind() else { panic!("{error:?}") };
    assert!(error.to_string().contains("projects") && error.to_string().contains("os error"), "{error}");
    std::fs::remove_file(&projects).expect("the file is ours");
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    end(&session).await;
}

#[tokio::test]
async fn the_real_cli_is_not_parked_while_it_cannot_write() {
    let Some(real) = RealLab::new().await else { return };
    blocked(&real.config_dir());
    let session = Session::start(real.options("real").idle_timeout(SHORT)).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    is_unsaved(&session).await;
    session.query("PROMPT-2").await.expect("answered");
    let status = session.status().await.expect("status");
    assert_eq!((status.generation, status.restarts), (1, 0));
    session.stop().await.expect("stopped");
}
