//! What is said where the machine is untidy: which file it is about, who has it, and what is to be done.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};

use super::support::{PROGRAM, World, eventually};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_start_that_waits_for_another_program_says_so_at_once_and_ends_at_a_signal() {
    let world = World::new();
    let state = world.path("state");
    fs::create_dir(&state).expect("made");
    let lock = fs::File::create(state.join("treewarden.db.lock")).expect("made");
    lock.lock().expect("locked");
    let mut daemon = world.start(&["run", "--state-dir", "state"]);
    let by = format!("is kept locked by another program (process {}", std::process::id());
    eventually("it says what it waits for", || world.log().contains(&by).then_some(()));
    assert!(world.log().contains("treewarden.db.lock"), "{}", world.log());
    daemon.signal("-TERM");
    daemon.wait();
}

#[test]
fn a_first_start_on_a_full_disk_names_what_cannot_be_written() {
    let world = World::new();
    // A limit of nothing for each file is as good as a disk without room, and needs no disk.
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited, PROGRAM, "run", "--state-dir", "state"]).current_dir(world.path("."));
    command.env_remove("RUST_LOG").env_remove("TREEWARDEN_SOCKET").stdin(Stdio::null());
    let said = stderr(&command.output().expect("it runs"));
    assert!(said.contains("state/"), "{said}");
    assert!(said.contains("os error 27"), "{said}");
}

#[test]
fn a_restore_into_a_folder_that_cannot_be_made_names_it() {
    let world = World::new();
    let output = world.run(&["restore", "copy", "--state-dir", "treewarden.toml/state"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("restore into treewarden.toml/state"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("a tree runs on it"), "{}", stderr(&output));
}

#[test]
fn a_daemon_that_does_not_know_a_verb_is_said_to_be_older_and_is_to_be_restarted() {
    let world = World::new();
    fs::create_dir(world.path("state")).expect("made");
    let listener = UnixListener::bind(world.socket()).expect("bound");
    let daemon = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client comes");
        let mut lines = BufReader::new(stream.try_clone().expect("copied")).lines();
        let mut answer = |line: &str| {
            let asked = lines.next().expect("it asks").expect("it is text");
            writeln!(&stream, "{line}").expect("it reads");
            asked
        };
        let refused = r#"{"error":{"code":"bad_request","message":"unknown variant `adopt_lost`, expected one of `hello`, `ps`"}}"#;
        let hello = r#"{"ok":{"protocol":1,"version":"0.0.7","pid":1,"state_dir":"/x"}}"#;
        (answer(refused), answer(hello))
    });
    let output = world.run(&["adopt", "--all-lost"]);
    let (first, second) = daemon.join().expect("no panic");
    assert!(first.contains("adopt_lost") && second.contains("hello"), "{first} {second}");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output)
            .contains("the daemon is older (version 0.0.7) and does not know `adopt_lost`: restart it"),
        "{}",
        stderr(&output)
    );
}
