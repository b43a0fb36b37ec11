//! What happens to a tree when its host dies, or has nothing left to look with.
//!
//! The host is this test program, run again with a role.
#![cfg(target_os = "linux")]

#[path = "support/roles.rs"]
mod roles;
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use roles::{rerun, role, starter_is_gone};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Killed, lives, marked, start, until};
use treewarden_process::{ContainmentPolicy, Cookie, Ladder, sweep};

/// A host with one tree: a leader that tidies up on SIGTERM, and a detached child that nobody tells of its end.
struct Host {
    process: Child,
    leader: u32,
    detached: u32,
    cookie: Cookie,
    _ends: [Killed; 2],
}

impl Host {
    fn start(policy: &str) -> Self {
        let mut process =
            rerun("host", policy).stdin(Stdio::piped()).spawn().expect("this program can be run");
        let mut said = String::new();
        let mut lines = BufReader::new(process.stdout.take().expect("it was asked for"));
        while !said.starts_with("host ") {
            said.clear();
            assert!(lines.read_line(&mut said).expect("text") > 0, "the host said nothing");
        }
        let words: Vec<&str> = said.split_whitespace().collect();
        let (leader, detached) = (words[1].parse().expect("an id"), words[2].parse().expect("an id"));
        let ends = [Killed(leader), Killed(detached)];
        Self { process, leader, detached, cookie: Cookie::new(words[3]), _ends: ends }
    }

    fn kill(&mut self) {
        self.process.kill().expect("it lives");
        self.process.wait().expect("it is our child");
    }
}

fn policy() -> Option<ContainmentPolicy> {
    match role()?.as_str() {
        "best" => Some(ContainmentPolicy::Best),
        _ => Some(ContainmentPolicy::GroupAndCookie),
    }
}

const SCRIPT: &str = "trap 'echo cleaned >&2; exit 0' TERM; setsid sh -c 'trap \"\" TERM; echo $$; \
                      while :; do sleep 600; done' & while :; do sleep 0.05; done";

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_host() {
    let Some(policy) = policy() else { return };
    let (mut tree, cookie) = start(SCRIPT, policy).await;
    let detached = support::line(&mut tree.take_stdout().expect("once")).await;
    println!("\nhost {} {detached} {}", tree.pid(), cookie.as_str());
    starter_is_gone().await;
}

// One test, as a sweep is about all dead hosts.
#[tokio::test]
async fn a_dead_hosts_leaders_end_at_once_and_a_sweep_ends_the_rest_and_nothing_of_a_live_host() {
    for policy in ["best", "group"] {
        let (mut dead, mut alive) = (Host::start(policy), Host::start(policy));
        dead.kill();
        until("the kernel has told the leader", || !lives(dead.leader)).await;
        assert!(lives(dead.detached), "it ignores what reaches it");
        let swept = sweep().await.expect("what is left can be ended");
        assert!(swept.processes >= 1, "{swept:?}");
        assert!(!lives(dead.detached));
        assert_eq!(marked(&dead.cookie), [0_u32; 0]);
        assert!(swept.left.is_empty(), "{swept:?}");
        sweep().await.expect("nothing is left");
        assert!(lives(alive.leader) && lives(alive.detached), "a live host's processes were touched");
        drop(alive.process.stdin.take());
        alive.process.wait().expect("it is our child");
        until("its tree is gone", || !lives(alive.leader)).await;
        let gone = treewarden_process::prove_gone(alive.cookie.clone()).await;
        gone.expect("it can be ended");
        assert!(!lives(alive.detached));
    }
}

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_starved() {
    let Some(policy) = policy() else { return };
    let (mut tree, _) = start(SCRIPT, policy).await;
    let detached: u32 =
        support::line(&mut tree.take_stdout().expect("once")).await.parse().expect("a process id");
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum: limits.maximum })
        .expect("it may be lowered");
    // Not to wait for anything: the stop must not succeed before this.
    let relief = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        setrlimit(Resource::Nofile, limits).expect("it may be raised again");
    });
    let stopped = tree.stop(Ladder::kill(), None).await;
    relief.join().expect("it does not panic");
    let was_alive = lives(detached);
    let _end = Killed(detached);
    println!("\nstarved {} {was_alive}", stopped.is_ok());
}

#[test]
fn a_host_without_descriptors_does_not_take_a_living_tree_for_gone() {
    for policy in ["best", "group"] {
        let output = rerun("starved", policy).output().expect("this program can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("\nstarved true false"), "{policy}: {said}");
    }
}
