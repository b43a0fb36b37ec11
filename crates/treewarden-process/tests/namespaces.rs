//! A host in other namespaces than ours counts ids and times otherwise, and must not end what is ours.
//!
//! That host is this test program, run again with a role.
#![cfg(target_os = "linux")]

#[path = "support/roles.rs"]
mod roles;
mod support;

use roles::{Copied, can_have, is_root, role, said};
use support::{POLICIES, lives, start};
use treewarden_process::{Cookie, Ladder, prove_gone, sweep};

const SCRIPT: &str = "setsid sh -c 'echo $$; exec sleep 600' & while :; do sleep 600; done";

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_other_host() {
    let Some(cookie) = role() else { return };
    let swept = sweep().await.expect("it comes to an end");
    let gone = prove_gone(Cookie::new(cookie)).await;
    let gone = gone.map_or_else(|error| error.to_string(), |gone| format!("gone {}", gone.found()));
    println!("\nother left={} {gone}", swept.left.len());
}

/// The ways to count otherwise, and whether the processes are to be seen there.
const WAYS: [(&[&str], bool); 5] = [
    (&["unshare", "--time", "--boottime", "100000"], true),
    (&["unshare", "--net"], true),
    (&["unshare", "--net", "--time", "--boottime", "100000"], true),
    (&["unshare", "--pid", "--fork", "--mount-proc"], false),
    (&["unshare", "--pid", "--fork", "--mount-proc", "--net", "--time", "--boottime", "-1"], false),
];

#[tokio::test]
async fn a_host_in_another_namespace_of_times_or_ids_ends_nothing_of_a_live_host() {
    if !is_root("other namespaces") {
        return;
    }
    let copied = Copied::new();
    for policy in POLICIES {
        let (mut tree, cookie) = start(SCRIPT, policy).await;
        let child = support::line(&mut tree.take_stdout().expect("once")).await;
        let child: u32 = child.parse().expect("a process id");
        for (way, is_seen) in WAYS {
            if !can_have(way) {
                continue;
            }
            let mut other = copied.command(way, "as_other_host", cookie.as_str());
            let answer = tokio::task::spawn_blocking(move || said(&mut other, "other"));
            let answer = answer.await.expect("it does not panic");
            assert!(lives(tree.pid().get()) && lives(child), "{policy:?} {way:?}: {answer}");
            assert!(answer.starts_with("left=0 "), "{policy:?} {way:?}: {answer}");
            if is_seen || *tree.containment() == treewarden_process::Containment::Cgroup {
                assert!(answer.contains("a host that lives"), "{policy:?} {way:?}: {answer}");
            }
        }
        tree.stop(Ladder::kill(), None).await.expect("it can be ended");
    }
}
