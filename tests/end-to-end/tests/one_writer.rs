//! A conversation has one writer: whoever comes second is told who holds it, and the first goes on undisturbed.

use treewarden::session::{FailureKind, QueryErrorKind, SessionState, StartErrorKind};
use treewarden::{Host, Session, SessionOptions};
use treewarden_end_to_end::{Lab, end, id_of, outcome_of, reaches};

fn is_held(error: &treewarden::session::QueryError) {
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::NotStarted), "{error}");
    let pid = format!("process {}", std::process::id());
    assert!(error.to_string().contains(&pid), "the holder is named: {error}");
}

#[tokio::test]
async fn a_second_session_on_the_same_id_is_refused_and_the_first_goes_on() {
    let lab = Lab::new();
    let first = Session::start(lab.options("first")).await.expect("started");
    first.query("My name is Alice").await.expect("answered");
    let id = first.id().await.expect("a session").expect("a CLI was started");
    let running = first.stream("my name? STREAM=10:50").await.expect("opened");
    reaches(&first, SessionState::Busy).await;
    let options = SessionOptions::from(lab.spec("second").resume(id)).host(&lab.host);
    let second = Session::start(options).await.expect("started");
    let error = second.query("PROMPT-2").await.expect_err("refused");
    is_held(&error);
    assert!(error.to_string().contains("first"), "the holder's name is told: {error}");
    assert!(running.answer().await.expect("answered").text.contains("Alice"));
    assert_eq!(first.status().await.expect("status").restarts, 0);
    assert_eq!(lab.times_in_transcript(&id.to_string(), "PROMPT-2"), 0);
    end(&first).await;
    let answer = second.query("What is my name?").await.expect("it is free now");
    assert!(answer.text.contains("Alice"), "{answer}");
    end(&second).await;
}

#[tokio::test]
async fn a_second_host_on_the_same_state_directory_is_refused_and_the_first_goes_on() {
    let lab = Lab::new();
    let other = Host::options().state_dir(lab.host.state_dir()).open().expect("a second host");
    let first = Session::start(lab.options("assistant")).await.expect("started");
    let running = first.stream("PROMPT-1 STREAM=20:50").await.expect("opened");
    let waiting = first.stream("PROMPT-2").await.expect("opened");
    reaches(&first, SessionState::Busy).await;
    let pid = first.status().await.expect("status").pid;
    let options = SessionOptions::from(lab.spec("assistant")).host(&other);
    let second = Session::start(options).await.expect("started");
    is_held(&second.query("PROMPT-3").await.expect_err("refused"));
    assert_eq!(first.status().await.expect("status").pid, pid, "its CLI was left alone");
    let (one, two) = (running.id(), waiting.id());
    assert!(running.answer().await.expect("answered").text.contains("answer to PROMPT-1"));
    assert!(waiting.answer().await.expect("answered").text.contains("answer to PROMPT-2"));
    for turn in [one, two] {
        assert_eq!(outcome_of(&lab.host, turn).await["outcome"], "completed");
    }
    assert_eq!(first.status().await.expect("status").restarts, 0);
    let id = id_of(&first).await;
    assert_eq!(lab.times_in_transcript(&id, "PROMPT-1"), 1);
    assert_eq!(lab.times_in_transcript(&id, "PROMPT-3"), 0);
    end(&first).await;
    second.query("PROMPT-4").await.expect("it is free now");
    end(&second).await;
}

#[tokio::test]
async fn a_second_state_directory_is_refused_before_it_ends_anything_and_the_first_goes_on() {
    let lab = Lab::new();
    let other = Host::options().state_dir(lab.path().join("other")).open().expect("a second host");
    let first = Session::start(lab.options("assistant")).await.expect("started");
    first.query("My name is Alice").await.expect("answered");
    let id = first.id().await.expect("a session").expect("a CLI was started");
    let pid = first.status().await.expect("status").pid;
    let options = SessionOptions::from(lab.spec("second").resume(id)).host(&other);
    let second = Session::start(options).await.expect("started");
    let error = second.query("PROMPT-2").await.expect_err("refused");
    is_held(&error);
    let state = lab.host.state_dir().display().to_string();
    assert!(error.to_string().contains(&state), "the holder's state directory is told: {error}");
    assert_eq!(first.status().await.expect("status").pid, pid, "its CLI was left alone");
    let answer = first.query("What is my name?").await.expect("the first goes on");
    assert!(answer.text.contains("Alice"), "{answer}");
    assert_eq!(first.status().await.expect("status").restarts, 0);
    assert_eq!(lab.times_in_transcript(&id.to_string(), "PROMPT-2"), 0);
    end(&first).await;
    let answer = second.query("What is my name?").await.expect("it is free now");
    assert!(answer.text.contains("Alice"), "{answer}");
    end(&second).await;
}

#[tokio::test]
async fn a_config_directory_without_leases_is_refused_with_a_reason_and_no_cli_is_started() {
    let lab = Lab::new();
    let config = lab.path().join("claude");
    std::fs::create_dir(&config).expect("made");
    std::fs::write(config.join("treewarden"), "").expect("written");
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let error = session.query("PROMPT-1").await.expect_err("refused");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::NotStarted), "{error}");
    let said = error.to_string();
    assert!(said.contains("no lease can be made") && said.contains("CLAUDE_CONFIG_DIR"), "{said}");
    assert!(lab.clis().is_empty());
    std::fs::remove_file(config.join("treewarden")).expect("removed");
    session.query("PROMPT-2").await.expect("the next turn tries once more");
    end(&session).await;
}

#[tokio::test]
async fn a_removed_lease_is_made_anew_before_a_turn_or_the_turn_is_refused_if_another_has_it() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("My name is Alice").await.expect("answered");
    let (leases, pid) = (lab.path().join("claude/treewarden"), session.status().await.expect("status").pid);
    let file = leases.join(format!("leases/{}.lock", id_of(&session).await));
    std::fs::remove_dir_all(&leases).expect("removed");
    session.query("PROMPT-2").await.expect("it is mended");
    assert!(file.exists());
    std::fs::remove_file(&file).expect("removed");
    let theirs = std::fs::File::create(&file).expect("made");
    theirs.try_lock().expect("it is free");
    let error = session.query("PROMPT-3").await.expect_err("refused");
    assert_eq!(error.kind(), QueryErrorKind::LeaseLost, "{error}");
    assert!(error.is_retryable());
    let status = session.status().await.expect("status");
    assert!(status.removed.is_some_and(|why| why.contains("held by")));
    drop(theirs);
    session.query("PROMPT-4").await.expect("it is free, and had again");
    let status = session.status().await.expect("status");
    assert_eq!((status.removed, status.pid, status.restarts), (None, pid, 0));
    assert_eq!(lab.times_in_transcript(&id_of(&session).await, "PROMPT-3"), 0);
    end(&session).await;
}

#[tokio::test]
async fn a_name_that_a_live_session_holds_is_taken_and_free_again_when_it_is_stopped() {
    let lab = Lab::new();
    let first = Session::start(lab.options("assistant")).await.expect("started");
    let error = Session::start(lab.options("assistant")).await.expect_err("taken");
    assert_eq!(error.kind(), StartErrorKind::NameTaken, "{error}");
    assert!(error.to_string().contains("assistant"), "{error}");
    first.query("My name is Alice").await.expect("the first goes on");
    end(&first).await;
    let again = Session::start(lab.options("assistant")).await.expect("started again");
    let answer = again.query("What is my name?").await.expect("answered");
    assert!(answer.text.contains("Alice"), "{answer}");
    end(&again).await;
}
