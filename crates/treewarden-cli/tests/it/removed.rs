//! What is removed under a daemon: said, mended where it can be, and no door for a second one.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::support::{Daemon, World, eventually};

/// Removes the files and folders that are there.
fn remove(paths: &[PathBuf]) {
    for path in paths {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// What the kernel lists of the sockets below a folder.
fn listed(below: &Path) -> Vec<String> {
    let text = fs::read_to_string("/proc/net/unix").expect("it can be read");
    let below = below.display().to_string();
    let paths = text.lines().filter_map(|line| line.split_whitespace().nth(7));
    paths.filter(|path| path.starts_with(&below)).map(str::to_owned).collect()
}

/// A second daemon on the same state directory ends, and names the first one.
#[track_caller]
fn is_refused(world: &World, first: &Daemon) {
    let args = ["run", "--state-dir", "state", "--socket", "other.sock"];
    let second = world.command(&args).env_remove("TREEWARDEN_SOCKET").output().expect("it runs");
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains(&format!("process {}", first.pid())), "{stderr}");
}

fn events(world: &World) -> Vec<Value> {
    let output = world.run(&["events", "--json"]);
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == "removed").collect()
}

#[test]
fn the_kernel_lists_the_socket_under_the_path_that_is_there() {
    let world = World::new();
    let _daemon = world.daemon();
    let socket = fs::canonicalize(world.socket()).expect("it is there");
    let listed = listed(socket.parent().expect("it has a folder"));
    assert!(listed.iter().all(|path| Path::new(path) == socket), "{listed:?}");
    assert!(!listed.is_empty());
}

#[test]
fn a_socket_that_was_removed_is_bound_again_at_a_hangup_and_by_itself() {
    let world = World::new();
    let daemon = world.daemon();
    for hangup in [true, false] {
        remove(&[world.socket(), world.path("state/control.sock.lock")]);
        if hangup {
            daemon.signal("-HUP");
        }
        eventually("the socket is back", || UnixStream::connect(world.socket()).ok());
        assert_eq!(world.run(&["ps"]).status.code(), Some(0));
        assert!(world.path("state/control.sock.lock").exists());
    }
    let events = events(&world);
    assert!(events.iter().any(|event| event["mended"] == true), "{events:?}");
}

#[test]
fn a_client_that_waits_keeps_its_answer_when_the_socket_is_bound_again() {
    let world = World::new();
    let daemon = world.daemon();
    let asking = std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.json(&["ask", "a", "PROMPT-1 STREAM=20:50", "--json"]));
        world.when("a", "busy");
        remove(&[world.socket()]);
        daemon.signal("-HUP");
        eventually("the socket is back", || UnixStream::connect(world.socket()).ok());
        asking.join().expect("it is answered")
    });
    assert_eq!(asking["outcome"], "completed");
}

#[cfg(target_os = "linux")]
#[test]
fn with_every_lock_removed_no_second_daemon_starts_and_the_first_mends_them() {
    let world = World::new();
    let daemon = world.daemon();
    world.json(&["ask", "a", "My name is Alice", "--json"]);
    let pid = world.session("a")["pid"].clone();
    let id = world.session("a")["session_id"].as_str().expect("an id").to_owned();
    let lease = world.path(&format!("home/treewarden/leases/{id}.lock"));
    assert!(lease.exists());
    let locks = ["state/tree.lock", "state/leases", "state/control.sock.lock", "state/treewarden.db.lock"];
    let locks: Vec<PathBuf> = locks.iter().map(|name| world.path(name)).chain([lease.clone()]).collect();
    remove(&locks);
    is_refused(&world, &daemon);
    let answer = world.json(&["ask", "a", "what is my name", "--json"]);
    assert_eq!(answer["text"], "Your name is Alice.");
    assert_eq!(world.session("a")["pid"], pid, "its CLI was left alone");
    for lock in &locks {
        eventually(&format!("{} is there again", lock.display()), || lock.exists().then_some(()));
    }
    for what in [&format!("{id}.lock"), "tree.lock", "treewarden.db.lock", "control.sock.lock"] {
        eventually(&format!("an event says {what}"), || {
            let said = |event: &Value| event["what"].as_str().is_some_and(|said| said.contains(what));
            events(&world).iter().any(|event| event["mended"] == true && said(event)).then_some(())
        });
    }
    is_refused(&world, &daemon);
}

