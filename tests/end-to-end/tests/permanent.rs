//! What no restart can mend: no restart loop, the reason in the status and in the caller's error, and the next turn
//! tries again.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use treewarden::session::{FailureKind, QueryError, QueryErrorKind, SessionState};
use treewarden::{Host, Session, SessionId, SessionOptions, SessionSpec};
use treewarden_end_to_end::{Lab, end, fake_cli_path, id_of};
use treewarden_proto::spec::ExtraArg;
use treewarden_testkit::faults;

async fn start(lab: &Lab, spec: SessionSpec) -> Session {
    Session::start(SessionOptions::from(spec).host(&lab.host)).await.expect("started")
}

/// Asks twice, and checks that each time one attempt was made and the reason is told.
async fn is_refused(session: &Session, kind: FailureKind, reason: &str) -> QueryError {
    let mut last = None;
    for attempt in 1..=2 {
        let error = session.query(format!("PROMPT-{attempt}")).await.expect_err("refused");
        assert_eq!(error.kind(), QueryErrorKind::Failed(kind), "{error}");
        assert!(error.to_string().contains(reason), "the error says {reason:?}: {error}");
        assert!(!error.is_retryable());
        let status = session.status().await.expect("status");
        assert_eq!((status.state, status.restarts), (SessionState::Failed, 0), "{status:?}");
        assert!(status.generation <= attempt, "one attempt for each turn: {status:?}");
        let shown = status.reason.expect("the reason is shown");
        assert!(shown.contains(reason), "the status says {reason:?}: {shown}");
        assert!(session.is_alive().await);
        last = Some(error);
    }
    last.expect("it was asked twice")
}

async fn is_mended(session: &Session) {
    let answer = session.query("PROMPT-3").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-3"), "{answer}");
    let status = session.status().await.expect("status");
    assert_eq!((status.state, status.reason, status.restarts), (SessionState::Ready, None, 0));
    end(session).await;
}

/// A program that runs the fake CLI with this flag before its own.
fn wrapper(path: &Path, flag: &str) {
    let cli = fake_cli_path();
    let script = format!("#!/bin/sh\nexec {} {flag} \"$@\"\n", cli.display());
    std::fs::write(path, script).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("made executable");
}

#[tokio::test]
async fn no_such_binary() {
    let lab = Lab::new();
    let path = lab.path().join("claude-cli");
    let session = start(&lab, lab.spec("assistant").cli_path(&path)).await;
    is_refused(&session, FailureKind::NotStarted, &path.display().to_string()).await;
    wrapper(&path, "");
    is_mended(&session).await;
}

#[tokio::test]
async fn no_claude_on_the_path() {
    let lab = Lab::new();
    let bin = lab.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let mut spec = lab.spec("assistant").env("PATH", bin.display().to_string());
    spec.cli_path = None;
    let session = start(&lab, spec).await;
    is_refused(&session, FailureKind::NotStarted, "npm install").await;
    std::os::unix::fs::symlink(fake_cli_path(), bin.join("claude")).expect("linked");
    is_mended(&session).await;
}

#[tokio::test]
async fn not_executable() {
    let lab = Lab::new();
    let path = lab.path().join("claude-cli");
    wrapper(&path, "");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let session = start(&lab, lab.spec("assistant").cli_path(&path)).await;
    is_refused(&session, FailureKind::NotStarted, &path.display().to_string()).await;
    wrapper(&path, "");
    is_mended(&session).await;
}

#[tokio::test]
async fn bad_flag() {
    let lab = Lab::new();
    let session = start(&lab, lab.spec("assistant").extra_arg("bad-flag", ExtraArg::Flag)).await;
    is_refused(&session, FailureKind::NotStarted, "error: unknown option '--bad-flag'").await;
    let id = id_of(&session).await;
    session.stop().await.expect("stopped");
    treewarden_end_to_end::assert_nothing_left(&id);
    is_mended(&start(&lab, lab.spec("assistant")).await).await;
}

