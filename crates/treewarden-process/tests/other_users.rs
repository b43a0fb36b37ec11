//! What another user left behind is that user's: it keeps nobody else from starting.
//!
//! The hosts are this test program, run again with a role.
#![cfg(target_os = "linux")]

#[path = "support/roles.rs"]
mod roles;
mod support;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use roles::{Copied, NOBODY, can_have, is_root, role, said};
use support::{Killed, lives, start, until};
use treewarden_process::{ContainmentPolicy, Cookie, prove_gone, sweep};

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
    let until_it_dies = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    until_it_dies.await.expect("it reads").ok();
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
