//! What a copy may be that is put back, where it goes, and what is said of it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use treewarden::TurnId;
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::Backend;

use crate::support::{PROGRAM, World, eventually};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Ends with this code, and says all of these.
#[track_caller]
fn ends(command: &mut Command, code: i32, words: &[&str]) -> String {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("it runs");
    // What hangs is ended, and fails the test.
    eventually("the command ends", || child.try_wait().expect("it can be waited for"));
    let output = child.wait_with_output().expect("it has ended");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    text
}

/// Changes a text wherever it stands in a file.
fn exchange(file: &Path, from: &str, to: &str) {
    let mut bytes = fs::read(file).expect("read");
    let places: Vec<_> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty() && from.len() == to.len(), "{from} is not there");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::write(file, bytes).expect("written");
}

#[test]
fn a_copy_with_a_bit_that_flipped_is_refused_by_its_turn_and_the_rest_is_put_back_when_that_is_asked() {
    let world = World::new();
    let mut daemon = world.daemon();
    let turn = world.json(&["ask", "a", "PROMPT-7", "--json"])["turn"].as_str().expect("an id").to_owned();
    let other = world.json(&["ask", "b", "PROMPT-8", "--json"])["turn"].as_str().expect("an id").to_owned();
    ends(&mut world.command(&["backup", "copy"]), 0, &["has a copy of"]);
    daemon.signal("-TERM");
    daemon.wait();
    exchange(&world.path("copy/treewarden.db"), "\"PROMPT-7\"", "\"PROMPT-6\"");
    let restore = ["restore", "copy", "--state-dir", "state", "--force"];
    let words = format!("a turn of a (id {turn}) is damaged");
    ends(
        &mut world.command(&restore),
        1,
        &["0 of 2 names and 1 of 2 turns are damaged", &words, "nothing was changed", "--damaged"],
    );
    assert!(!world.path("state/replaced-1").exists());
    let damaged = [&restore[..], &["--damaged"]].concat();
    ends(&mut world.command(&damaged), 0, &[&words, "is as it was", "treewarden ps"]);
    let _daemon = world.daemon();
    ends(&mut world.command(&["ps"]), 0, &[&words]);
    ends(&mut world.command(&["turn", &turn]), 1, &["is damaged"]);
    ends(&mut world.command(&["turn", &other]), 0, &[]);
}

#[test]
fn a_pipe_in_the_place_of_a_copy_or_of_a_database_keeps_nobody_waiting() {
    let world = World::new();
    for folder in ["copy", "state"] {
        fs::create_dir(world.path(folder)).expect("made");
        let made = Command::new("mkfifo").arg(world.path(folder).join("treewarden.db")).status();
        assert!(made.is_ok_and(|made| made.success()));
    }
    let restore = ["restore", "copy", "--state-dir", "new"];
    ends(&mut world.command(&restore), 1, &["copy/treewarden.db is a named pipe"]);
    ends(&mut world.command(&["run", "--state-dir", "state"]), 1, &["treewarden.db", "a named pipe"]);
    ends(&mut world.command(&["backup", "other", "--state-dir", "state"]), 1, &["a named pipe"]);
}