#[test]
fn locks_that_are_removed_in_a_turn_are_mended_and_the_turn_is_answered() {
    let world = World::new();
    let daemon = world.daemon();
    let asking = std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.json(&["ask", "a", "PROMPT-1 STREAM=20:50", "--json"]));
        world.when("a", "busy");
        remove(&[world.path("home/treewarden"), world.path("state/tree.lock"), world.path("state/leases")]);
        daemon.signal("-HUP");
        eventually("the lock is there again", || world.path("state/tree.lock").exists().then_some(()));
        eventually("the lease is there again", || {
            world.path("home/treewarden/leases").exists().then_some(())
        });
        asking.join().expect("it is answered")
    });
    assert_eq!(asking["outcome"], "completed");
    assert_eq!(world.session("a")["restarts"], 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_removed_state_directory_is_said_and_no_turn_is_acknowledged_into_it() {
    let world = World::new();
    let daemon = world.daemon();
    world.json(&["ask", "a", "My name is Alice", "--json"]);
    remove(&[world.path("state")]);
    daemon.signal("-HUP");
    eventually("the socket is back", || UnixStream::connect(world.socket()).ok());
    let output = world.run(&["ask", "a", "PROMPT-2"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{stderr}");
    assert!(stderr.contains("was removed, or replaced"), "{stderr}");
    let shown = eventually("ps says so", || {
        let output = world.run(&["ps"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("no turn is taken").then_some(text)
    });
    assert!(shown.contains("was removed, or replaced"), "{shown}");
    assert!(!shown.contains("lease"), "it is the directory that was removed: {shown}");
    let events = events(&world);
    assert!(events.iter().any(|event| event["mended"] == false), "{events:?}");
    let why = world.session("a")["removed"].to_string();
    assert!(why.contains("was removed, or replaced"), "a program that watches is told too: {why}");
    for (verb, said) in [("clear", "a is not cleared"), ("stop", "starts again with the next tree")] {
        let output = world.run(&[verb, "a"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
    is_refused(&world, &daemon);
}

#[test]
fn a_state_directory_that_was_removed_whole_begins_no_name_blank_once_a_turn_was_refused_for_it() {
    use std::io::{BufRead, BufReader, Write};
    let world = World::new();
    let mut daemon = world.daemon();
    world.json(&["ask", "a", "My name is Alice", "--json"]);
    // The socket goes with the directory, and clients that are connected stay so.
    let mut client = UnixStream::connect(world.socket()).expect("it listens");
    remove(&[world.path("state")]);
    client.write_all(b"{\"op\":\"ask\",\"name\":\"a\",\"prompt\":\"PROMPT-2\"}\n").expect("asked");
    let mut answer = String::new();
    BufReader::new(client).read_line(&mut answer).expect("answered");
    assert!(answer.contains("was removed, or replaced"), "{answer}");
    // Before anybody else looks.
    daemon.signal("-KILL");
    daemon.wait();
    world.nothing_is_left();
    let _daemon = world.daemon();
    let refused = world.run(&["ask", "a", "what is my name"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the conversation of a is lost") && said.contains("treewarden clear a"), "{said}");
}

#[test]
fn a_database_that_was_removed_while_no_daemon_ran_is_said_and_no_name_begins_blank() {
    let world = World::new();
    let mut daemon = world.daemon();
    let id = world.json(&["ask", "a", "My name is Alice", "--json"])["session_id"].clone();
    // In good order, so that all is in that one file.
    daemon.signal("-TERM");
    daemon.wait();
    fs::remove_file(world.path("state/treewarden.db")).expect("removed");
    let _daemon = world.daemon();
    let refused = world.run(&["ask", "a", "what is my name"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("is lost") && said.contains("treewarden adopt a"), "{said}");
    let shown = world.run(&["ps"]).stdout;
    let shown = String::from_utf8_lossy(&shown);
    assert!(
        shown.contains("its conversation is lost") && shown.contains("state database was removed"),
        "{shown}"
    );
    let adopted = world.run(&["adopt", "a", id.as_str().expect("an id")]);
    assert!(adopted.status.success(), "{adopted:?}");
    let answer = world.json(&["ask", "a", "what is my name", "--json"]);
    assert_eq!(answer["text"], "Your name is Alice.");
}

/// Needs the super-user, who can be two users; elsewhere it says that it was skipped.
#[cfg(target_os = "linux")]
#[test]
fn a_client_says_nothing_to_a_socket_of_another_user() {
    use std::io::Read;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: it needs the super-user");
        return;
    }
    let world = World::new();
    fs::create_dir(world.path("state")).expect("made");
    // Anybody may make a socket in a shared folder.
    let shared = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("shared");
    };
    shared(&world.path("state"));
    shared(&world.path(""));
    let socket = world.socket();
    let listener = std::thread::spawn(move || {
        // Of this thread alone: it is that user from here on.
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(54_321)).expect("the super-user may");
        std::os::unix::net::UnixListener::bind(&socket).expect("bound")
    });
    let listener = listener.join().expect("it listens");
    let output = world.run(&["ask", "a", "PROMPT-1"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("user 54321"), "{stderr}");
    let mut heard = String::new();
    let (mut stream, _) = listener.accept().expect("it connected");
    stream.read_to_string(&mut heard).expect("it can be read");
    assert_eq!(heard, "");
}
