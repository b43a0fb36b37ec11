//! A CLI that works by itself, or has background tasks: turns wait for the one, and neither is ended for convenience.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use treewarden::session::SessionState;
use treewarden::{Host, Session, SessionOptions};
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{Lab, PATIENCE, end, eventually, fake_cli_path, id_of, reaches};
use treewarden_testkit::mock_api::{Reply, Request};

/// A fake CLI that prints, besides its own frames, what the test hands it.
struct Puppet {
    pipe: PathBuf,
    strings: File,
}

/// What the CLI says between its turns comes through a pipe of the test's.
const SCRIPT: &str = "#!/bin/sh\ncat <> \"$TW_PIPE\" &\nexec \"$TW_FAKE\" \"$@\"\n";

impl Puppet {
    fn new(lab: &Lab) -> Self {
        let (cli, pipe) = (lab.path().join("puppet"), lab.path().join("strings"));
        std::fs::write(&cli, SCRIPT).expect("a script can be written");
        for (program, args) in [("chmod", ["755"].as_slice()), ("mkfifo", &[])] {
            let path = if program == "mkfifo" { &pipe } else { &cli };
            let done = std::process::Command::new(program).args(args).arg(path).status();
            assert!(done.is_ok_and(|status| status.success()), "{program} works");
        }
        let strings = File::options().read(true).write(true).open(&pipe).expect("the pipe opens");
        Self { pipe, strings }
    }

    fn options(&self, lab: &Lab, name: &str, host: &Host) -> SessionOptions {
        let spec = lab
            .spec(name)
            .cli_path(lab.path().join("puppet"))
            .env("TW_PIPE", self.pipe.display().to_string())
            .env("TW_FAKE", fake_cli_path().display().to_string());
        SessionOptions::from(spec).host(host)
    }

    fn prints(&mut self, frame: &str) {
        writeln!(self.strings, "{frame}").expect("the pipe takes a line");
    }