#[test]
fn a_config_file_that_is_a_pipe_nobody_writes_leaves_the_daemon_one_that_ends_at_a_signal() {
    let world = World::new();
    let made = Command::new("mkfifo").arg(world.path("pipe")).status();
    assert!(made.is_ok_and(|made| made.success()));
    let mut daemon = world.start(&["run", "pipe", "--state-dir", "state"]);
    // It has caught the signals before it opens the file: until then one ends it by itself.
    eventually("it takes signals", || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"))?;
        Some(()).filter(|()| u64::from_str_radix(caught, 16).is_ok_and(|caught| caught & (1 << 14) != 0))
    });
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn a_copy_is_of_the_directory_that_a_run_in_this_folder_would_use_and_goes_there() {
    let world = World::new();
    let children = "[[child]]\nname = \"a\"\n";
    world.rewrite_all("state_dir = \"state\"", "", children);
    let usual = world.path("usual");
    let here = |args: &[&str]| {
        let mut command = world.command(args);
        command.env_remove("TREEWARDEN_SOCKET").env("XDG_STATE_HOME", &usual);
        command
    };
    let state = world.path("state").display().to_string();
    let mut daemon = world.daemon();
    world.json(&["ask", "a", "hello", "--json"]);
    ends(&mut here(&["backup", "one"]), 0, &["has a copy of", "state (of the tree that runs)"]);
    daemon.signal("-TERM");
    daemon.wait();
    ends(&mut here(&["backup", "two"]), 0, &[&state, "state_dir of treewarden.toml here"]);
    ends(&mut here(&["restore", "one"]), 6, &[&state, "treewarden.toml here", "--force"]);
    ends(&mut here(&["restore", "one", "--force"]), 0, &[&state, "treewarden.toml here"]);
    assert!(world.path("state/replaced-1").exists() && !usual.exists());
    // A file that may choose one, and cannot be read, is no reason to take another.
    fs::write(world.path("treewarden.toml"), "state_dir = 7\n").expect("written");
    ends(&mut here(&["restore", "one", "--force"]), 3, &["treewarden.toml", "--state-dir"]);
    ends(&mut here(&["backup", "three"]), 3, &["treewarden.toml", "--state-dir"]);
    fs::remove_file(world.path("treewarden.toml")).expect("removed");
    ends(
        &mut here(&["backup", "three"]),
        1,
        &["usual/treewarden", "the usual one", "nothing that could be copied"],
    );
    ends(&mut here(&["restore", "one"]), 0, &["usual/treewarden", "the usual one"]);
    assert!(usual.join("treewarden/treewarden.db").exists() && !world.path("state/replaced-2").exists());
}

/// Whether a turn is open in a copy, of which nothing is changed.
fn is_open_in(world: &World, copy: &str, turn: &str) -> bool {
    let look = tempfile::tempdir().expect("a folder");
    fs::copy(world.path(copy).join("treewarden.db"), look.path().join("treewarden.db")).expect("copied");
    let store = SqliteStore::open(look.path(), SqliteOptions::default()).expect("opened");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let turn: TurnId = turn.parse().expect("an id");
    let open = runtime.block_on(store.open_turns("a".parse().expect("a name"))).expect("read");
    open.iter().any(|row| row.turn == turn)
}

#[test]
fn a_conversation_that_went_on_after_its_copy_goes_on_at_its_end_and_a_turn_that_was_open_has_its_own_answer()
{
    let world = World::new();
    let mut daemon = world.daemon();
    let first = world.json(&["ask", "a", "My name is Alice.", "--json"]);
    // Sent and not answered when the copy is made: on a slow machine that takes some tries.
    let (copy, turn) = (0..50)
        .find_map(|n| {
            let asked = world.json(&["ask", "a", &format!("PROMPT-{n} STREAM=60:50"), "--detach", "--json"]);
            let turn = asked["turn"].as_str().expect("an id").to_owned();
            eventually("a CLI works at it, or has done so", || {
                let is_settled = world.run(&["turn", &turn]).status.code() != Some(9);
                (is_settled || world.session("a")["state"] == "busy").then_some(())
            });
            let copy = format!("copy-{n}");
            ends(&mut world.command(&["backup", &copy]), 0, &[]);
            let is_open = is_open_in(&world, &copy, &turn);
            world.run(&["turn", "--wait", &turn]);
            is_open.then_some((copy, turn))
        })
        .expect("a turn is open in a copy");
    let answered = world.json(&["turn", &turn, "--json"]);
    let later = world.json(&["ask", "a", "And I like tea.", "--json"]);
    daemon.signal("-TERM");
    daemon.wait();
    ends(&mut world.command(&["restore", &copy, "--state-dir", "state", "--force"]), 0, &["what was there"]);
    let _daemon = world.daemon();
    let ps = ends(&mut world.command(&["ps"]), 0, &["the newest turns of that may be missing"]);
    let events = ends(&mut world.command(&["events", "--json"]), 0, &["\"store_problem\"", "\"older\""]);
    assert!(world.session("a")["lost"].is_null() && !events.contains("\"kind\":\"record\""), "{ps} {events}");
    world.run(&["turn", "--wait", &turn]);
    let again = world.json(&["turn", &turn, "--json"]);
    assert_eq!((&again["outcome"], &again["text"]), (&answered["outcome"], &answered["text"]), "{again}");
    ends(&mut world.command(&["turn", later["turn"].as_str().expect("an id")]), 5, &["no turn has the id"]);
    let next = world.json(&["ask", "a", "What is my name?", "--json"]);
    assert_eq!(next["session_id"], first["session_id"]);
    assert!(next["text"].as_str().is_some_and(|text| text.contains("Alice")), "{next}");
    // Its prompt stands in the conversation once, and so does what came after the copy.
    let prompt = copy.replace("copy-", "PROMPT-") + " ";
    assert_eq!((heard(&world, &prompt), heard(&world, "And I like tea.")), (1, 1));
}