#[tokio::test]
async fn settings_that_the_cli_refuses() {
    let lab = Lab::new();
    let options = lab.scripted("assistant", r#"{"start":"REFUSE_INITIALIZE=no-such-agent"}"#);
    let session = Session::start(options).await.expect("started");
    is_refused(&session, FailureKind::NotStarted, "it refused `initialize`: no-such-agent").await;
    let id = id_of(&session).await;
    assert_eq!(lab.prompts(&id), Vec::<String>::new(), "nothing is asked without the session's own settings");
    session.stop().await.expect("stopped");
    treewarden_end_to_end::assert_nothing_left(&id);
    is_mended(&start(&lab, lab.spec("assistant")).await).await;
}

#[tokio::test]
async fn bad_flag_that_the_program_no_longer_gets() {
    let lab = Lab::new();
    let path = lab.path().join("claude-cli");
    wrapper(&path, "--bad-flag");
    let session = start(&lab, lab.spec("assistant").cli_path(&path)).await;
    is_refused(&session, FailureKind::NotStarted, "error: unknown option '--bad-flag'").await;
    wrapper(&path, "");
    is_mended(&session).await;
}

#[tokio::test]
async fn cwd_gone() {
    let lab = Lab::new();
    let cwd = lab.path().join("gone");
    let session = start(&lab, lab.spec("assistant").cwd(&cwd)).await;
    is_refused(&session, FailureKind::NotStarted, &cwd.display().to_string()).await;
    std::fs::create_dir(&cwd).expect("a folder");
    is_mended(&session).await;
}

#[tokio::test]
async fn key_refused() {
    let lab = Lab::new();
    let session = start(&lab, lab.spec("assistant")).await;
    let error = session.query("PROMPT-1 AUTH").await.expect_err("refused");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::Credentials));
    assert!(error.to_string().contains("401"), "{error}");
    assert!(error.failure().is_some_and(|failure| failure.result.is_some()), "the CLI's own words are kept");
    let status = session.status().await.expect("status");
    assert_eq!((status.restarts, status.generation), (0, 1));
    is_mended(&session).await;
}

#[tokio::test]
async fn session_id_already_in_use() {
    let lab = Lab::new();
    let other = Host::options().state_dir(lab.path().join("other")).open().expect("another host");
    let options = SessionOptions::from(lab.spec("somebody")).host(&other);
    let elsewhere = Session::start(options).await.expect("started");
    elsewhere.query("My name is Alice").await.expect("answered");
    let id = elsewhere.id().await.expect("a session").expect("a CLI was started");
    end(&elsewhere).await;
    let session = start(&lab, lab.spec("assistant").session_id(id)).await;
    is_refused(&session, FailureKind::NotStarted, "already in use").await;
    let prompts = lab.prompts(&id.to_string());
    assert_eq!(prompts, ["My name is Alice"], "the other conversation is left alone");
    let projects = lab.path().join("claude/projects");
    std::fs::rename(&projects, lab.path().join("claude/elsewhere")).expect("moved away");
    is_mended(&session).await;
}

#[tokio::test]
async fn an_id_that_the_spec_gives_is_used_and_carried_on_after_a_crash() {
    let lab = Lab::new();
    let id = SessionId::random();
    let session = start(&lab, lab.spec("assistant").session_id(id)).await;
    session.query("My name is Alice CRASH=delta:1 ONCE=1").await.expect("answered");
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_eq!(answer.session_id, id);
    end(&session).await;
    let lab = lab.reopen();
    let session = start(&lab, lab.spec("assistant").session_id(id)).await;
    let answer = session.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    end(&session).await;
}

#[tokio::test]
async fn resume_of_an_unknown_id() {
    let lab = Lab::new();
    let id = SessionId::random();
    let session = start(&lab, lab.spec("assistant").resume(id)).await;
    is_refused(&session, FailureKind::ConversationLost, &id.to_string()).await;
    session.clear().await.expect("cleared");
    is_mended(&session).await;
}

#[tokio::test]
async fn conversation_gone_between_two_turns() {
    let lab = Lab::new();
    let session = start(&lab, lab.spec("assistant")).await;
    session.query("My name is Alice").await.expect("answered");
    let id = id_of(&session).await;
    session.stop().await.expect("stopped");
    std::fs::remove_dir_all(lab.path().join("claude")).expect("removed");
    let session = start(&lab, lab.spec("assistant")).await;
    is_refused(&session, FailureKind::ConversationLost, &id).await;
    session.clear().await.expect("cleared");
    is_mended(&session).await;
}

#[tokio::test]
async fn an_answer_that_is_gone_from_the_transcript_is_missed_by_the_session_that_gave_it() {
    let lab = Lab::new();
    let session = start(&lab, lab.spec("assistant")).await;
    session.query("My name is Alice").await.expect("answered");
    let id = session.status().await.expect("status").session_id.expect("a CLI was started");
    let transcript = treewarden_transcript::find(&lab.path().join("claude"), id)
        .expect("looked for")
        .expect("it has been written");
    let before = std::fs::read(&transcript).expect("it can be read");
    let last = session.query("My name is Bob").await.expect("answered");
    faults::kill(session.status().await.expect("status").pid.expect("its CLI lives")).expect("killed");
    // The conversation up to its first answer is whole; the session knows of a later one.
    std::fs::write(&transcript, before).expect("it can be written");
    let error = session.query("What is my name?").await.expect_err("it would not know");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::ConversationLost), "{error}");
    assert!(error.to_string().contains(&last.turn.to_string()), "{error}");
    session.clear().await.expect("cleared");
    let answer = session.query("What is my name?").await.expect("a new conversation misses nothing");
    assert!(answer.text.contains("do not know"), "{answer}");
    end(&session).await;
}
