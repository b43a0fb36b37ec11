//! Which version of the CLI a session gets: one that its options allow, and none that is older than its conversation.

use std::io::Write;

use treewarden::Session;
use treewarden::session::{FailureKind, QueryErrorKind, SessionState};
use treewarden_end_to_end::{Lab, end, reaches};

const OLD: &str = r#"{ "version": "2.1.300" }"#;

fn not_started(error: &treewarden::session::QueryError) -> String {
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::NotStarted), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_cli_of_another_version_than_is_asked_for_is_refused() {
    let lab = Lab::new();
    let pinned =
        |name, version: &str| lab.scripted(name, OLD).cli_version(version.parse().expect("a version"));
    let session = Session::start(pinned("assistant", "2.1.332")).await.expect("started");
    let said = not_started(&session.query("PROMPT-1").await.expect_err("it is another"));
    assert!(said.contains("2.1.300") && said.contains("2.1.332"), "{said}");
    reaches(&session, SessionState::Failed).await;
    let status = session.status().await.expect("status");
    assert_eq!((status.generation, status.restarts), (0, 0), "it was never started for the session");
    assert!(status.reason.expect("it says why").contains("2.1.332"));
    end(&session).await;
    for fit in ["2.1.300", ">=2.1.300"] {
        let session = Session::start(pinned("other", fit)).await.expect("started");
        session.query("PROMPT-1").await.expect("it is the one that is asked for");
        end(&session).await;
    }
}

#[tokio::test]
async fn a_cli_that_is_older_than_the_conversation_is_refused_until_it_is_allowed_or_the_session_cleared() {
    let lab = Lab::new();
    let session = Session::start(lab.scripted("assistant", OLD)).await.expect("started");
    session.query("My name is Alice.").await.expect("answered");
    let id = session.id().await.expect("asked").expect("it has one").to_string();
    end(&session).await;
    // As if a newer CLI had gone on with it.
    let path = lab.transcript_path(&id).expect("it is there");
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("it can be opened");
    writeln!(file, r#"{{"type":"mode","mode":"default","version":"2.1.332","sessionId":"{id}"}}"#)
        .expect("written");

    let session = Session::start(lab.scripted("assistant", OLD)).await.expect("started");
    let said = not_started(&session.query("What is my name?").await.expect_err("it is older"));
    for part in ["2.1.300", "2.1.332", "cli_version", "clear"] {
        assert!(said.contains(part), "{said}");
    }
    reaches(&session, SessionState::Failed).await;
    end(&session).await;

    let allowed = lab.scripted("assistant", OLD).cli_version("2.1.300".parse().expect("a version"));
    let session = Session::start(allowed).await.expect("started");
    let answer = session.query("What is my name?").await.expect("it is allowed");
    assert!(answer.text.contains("Alice"), "{answer}");
    end(&session).await;

    let session = Session::start(lab.scripted("assistant", OLD)).await.expect("started");
    session.clear().await.expect("cleared");
    let answer = session.query("What is my name?").await.expect("a new conversation");
    assert!(!answer.text.contains("Alice"), "{answer}");
    end(&session).await;
}
