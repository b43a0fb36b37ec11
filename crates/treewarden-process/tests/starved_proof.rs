//! A proof, or a sweep, that has no descriptors for a while: what lies in a cgroup alone is not taken for absent.
//!
//! The hosts are this test program, run again with a role.
#![cfg(target_os = "linux")]

#[path = "support/roles.rs"]
mod roles;
mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use roles::{rerun, role, starter_is_gone};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Killed, lives, start, until};
use treewarden_process::{Containment, ContainmentPolicy, Cookie, prove_gone, sweep};

/// A leader, and a child of it that carries no mark, is in a session of its own, and ends by SIGKILL alone.
const SCRIPT: &str =
    "setsid env -i /bin/sh -c 'trap \"\" TERM; echo $$; exec sleep 600' & while :; do sleep 0.05; done";

#[tokio::test]
#[ignore = "a role of the test here"]
async fn as_host() {
    if role().is_none() {
        return;
    }
    let (mut tree, cookie) = start(SCRIPT, ContainmentPolicy::Best).await;
    let hidden = support::line(&mut tree.take_stdout().expect("once")).await;
    let contained = *tree.containment() == Containment::Cgroup;
    println!("\nhost {} {hidden} {} {contained}", tree.pid(), cookie.as_str());
    starter_is_gone().await;
}

#[tokio::test]
#[ignore = "a role of the test here"]
async fn as_starved() {
    let Some(what) = role() else { return };
    // A host that has looked before, so that only the look itself is starved.
    prove_gone(support::cookie()).await.expect("there is none");
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum: limits.maximum })
        .expect("it may be lowered");
    // Not to wait for anything: neither must succeed before this.
    let relief = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        setrlimit(Resource::Nofile, limits).expect("it may be raised again");
    });
    let ended = match &*what {
        "" => sweep().await.is_ok_and(|swept| swept.left.is_empty()),
        cookie => prove_gone(Cookie::new(cookie)).await.is_ok(),
    };
    relief.join().expect("it does not panic");
    println!("\nstarved {ended}");
}

#[tokio::test]
async fn what_lies_in_a_cgroup_alone_is_found_though_there_were_no_descriptors_at_first() {
    for sweeps in [false, true] {
        let mut host = rerun("host", "host").stdin(Stdio::piped()).spawn().expect("this program can be run");
        let lines = BufReader::new(host.stdout.take().expect("it was asked for")).lines();
        let said = lines.map_while(Result::ok).find(|line| line.starts_with("host ")).expect("it says so");
        let words: Vec<&str> = said.split_whitespace().collect();
        let [leader, hidden] = [words[1], words[2]].map(|word| word.parse::<u32>().expect("an id"));
        let _ends = [Killed(leader), Killed(hidden)];
        host.kill().expect("it lives");
        host.wait().expect("it is our child");
        if words[4] != "true" {
            println!("skipped: no cgroup can be made here");
            return;
        }
        until("the kernel has told the leader", || !lives(leader)).await;
        assert!(lives(hidden), "it ignores what reaches it");
        let output = rerun("starved", if sweeps { "" } else { words[3] }).output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("\nstarved true"), "{said}");
        assert!(!lives(hidden), "was taken for gone (by a sweep: {sweeps})");
    }
}
