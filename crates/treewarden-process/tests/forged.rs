//! What a tool or another user makes up, a mark or a place in a cgroup, ends nobody else and keeps nobody from starting.
//!
//! The hosts are this test program, run again with a role.
#![cfg(target_os = "linux")]

#[path = "support/roles.rs"]
mod roles;
mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use roles::{Copied, NOBODY, is_root, role, said};
use support::{Killed, lives, start, until};
use treewarden_process::{Containment, ContainmentPolicy, Ladder, Rung, adopt_orphans, prove_gone};

/// A host that nobody can tell anything of.
const UNKNOWN: &str = "1:1:1";

fn sleeps(user: u32, cookie: &str) -> Child {
    let mut sleep = Command::new("/bin/sleep");
    sleep.arg("600").uid(user).env("TREEWARDEN_SESSION", cookie).env("TREEWARDEN_HOST", UNKNOWN);
    sleep.spawn().expect("it can be run")
}

#[tokio::test]
async fn a_mark_that_another_user_carries_keeps_no_session_from_starting() {
    if !is_root("another user") {
        return;
    }
    for user in [NOBODY, 0] {
        let cookie = support::cookie();
        let mut forger = sleeps(user, cookie.as_str());
        let pid = forger.id();
        until("it carries the mark", || support::marked(&cookie).contains(&pid)).await;
        let proven = prove_gone(cookie).await.map(drop).map_err(|error| error.to_string());
        assert_eq!((proven.is_ok(), lives(pid)), (user == NOBODY, true), "{user}: {proven:?}");
        forger.kill().expect("it lives");
        forger.wait().expect("it is our child");
    }
}

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_host_of_a_forger() {
    if role().is_none() {
        return;
    }
    adopt_orphans().expect("it may");
    let folder = std::env::current_dir().expect("there is one");
    let tool = "echo $$ >tool.new; mv tool.new tool; exec sleep 600";
    let marks = format!("TREEWARDEN_TREE=00000000-0000-4000-8000-000000000000 TREEWARDEN_HOST={UNKNOWN}");
    let script = format!(
        "cd {}; (setsid env -i {marks} sh -c '{tool}' >/dev/null 2>&1 </dev/null &); while :; do sleep 600; done",
        folder.display()
    );
    let (tree, _cookie) = start(&script, ContainmentPolicy::GroupAndCookie).await;
    until("the tool runs", || folder.join("tool").exists()).await;
    let tool = fs::read_to_string("tool").expect("it is there").trim().parse().expect("an id");
    let _ends = Killed(tool);
    until("it is an orphan", || support::field(tool, 1) == Some(std::process::id().to_string())).await;
    let ladder = Ladder::default().rung(Rung::Terminate, std::time::Duration::from_secs(5));
    tree.stop(ladder, None).await.expect("it is gone");
    println!("\nforger lives={}", lives(tool));
}

#[test]
fn an_orphan_that_carries_a_mark_of_nobodys_tree_is_ended_with_the_tree_that_left_it() {
    assert_eq!(said(&mut Copied::new().command(&[], "as_host_of_a_forger", "now"), "forger"), "lives=false");
}

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_host_that_is_moved() {
    if role().is_none() {
        return;
    }
    let sleep = "while :; do sleep 600; done";
    let (tree, _cookie) = start(sleep, ContainmentPolicy::Best).await;
    let (other, _other) = start(sleep, ContainmentPolicy::Best).await;
    if *tree.containment() != Containment::Cgroup {
        println!("\nmoved nothing");
        return;
    }
    let place = |pid: u32| {
        let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
        lines.lines().find_map(|line| line.strip_prefix("0::").map(str::to_owned)).expect("the unified one")
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it is there");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("there is one");
    let (own, its) = (place(std::process::id()), place(tree.pid().get()));
    let below = its.strip_prefix(own.trim_end_matches('/')).expect("it was made below ours");
    let at = format!("{}{own}{below}", mount.split(' ').nth(4).expect("where it is"));
    for moved in [std::process::id(), other.pid().get()] {
        fs::write(format!("{at}/cgroup.procs"), moved.to_string()).expect("root may");
    }
    tree.stop(Ladder::kill(), None).await.expect("it is gone");
    let is_home = [std::process::id(), other.pid().get()].map(|pid| place(pid) == own);
    println!("\nmoved other={} home={is_home:?}", lives(other.pid().get()));
    other.stop(Ladder::kill(), None).await.expect("it is gone");
}

#[test]
fn who_was_moved_into_the_cgroup_of_a_session_is_not_ended_with_it() {
    if !is_root("a cgroup above one's own") {
        return;
    }
    match said(&mut Copied::new().command(&[], "as_host_that_is_moved", "now"), "moved").as_str() {
        "nothing" => println!("skipped: no cgroup can be made here"),
        moved => assert_eq!(moved, "other=true home=[true, true]"),
    }
}
