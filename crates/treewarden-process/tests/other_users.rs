//! What another user left behind is that user's: it keeps nobody else from starting.
//!
//! The hosts are this test program, run again with a role.
#![cfg(target_os = "linux")]

#[path = "support/roles.rs"]
mod roles;
mod support;

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use roles::{Copied, NOBODY, can_have, is_root, role, said, starter_is_gone};
use support::{Killed, lives, start, until};
use treewarden_process::{ContainmentPolicy, Cookie, Ladder, adopt_orphans, prove_gone, sweep};

const SCRIPT: &str = "trap 'exit' TERM; setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 600; done' & \
                      while :; do sleep 0.05; done";

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_host() {
    if role().is_none() {
        return;
    }
    let (mut tree, cookie) = start(SCRIPT, ContainmentPolicy::Best).await;
    let detached = support::line(&mut tree.take_stdout().expect("once")).await;
    println!("\nhost {} {detached} {} {}", tree.pid(), cookie.as_str(), tree.containment());
    starter_is_gone().await;
}

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_other_user() {
    let Some(what) = role() else { return };
    let (cookie, detached) = what.split_once(' ').expect("two words");
    let swept = sweep().await.expect("it comes to an end");
    let lived = lives(detached.parse().expect("an id"));
    let others =
        prove_gone(Cookie::new(cookie)).await.map_or_else(|error| error.to_string(), |_| "gone".to_owned());
    let own = prove_gone(support::cookie()).await;
    println!("\nother left={} lived={lived} own={} others={others}", swept.left.len(), own.is_ok());
}

#[test]
fn what_another_user_left_is_left_alone_and_keeps_nobody_from_starting() {
    // In namespaces of its own, where no other test's host sweeps.
    let alone = ["unshare", "--pid", "--net", "--fork", "--mount-proc"];
    if !is_root("another user") || !can_have(&alone) {
        return;
    }
    assert_eq!(said(&mut Copied::new().command(&alone, "as_scene", "alone"), "scene"), "done");
}

/// A host of which a tool becomes the super-user's, and so cannot be ended.
#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_host_of_a_refused() {
    let Some(becomes_root) = role() else { return };
    adopt_orphans().expect("it may");
    let tool = "echo $$ >tool.new; mv tool.new tool; exec sleep 600";
    let folder = std::env::current_dir().expect("there is one");
    let script = format!(
        "cd {}; (setsid {becomes_root} sh -c '{tool}' >/dev/null 2>&1 </dev/null &); while :; do sleep 600; done",
        folder.display()
    );
    let (tree, cookie) = start(&script, ContainmentPolicy::GroupAndCookie).await;
    until("the tool is another user's", || folder.join("tool").exists()).await;
    let tool = std::fs::read_to_string("tool").expect("it is there").trim().parse().expect("an id");
    println!("\ntool {tool}");
    until("it is an orphan", || support::field(tool, 1) == Some(std::process::id().to_string())).await;
    let stopped = tree.stop(Ladder::kill(), None).await.map_err(|error| error.to_string());
    let others = prove_gone(support::cookie()).await.is_ok();
    let proven = prove_gone(cookie.clone()).await.map_err(|error| error.to_string());
    println!("\nrefused {others} {} | {}", stopped.unwrap_err(), proven.unwrap_err());
    until("somebody else ends it", || !lives(tool)).await;
    println!("\nfree {}", prove_gone(cookie).await.is_ok());
}

#[test]
fn what_became_another_users_is_named_and_keeps_its_session_from_starting_while_it_lives() {
    if !is_root("another user") {
        return;
    }
    let copied = Copied::new();
    let (becomes_root, setpriv) = (copied.path("becomes-root"), "/usr/bin/setpriv");
    let made = Command::new("cp").arg(setpriv).arg(&becomes_root).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: there is no {setpriv}");
        return;
    }
    std::fs::set_permissions(&becomes_root, Permissions::from_mode(0o4755)).expect("it is ours");
    let what = format!("{} --reuid=0 --regid=0 --clear-groups", becomes_root.display());
    let mut host = copied.command(&[], "as_host_of_a_refused", &what);
    let mut host = host.uid(NOBODY).stdout(Stdio::piped()).spawn().expect("this program can be run");
    let mut lines = BufReader::new(host.stdout.take().expect("it was asked for")).lines();
    let mut said_of = |word: &str| {
        lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.strip_prefix(word)?.to_owned()))
    };
    let tool = said_of("tool ").expect("it says so");
    let end = Killed(tool.parse().expect("an id"));
    let errors = said_of("refused ").expect("it says so");
    // By its id and not by its name: it is a shell that may not have become its `sleep` yet.
    let named = format!("(pid {tool}) of user 0 may not be ended by this user");
    assert!(errors.starts_with("true ") && errors.matches(&named).count() == 2, "{errors}");
    drop(end);
    assert_eq!(said_of("free ").as_deref(), Some("true"));
    host.wait().expect("it is our child");
}

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_scene() {
    if role().is_none() {
        return;
    }
    let copied = Copied::new();
    for (left_by, found_by) in [(0, NOBODY), (NOBODY, 0)] {
        let mut host = copied.command(&[], "as_host", "best");
        let host = host.uid(left_by).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut host = host.spawn().expect("this program can be run");
        let lines = BufReader::new(host.stdout.take().expect("it was asked for")).lines();
        let said_by_it =
            lines.map_while(Result::ok).find(|line| line.starts_with("host ")).expect("it says so");
        let words: Vec<&str> = said_by_it.split_whitespace().collect();
        let (leader, detached) = (words[1].parse().expect("an id"), words[2].parse().expect("an id"));
        let _ends = [Killed(leader), Killed(detached)];
        host.kill().expect("it lives");
        host.wait().expect("it is our child");
        until("the kernel has told the leader", || !lives(leader)).await;
        let mut other = copied.command(&[], "as_other_user", &format!("{} {detached}", words[3]));
        let answer = said(other.uid(found_by), "other");
        assert!(answer.starts_with("left=0 lived=true own=true "), "{answer}");
        if found_by == 0 {
            // Root may prove a session of its own gone, whoever left it.
            assert!(answer.ends_with("others=gone") && !lives(detached), "{answer}");
        } else if words[4] == "cgroup" {
            // For a session of one's own it is a condition: it may still write there.
            let named = format!("(pid {detached})");
            assert!(answer.contains(&named) && answer.contains("may not be ended by this user"), "{answer}");
            assert!(lives(detached), "{answer}");
        }
    }
    println!("\nscene done");
}
