//! A CLI that is found by its name: in the daemon's folder, and not in that of its session.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use crate::support::{PROGRAM, World};

/// A CLI that is named as `name` in `folder` answers, where the daemon's `PATH` is this.
fn answers(path: &str, folder: &str) {
    let world = World::with("[[child]]\nname = \"a\"\ncli_path = \"claude-stand-in\"\ncwd = \"work\"\n");
    fs::remove_file(world.path("claude-stand-in")).expect("it is there");
    let (own, theirs) = (world.path(folder), world.path("work").join(folder));
    for dir in [&own, &theirs] {
        fs::create_dir_all(dir).expect("made");
    }
    symlink(PROGRAM, own.join("claude-stand-in")).expect("linked");
    // In the session's folder the model writes: what it puts there must not be run.
    let decoy = theirs.join("claude-stand-in");
    fs::write(&decoy, "#!/bin/sh\ntouch \"$0.started\"\nexit 1\n").expect("written");
    fs::set_permissions(&decoy, fs::Permissions::from_mode(0o755)).expect("ours");
    let checked = world.command(&["check", "--strict"]).env("PATH", path).output().expect("it runs");
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    let mut command = world.command(&[]);
    command.env("PATH", path);
    let mut daemon = world.daemon_with(command, Stdio::null());
    let asked = world.run(&["ask", "a", "Hello!"]);
    assert!(asked.status.success(), "{path}: {}", String::from_utf8_lossy(&asked.stderr));
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert!(!theirs.join("claude-stand-in.started").exists(), "{path}");
    world.nothing_is_left();
}

#[test]
fn a_cli_in_a_relative_entry_of_the_path_is_started_from_the_daemons_folder() {
    answers("./bin:/usr/bin:/bin", "bin");
}

#[test]
fn a_cli_in_an_empty_entry_of_the_path_is_started_from_the_daemons_folder() {
    answers(":/usr/bin:/bin", "");
}