/// How often a prompt stands in the transcripts.
fn heard(world: &World, prompt: &str) -> usize {
    let found = Command::new("grep").args(["-rhF", prompt]).arg(world.path("home/projects")).output();
    let found = String::from_utf8_lossy(&found.expect("it runs").stdout).into_owned();
    let lines = found.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["type"] == "user").count()
}

#[test]
fn what_the_super_user_copies_or_puts_back_locks_nobody_out_of_their_store() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files to another user");
        return;
    }
    const NOBODY: u32 = 65534;
    let world = World::new();
    let mut daemon = world.daemon();
    world.json(&["ask", "a", "hello", "--json"]);
    ends(&mut world.command(&["backup", "copy"]), 0, &[]);
    daemon.signal("-TERM");
    daemon.wait();
    fs::create_dir(world.path("theirs")).expect("made");
    for given in ["state", "theirs"] {
        let status = Command::new("chown").args(["-R", "65534"]).arg(world.path(given)).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
    for args in [&["backup", "other"][..], &["restore", "copy", "--force"]] {
        let args = [args, &["--state-dir", "state"]].concat();
        ends(&mut world.command(&args), 1, &["belongs to user 65534", "run it as that user"]);
    }
    assert!(!world.path("other").exists());
    for file in fs::read_dir(world.path("state")).expect("listed").flatten() {
        assert_eq!(file.metadata().expect("there").uid(), NOBODY, "{:?}", file.file_name());
    }
    let restore = ["restore", "copy", "--state-dir", "theirs/state"];
    ends(&mut world.command(&restore), 0, &["a folder of user 65534", "chown -R 65534 theirs/state"]);
}

#[test]
fn a_program_that_has_what_is_replaced_open_is_named() {
    let world = World::new();
    let mut daemon = world.daemon();
    world.json(&["ask", "a", "hello", "--json"]);
    ends(&mut world.command(&["backup", "copy"]), 0, &[]);
    daemon.signal("-TERM");
    daemon.wait();
    let open = File::open(world.path("state/treewarden.db")).expect("opened");
    open.lock_shared().expect("locked");
    let by = format!("process {}", std::process::id());
    let restore = ["restore", "copy", "--state-dir", "state", "--force"];
    let words: &[&str] = if cfg!(target_os = "linux") { &[&by, "has that open", "replaced-1"] } else { &[] };
    ends(&mut world.command(&restore), 0, words);
}

#[test]
fn a_copy_that_is_larger_than_a_file_may_be_is_no_full_disk_and_leaves_nothing() {
    let world = World::new();
    let mut daemon = world.daemon();
    let mut ask = world
        .command(&["ask", "a", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    ask.stdin.take().expect("a pipe").write_all("long ".repeat(100_000).as_bytes()).expect("written");
    assert!(ask.wait().expect("it ends").success());
    daemon.signal("-TERM");
    daemon.wait();
    let limited = "ulimit -f 128; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", limited, PROGRAM, "backup", "copy", "--state-dir", "state"])
        .current_dir(world.path("."));
    command.env_remove("RUST_LOG").env_remove("TREEWARDEN_SOCKET");
    let text = ends(&mut command, 1, &["write a copy to", "os error 27", "ulimit -f"]);
    assert!(!text.contains("make room"), "{text}");
    assert!(!world.path("copy").exists());
    ends(&mut world.command(&["backup", "copy", "--state-dir", "state"]), 0, &["has a copy"]);
}

#[test]
fn a_store_of_an_earlier_version_that_is_carried_over_is_said_in_the_log_with_both_versions() {
    let world = World::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../treewarden-sqlite/tests/fixtures/schema-3");
    fs::create_dir(world.path("state")).expect("made");
    for file in
        fs::read_dir(fixture).expect("the fixture is there").flatten().filter(|file| file.path().is_file())
    {
        fs::copy(file.path(), world.path("state").join(file.file_name())).expect("copied");
    }
    let _daemon = world.daemon();
    eventually("it is carried over", || world.log().contains("the tree is up").then_some(()));
    let log = world.log();
    for part in
        ["an earlier version was carried over", "from=3", "to=4", "state/treewarden.db", "is not kept"]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
}
