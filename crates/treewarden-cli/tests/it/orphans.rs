//! What a session's tools leave behind comes to the daemon, which reaps it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::{World, eventually};

const ALONE: [&str; 5] = ["--pid", "--fork", "--kill-child", "--mount-proc", "--"];

/// The parent of a process and its state.
fn stat(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.to_owned();
    Some((fields.next()?.parse().ok()?, state))
}

fn children(parent: u32) -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").expect("/proc can be read").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| stat(pid).filter(|stat| stat.0 == parent).map(|stat| (pid, stat.1))).collect()
}

/// A world whose CLI leaves orphans: two that end at once, and one that stays.
fn world() -> World {
    let world = World::with("[[child]]\nname = \"a\"\ncli_path = \"./leaves-orphans\"\n");
    let (done, own, stays) = (world.path("done"), world.path("claude-stand-in"), world.path("stays"));
    let script = format!(
        "#!/bin/sh\n(setsid sh -c 'sleep 0.1; echo >>{done}' >/dev/null 2>&1 &)\n\
         (sh -c 'sleep 0.1; echo >>{done}' >/dev/null 2>&1 &)\n\
         (setsid sh -c 'echo >{stays}; exec sleep 600' >/dev/null 2>&1 &)\nexec {own} \"$@\"\n",
        done = done.display(),
        stays = stays.display(),
        own = own.display()
    );
    fs::write(world.path("leaves-orphans"), script).expect("it can be written");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(world.path("leaves-orphans"), executable).expect("it is ours");
    world
}

/// Runs a turn whose CLI leaves orphans, and waits until none of them is a zombie and the one that stays is the daemon's.
fn reaps(world: &World, daemon: u32) {
    assert_eq!(world.run(&["ask", "a", "hello"]).status.code(), Some(0), "{}", world.log());
    eventually("both have ended", || {
        Some(()).filter(|()| fs::read(world.path("done")).is_ok_and(|done| done.len() == 2))
    });
    eventually("the one that stays came to the daemon, and no zombie is there", || {
        let children = children(daemon);
        Some(()).filter(|()| children.len() == 2 && children.iter().all(|(_, state)| state != "Z"))
    });
    assert_eq!(world.run(&["stop", "a"]).status.code(), Some(0));
    // Whoever stops a session is answered when all of it is dead; the dead are reaped a moment later.
    let left = children(daemon);
    assert!(left.iter().all(|(_, state)| state == "Z"), "{left:?}");
    eventually("the daemon has no child any more", || Some(()).filter(|()| children(daemon).is_empty()));
}

#[test]
fn orphans_of_a_tool_are_no_zombies_of_the_daemon() {
    let world = world();
    let daemon = world.daemon();
    reaps(&world, daemon.pid());
}

#[test]
fn orphans_of_a_tool_are_no_zombies_of_a_daemon_that_is_process_1() {
    let can = Command::new("unshare").args(ALONE).arg("true").stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("skipped: no namespace of process ids can be had here");
        return;
    }
    let world = world();
    let outer = world.start_below("unshare", &ALONE, &["run", "--state-dir", "state"]);
    eventually("the daemon listens", || std::os::unix::net::UnixStream::connect(world.socket()).ok());
    let inner = children(outer.pid()).first().expect("it listens").0;
    assert!(world.log().contains("this is process 1"), "{}", world.log());
    reaps(&world, inner);
}
