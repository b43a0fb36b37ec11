//! Where a tree is: a state directory that is a link, a copy by hard links of one, and a socket that a variable names.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{World, eventually};

#[track_caller]
fn is(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for words in words {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}

/// Runs a verb whose place is chosen by its arguments alone.
fn without_variable(world: &World, args: &[&str]) -> Output {
    world.command(args).env_remove("TREEWARDEN_SOCKET").output().expect("it runs")
}

fn copy(how: &str, from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(how).args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()), "it can be copied");
}

#[test]
fn a_copy_by_hard_links_keeps_the_first_tree_from_nothing_and_runs_none_of_its_own() {
    let world = World::new();
    let mut daemon = world.daemon();
    assert_eq!(world.json(&["ask", "a", "My name is Alice", "--json"])["outcome"], "completed");
    let (state, linked) = (world.path("state"), world.path("linked"));
    copy("-al", &state, &linked);
    assert_eq!(fs::metadata(state.join("treewarden.db")).expect("there").nlink(), 2);
    // One lock by two names: the holder is seen through either, by another socket too.
    let pid = format!("process {}", daemon.pid());
    is(&without_variable(&world, &["run", "--state-dir", "linked"]), 6, &[&pid, "hard links"]);
    let elsewhere = ["run", "--state-dir", "linked", "--socket", "other.sock"];
    is(&without_variable(&world, &elsewhere), 6, &[&pid]);
    // Only the database is shared: what is not seen by the locks is seen by the file itself.
    fs::create_dir(world.path("bare")).expect("made");
    fs::hard_link(state.join("treewarden.db"), world.path("bare/treewarden.db")).expect("linked");
    fs::hard_link(state.join("treewarden.db.lock"), world.path("bare/treewarden.db.lock")).expect("linked");
    is(
        &without_variable(&world, &["run", "--state-dir", "bare"]),
        1,
        &["bare/treewarden.db", "one file of 3 names"],
    );
    for signal in ["-TERM", "-KILL", "-TERM"] {
        daemon.signal(signal);
        daemon.wait();
        // The log that the copy has is older than the database by now.
        is(
            &without_variable(&world, &["run", "--state-dir", "linked"]),
            1,
            &["one file of", "used by another"],
        );
        daemon = world.daemon();
        let answer = world.json(&["ask", "a", "what is my name", "--json"]);
        assert_eq!(answer["text"], "Your name is Alice.", "{answer}\n{}", world.log());
    }
    assert!(world.log().contains("has another name (a hard link"), "{}", world.log());
    // A copy that is one is another tree.
    daemon.signal("-TERM");
    daemon.wait();
    copy("-a", &state, &world.path("copy"));
    let _copied = world.start(&["run", "--state-dir", "copy"]);
    eventually("it answers", || {
        without_variable(&world, &["ps", "--state-dir", "copy"]).status.success().then_some(())
    });
}

#[test]
fn a_link_that_is_switched_under_a_tree_leaves_it_to_be_found_and_told_of() {
    let world = World::new();
    let (first, second, state) = (world.path("first"), world.path("second"), world.path("state"));
    fs::create_dir(&first).expect("made");
    symlink(&first, &state).expect("linked");
    let daemon = world.daemon();
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed");
    copy("-a", &first, &second);
    fs::remove_file(&state).expect("removed");
    symlink(&second, &state).expect("linked");
    // Both speak of the same tree, and of what is wrong with it.
    eventually("it is found, and says what was replaced", || {
        let ps = world.run(&["ps"]);
        let told = String::from_utf8_lossy(&ps.stdout).contains("no turn is taken");
        (ps.status.success() && told).then_some(())
    });
    let pid = format!("process {}", daemon.pid());
    is(&without_variable(&world, &["run", "--state-dir", "state"]), 6, &[&pid]);
    is(&world.run(&["ask", "a", "hello"]), 8, &["treewarden.db was removed, or replaced"]);
}

#[test]
fn a_link_to_nothing_for_a_state_directory_is_named_with_its_target() {
    let world = World::new();
    symlink("not-mounted", world.path("state")).expect("linked");
    let words = ["state is a link to not-mounted, which is not there"];
    is(&without_variable(&world, &["run", "--state-dir", "state"]), 1, &words);
    is(&without_variable(&world, &["ps", "--state-dir", "state"]), 4, &words);
    let elsewhere = world.path("elsewhere.sock");
    let elsewhere = elsewhere.to_str().expect("plain letters");
    is(&without_variable(&world, &["run", "--state-dir", "state", "--socket", elsewhere]), 1, &words);
}

#[test]
fn a_refusal_names_the_variable_that_chose_the_socket_and_a_state_directory_that_is_given_comes_before_it() {
    let world = World::new();
    is(&world.run(&["ps"]), 4, &["no tree listens on", "$TREEWARDEN_SOCKET names this socket"]);
    let daemon = world.daemon();
    let pid = format!("process {} listens on", daemon.pid());
    is(&world.run(&["run"]), 6, &[&pid, "$TREEWARDEN_SOCKET names this socket"]);
    let nowhere = |args: &[&str]| {
        world.command(args).env("TREEWARDEN_SOCKET", world.path("nowhere.sock")).output().expect("it runs")
    };
    is(&nowhere(&["ps", "--state-dir", "state"]), 0, &[]);
    is(&nowhere(&["ps"]), 4, &["nowhere.sock"]);
    let refused = nowhere(&["run", "--state-dir", "state"]);
    is(&refused, 6, &[&pid, "state/control.sock"]);
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("TREEWARDEN_SOCKET"));
}

#[test]
fn where_nobody_listens_and_the_file_here_chooses_another_directory_the_refusal_names_that() {
    let world = World::new();
    world.rewrite_all("state_dir = \"chosen\"", "", "[[child]]\nname = \"a\"\n");
    let chosen = world.path("chosen");
    let ask = |args: &[&str]| {
        let mut command = world.command(args);
        command.env_remove("TREEWARDEN_SOCKET").env("XDG_STATE_HOME", world.path("usual"));
        command.output().expect("it runs")
    };
    let named = format!("name that with --state-dir {}", chosen.display());
    is(&ask(&["ps"]), 4, &["no tree listens on", "`state_dir` of its treewarden.toml", &named]);
    let given = ask(&["ps", "--state-dir", "chosen"]);
    is(&given, 4, &["no tree listens on", "--state-dir"]);
    assert!(!String::from_utf8_lossy(&given.stderr).contains("chooses another"), "it was named");
    fs::remove_file(world.path("treewarden.toml")).expect("removed");
    let without = ask(&["ps"]);
    is(&without, 4, &["no tree listens on"]);
    assert!(!String::from_utf8_lossy(&without.stderr).contains("chooses another"), "there is no file");
}