    /// Says that it works, until that is seen: it may be about to say that it is idle after its turn.
    async fn works(&mut self, session: &Session) {
        eventually("its work is seen", async || {
            self.prints(
                r#"{"type":"system","subtype":"task_notification","task_id":"t","status":"completed"}"#,
            );
            self.prints(r#"{"type":"system","subtype":"session_state_changed","state":"running"}"#);
            (session.status().await.ok()?.state == SessionState::Working).then_some(())
        })
        .await;
    }

    fn is_idle(&mut self) {
        self.prints(r#"{"type":"system","subtype":"session_state_changed","state":"idle"}"#);
    }

    fn has_tasks(&mut self, tasks: &str) {
        let frame = format!(r#"{{"type":"system","subtype":"background_tasks_changed","tasks":[{tasks}]}}"#);
        self.prints(&frame);
    }
}

fn ask(session: &Session, prompt: &'static str) -> tokio::task::JoinHandle<String> {
    let session = session.clone();
    tokio::spawn(async move { session.query(prompt).await.expect("answered").text })
}

/// Waits until the task is known; if it never is, the status tells whether the frame was skipped, or its CLI is gone.
async fn has_one_task(session: &Session) {
    let status = async || session.status().await.expect("status");
    let known = async {
        while status().await.background_tasks != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, known).await;
    assert!(seen.is_ok(), "a frame that was printed once is not seen: {:?}", status().await);
}

async fn has_queued(session: &Session) {
    eventually("the turn is opened", async || (session.status().await.ok()?.queued == 1).then_some(())).await;
}

#[tokio::test]
async fn a_turn_waits_until_the_cli_has_done_what_it_does_by_itself() {
    let lab = Lab::new();
    let mut puppet = Puppet::new(&lab);
    let session = Session::start(puppet.options(&lab, "puppet", &lab.host)).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    puppet.works(&session).await;
    assert_eq!(session.status().await.expect("status").own_work, Some("task_ended"));
    let waiting = ask(&session, "PROMPT-2");
    has_queued(&session).await;
    let status = session.status().await.expect("status");
    assert_eq!((status.state, status.turn), (SessionState::Working, None));
    assert_eq!(lab.times_in_transcript(&id_of(&session).await, "PROMPT-2"), 0, "it is not sent");
    puppet.is_idle();
    assert!(waiting.await.expect("no panic").contains("answer to PROMPT-2"));
    assert_eq!(session.status().await.expect("status").own_work, None);
    end(&session).await;
}

#[tokio::test]
async fn an_interrupt_says_whether_a_turn_or_the_clis_own_work_ran() {
    let lab = Lab::new();
    let mut puppet = Puppet::new(&lab);
    let session = Session::start(puppet.options(&lab, "puppet", &lab.host)).await.expect("started");
    let interrupted = async || session.interrupt().await.expect("the session is there");
    assert!(!interrupted().await, "it has no CLI");
    session.query("PROMPT-1").await.expect("answered");
    reaches(&session, SessionState::Ready).await;
    assert!(!interrupted().await, "its CLI is idle");
    puppet.has_tasks(r#"{"task_id":"t","task_type":"local_bash","description":"a server"}"#);
    has_one_task(&session).await;
    assert!(!interrupted().await, "a background task is no work of the moment, and goes on");
    puppet.works(&session).await;
    assert!(interrupted().await, "its CLI works by itself");
    puppet.is_idle();
    assert!(session.query("PROMPT-2").await.expect("answered").text.contains("answer to PROMPT-2"));
    end(&session).await;
}

#[tokio::test]
async fn a_turn_that_waits_for_own_work_can_be_cancelled_and_is_sent_when_its_wait_is_over() {
    let lab = Lab::new();
    let mut puppet = Puppet::new(&lab);
    let options = puppet.options(&lab, "puppet", &lab.host).own_work_wait(Duration::from_millis(300));
    let session = Session::start(options).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    puppet.works(&session).await;
    let waiting = session.stream("PROMPT-2").await.expect("opened");
    session.cancel(waiting.id()).await.expect("the session is there");
    assert!(waiting.answer().await.is_err(), "it was cancelled");
    // The CLI never says that it is idle.
    assert!(session.query("PROMPT-3").await.expect("answered").text.contains("answer to PROMPT-3"));
    end(&session).await;
}

#[tokio::test]
async fn a_cli_with_background_tasks_gives_its_place_to_nobody() {
    let lab = Lab::new();
    let host = Host::options().state_dir(lab.path().join("crowded")).max_live(1).open().expect("a host");
    let mut puppet = Puppet::new(&lab);
    let session = Session::start(puppet.options(&lab, "puppet", &host)).await.expect("started");
    let other = SessionOptions::from(lab.spec("other")).host(&host);
    let other = Session::start(other).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    puppet.has_tasks(r#"{"task_id":"t","task_type":"local_bash","description":"a server"}"#);
    has_one_task(&session).await;
    let waiting = ask(&other, "PROMPT-2");
    reaches(&other, SessionState::Starting).await;
    // The turn goes through the same engine as a request for the place would have.
    session.query("PROMPT-3").await.expect("answered");
    assert_eq!((session.status().await.expect("status").generation, waiting.is_finished()), (1, false));
    puppet.has_tasks("");
    assert!(waiting.await.expect("no panic").contains("answer to PROMPT-2"));
    assert_eq!(session.status().await.expect("status").state, SessionState::Parked);
    end(&session).await;
    end(&other).await;
}

/// The first prompt begins a background task; the turn about its end takes a while.
fn reply(request: &Request) -> Reply {
    let last = request.content.as_ref().and_then(|content| content.users.last().cloned()).unwrap_or_default();
    if last.contains("<task-notification>") && !last.contains("PROMPT-") {
        return Reply::text("noted").delay(Duration::from_secs(2));
    }
    if last.contains("PROMPT-0") && !request.after_tool {
        let input = serde_json::json!({
            "command": "echo done", "description": "a task", "run_in_background": true,
        });
        return Reply::tool("Bash", input);
    }
    Reply::from_words(request)
}

#[tokio::test]
async fn the_real_cli_ends_its_own_turn_before_the_next_of_ours_and_is_not_parked_at_it() {
    let Some(real) = RealLab::replying(reply).await else { return };
    let options = real.options("real").idle_timeout(Duration::from_millis(500));
    let session = Session::start(options).await.expect("started");
    session.query("PROMPT-0").await.expect("answered");
    reaches(&session, SessionState::Working).await;
    let answer = session.query("PROMPT-1").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-1"), "{answer}");
    // A prompt that was woven into the other turn would stand there under another id.
    assert_eq!(session.unsaved().await.expect("the session is there"), None);
    let status = session.status().await.expect("status");
    assert_eq!((status.generation, status.restarts), (1, 0), "it was not parked at its work");
    reaches(&session, SessionState::Parked).await;
    session.stop().await.expect("stopped");
}
