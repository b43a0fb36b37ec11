//! A turn that may run once at most, where nothing can be stored.

use std::process::{Command, Stdio};

use crate::support::{World, eventually};

/// Lets files of the daemon grow no further, or any way again.
fn limit_files(pid: u32, limit: &str) {
    let pid = pid.to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:unlimited")]).status();
    assert!(set.is_ok_and(|status| status.success()), "the limit can be set");
}

#[test]
fn a_turn_that_may_run_once_is_not_sent_where_that_cannot_be_stored() {
    let world = World::new();
    // The second waits for the store as long as it may, and no longer.
    world.rewrite_all("", "delivery = \"at_most_once\"\ntimeout = \"60s\"", "[[child]]\nname = \"a\"\n");
    // At the limit the system would end the daemon by SIGXFSZ, where a full disk is an error of the write.
    let ignores = ["-c", "trap '' XFSZ; exec \"$@\"", "sh"];
    let daemon = world.start_below("sh", &ignores, &["run", "--state-dir", "state"]);
    eventually("the daemon listens", || std::os::unix::net::UnixStream::connect(world.socket()).ok());
    let first = world.run(&["ask", "a", "PROMPT-1 STREAM=10000:50", "--detach"]);
    assert!(first.status.success(), "{first:?}");
    world.when("a", "busy");
    let mut second = world.command(&["ask", "a", "PROMPT-2", "--json"]);
    let second = second.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it runs");
    eventually("it waits", || (world.session("a")["queued"] == 2).then_some(()));
    limit_files(daemon.pid(), "1");
    assert!(world.run(&["interrupt", "a"]).status.success());
    let output = second.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("so it was not sent"), "{said} {}", world.log());
    limit_files(daemon.pid(), "unlimited");
    let third = world.json(&["ask", "a", "PROMPT-3", "--json"]);
    assert_eq!(third["outcome"], "completed", "{third}");
    let heard =
        Command::new("grep").args(["-rhoE", "PROMPT-[0-9]"]).arg(world.path("home/projects")).output();
    let heard = String::from_utf8_lossy(&heard.expect("it runs").stdout).into_owned();
    assert!(heard.contains("PROMPT-3") && !heard.contains("PROMPT-2"), "{heard}");
    drop(daemon);
    world.nothing_is_left();
}
