//! Starts in an untidy world: a CLI that hangs once, and a disk that is full for a while.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use treewarden::session::{FailureKind, QueryErrorKind, SessionState};
use treewarden::{Session, SessionOptions};
use treewarden_end_to_end::{Lab, end, eventually, fake_cli_path, reaches};
use treewarden_testkit::faults;

/// A CLI that is a script, in which `$CLI` is the fake CLI and `$D` the lab's folder.
fn script(lab: &Lab, text: &str) -> PathBuf {
    let path = lab.path().join("claude-cli");
    let head = format!("#!/bin/sh\nCLI='{}'; D='{}'", fake_cli_path().display(), lab.path().display());
    fs::write(&path, format!("{head}\n{text}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
    path
}

/// A CLI that hangs has an hour, and a turn has ten seconds: where the next turn had to wait for it, none would be answered.
#[tokio::test]
async fn a_cli_that_hangs_in_its_start_outlives_one_turn_and_no_other() {
    let lab = Lab::new();
    let cli = script(&lab, "[ -e $D/hung ] || { touch $D/hung; exec sleep 3600; }; exec $CLI \"$@\"");
    let spec = lab.spec("a").cli_path(cli).timeout(Duration::from_secs(10));
    let options = SessionOptions::from(spec).host(&lab.host).start_timeout(Duration::from_secs(3600));
    let session = Session::start(options).await.expect("started");
    let error = session.query("PROMPT-1").await.expect_err("its CLI hangs");
    assert_eq!(error.kind(), QueryErrorKind::Failed(FailureKind::TimedOut), "{error}");
    // On a slow machine the next CLI may take the time of a turn as well; it is not ended for that.
    let answer = eventually("the next CLI answers", async || session.query("PROMPT-2").await.ok()).await;
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    assert_eq!(session.status().await.expect("status").restarts, 0, "it is no crash");
    end(&session).await;
}

/// A wrapper that cannot write while the disk is full. More of them end than may for another reason, and the turn is carried on.
#[tokio::test]
async fn a_turn_that_was_sent_is_carried_on_when_the_disk_has_room_again() {
    let lab = Lab::new();
    let full = "echo full >> $D/starts; echo 'Error: ENOSPC: no space left on device, write' >&2; exit 1";
    let cli = script(&lab, &format!("[ ! -e $D/full ] || {{ {full}; }}; exec $CLI \"$@\""));
    let options = SessionOptions::from(lab.spec("a").cli_path(cli)).host(&lab.host);
    let session = Session::start(options).await.expect("started");
    let turn = session.stream("PROMPT-1 HANG ONCE=1").await.expect("opened");
    reaches(&session, SessionState::Busy).await;
    // Killed before it has the prompt, it would hang in the next CLI, whose first attempt that would be.
    let attempts = lab.path().join("claude/fake-attempts");
    eventually("the CLI has the prompt", async || {
        let counted = fs::read_dir(&attempts).ok()?.next()?.ok()?;
        (fs::read_to_string(counted.path()).ok()? == "1").then_some(())
    })
    .await;
    fs::write(lab.path().join("full"), "").expect("written");
    let pid = session.status().await.expect("status").pid.expect("its CLI lives");
    faults::kill(pid).expect("killed");
    eventually("more starts than may end otherwise", async || {
        let starts = fs::read_to_string(lab.path().join("starts")).ok()?;
        (starts.lines().count() > 5).then_some(())
    })
    .await;
    let reason = session.status().await.expect("status").reason.expect("it says what it waits for");
    assert!(reason.contains("ENOSPC"), "{reason}");
    fs::remove_file(lab.path().join("full")).expect("there");
    let answer = turn.answer().await.expect("it is carried on");
    assert_eq!(answer.interruptions, 1);
    assert_eq!(session.status().await.expect("status").restarts, 1, "the kill, and nothing else");
    end(&session).await;
}
