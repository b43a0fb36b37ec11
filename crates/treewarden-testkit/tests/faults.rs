//! Processes that carry a cookie are found, and found gone.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::Duration;

use treewarden_testkit::faults::{assert_no_process_left, kill, processes_with_cookie};
use treewarden_testkit::poll_until;

#[test]
fn a_process_with_the_cookie_is_found_until_it_is_killed() {
    let cookie = format!("faults-{}", std::process::id());
    let mut child =
        Command::new("sleep").arg("60").env("TREEWARDEN_SESSION", &cookie).spawn().expect("sleep starts");
    let found = poll_until(Duration::from_secs(5), || {
        processes_with_cookie(&cookie).ok().filter(|pids| pids.contains(&child.id()))
    });
    kill(child.id()).expect("the child is ours");
    child.wait().expect("the child is reaped");
    assert!(found.is_some());
    assert_no_process_left(&cookie, Duration::from_secs(5));
}
