//! What lives on when a session is stopped is said: what may not be ended, and what may be somebody else's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use crate::support::{Killed, World, eventually};

/// Writes a program of the world's.
fn program(world: &World, name: &str, script: &str) {
    fs::write(world.path(name), format!("#!/bin/sh\n{script}\n")).expect("it can be written");
    fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn pid_in(world: &World, name: &str) -> u32 {
    eventually(name, || fs::read_to_string(world.path(name)).ok()?.trim().parse().ok())
}

fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_stop_fails_while_a_process_lives_that_may_not_be_ended_and_names_it() {
    let setpriv = fs::read("/usr/bin/setpriv").ok().filter(|_| rustix::process::geteuid().is_root());
    let Some(setpriv) = setpriv else {
        println!("skipped: only root can give a program to another user, and setpriv has to be there");
        return;
    };
    let mut world = World::with("[[child]]\nname = \"a\"\ncli_path = \"./becomes-another\"\n");
    let (becomes, tool, own) = (world.path("root"), world.path("tool"), world.path("claude-stand-in"));
    let script = format!(
        "[ -e {tool} ] || (setsid {becomes} --reuid=0 --regid=0 --clear-groups \
         sh -c 'echo $$ >{tool}; exec sleep 600' >/dev/null 2>&1 </dev/null &)\nexec {own} \"$@\"",
        tool = tool.display(),
        becomes = becomes.display(),
        own = own.display()
    );
    program(&world, "becomes-another", &script);
    world.give_away();
    fs::write(&becomes, setpriv).expect("it can be written");
    fs::set_permissions(&becomes, fs::Permissions::from_mode(0o4755)).expect("it is ours");
    let mut daemon = world.daemon();
    let asked = world.run(&["ask", "a", "hello"]);
    assert_eq!(asked.status.code(), Some(0), "{} {}", errors(&asked), world.log());
    let pid = pid_in(&world, "tool");
    let end = Killed(pid);
    eventually("it sleeps, as an orphan", || {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(()).filter(|()| name.trim() == "sleep" && parent(pid) == Some(daemon.pid()))
    });
    let named = format!("sleep (pid {pid}) of user 0 may not be ended by this user");
    for _ in 0..2 {
        let stopped = world.run(&["stop", "a"]);
        assert_eq!(stopped.status.code(), Some(1), "{}", world.log());
        let why = errors(&stopped);
        assert!(why.contains("a is stopped, but not gone") && why.contains(&named), "{why}");
    }
    let session = world.session("a");
    assert_eq!(session["state"], "stopped", "{session}");
    assert!(session["not_gone"].as_str().is_some_and(|why| why.contains(&named)), "{session}");
    let ps = String::from_utf8_lossy(&world.run(&["ps"]).stdout).into_owned();
    assert!(ps.contains("does not start while they do") && ps.contains(&named), "{ps}");
    let events = String::from_utf8_lossy(&world.run(&["events", "--json"]).stdout).into_owned();
    assert_eq!(events.matches("\"not_gone\"").count(), 1, "{events}");
    assert!(events.contains(&named), "{events}");
    // It would still write beside the next CLI.
    assert_eq!(world.run(&["start", "a"]).status.code(), Some(0));
    let refused = world.run(&["ask", "a", "hello"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains(&named), "{}", errors(&refused));
    drop(end);
    eventually("it is gone", || Some(()).filter(|()| !lives(pid)));
    let asked = world.run(&["ask", "a", "hello"]);
    assert_eq!(asked.status.code(), Some(0), "{}", errors(&asked));
    assert!(world.session("a")["not_gone"].is_null());
    assert_eq!(world.run(&["stop", "a"]).status.code(), Some(0));
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn what_the_services_of_an_entry_script_leave_is_left_alone_and_named() {
    let world = World::new();
    let (go, stays) = (world.path("go"), world.path("stays"));
    let entry = format!(
        "(while ! [ -e {go} ]; do sleep 0.05; done; \
         (setsid sh -c 'echo $$ >{stays}; exec sleep 600' </dev/null >/dev/null 2>&1 &)) & exec \"$@\"",
        go = go.display(),
        stays = stays.display()
    );
    let daemon = world.start_below("sh", &["-c", &entry, "sh"], &["run", "--state-dir", "state"]);
    eventually("the daemon listens", || std::os::unix::net::UnixStream::connect(world.socket()).ok());
    assert_eq!(world.run(&["ask", "a", "hello"]).status.code(), Some(0), "{}", world.log());
    fs::write(&go, "").expect("it can be written");
    let pid = pid_in(&world, "stays");
    let end = Killed(pid);
    eventually("it sleeps, as a child of the daemon", || {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(()).filter(|()| name.trim() == "sleep" && parent(pid) == Some(daemon.pid()))
    });
    let stopped = world.run(&["stop", "a"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", errors(&stopped));
    let named = format!("sleep (pid {pid})");
    let note = errors(&stopped);
    assert!(note.contains("nothing says whether it is of a") && note.contains(&named), "{note}");
    assert!(lives(pid), "it is not ours to end: {}", world.log());
    assert_eq!(world.session("a")["may_be_left"], named);
    let events = String::from_utf8_lossy(&world.run(&["events", "--json"]).stdout).into_owned();
    assert!(events.contains("\"may_be_left\"") && events.contains(&named), "{events}");
    drop(end);
    eventually("it is gone", || Some(()).filter(|()| !lives(pid)));
    assert!(world.session("a")["may_be_left"].is_null());
}
