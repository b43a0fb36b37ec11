//! A daemon that starts into an untidy world: what its open turns need is away for a moment, or a usage limit holds still.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{PROGRAM, World, eventually};

/// Sessions that each need something else, whose open turns are asked again when the daemon is killed.
const CHILDREN: &str = "[[child]]\nname = \"program\"\ncli_path = \"bin/claude-stand-in\"\n\
    [[child]]\nname = \"folder\"\ncwd = \"work\"\n\
    [[child]]\nname = \"file\"\nenv = { TOKEN = { file = \"token\" } }\n\
    [[child]]\nname = \"command\"\nenv = { TOKEN = { command = \"cat token\" } }\n";

/// What each of them says while that is away.
const SAYS: [(&str, &str); 4] = [
    ("program", "no such file"),
    ("folder", "working directory"),
    ("file", "`env.TOKEN`: the file"),
    ("command", "`env.TOKEN`: its command `cat …` ended with exit status: 1"),
];

const NEEDED: [&str; 3] = ["bin", "work", "token"];

fn detached(world: &World, name: &str, prompt: &str) -> String {
    let asked = world.json(&["ask", name, prompt, "--detach", "--json"]);
    asked["turn"].as_str().unwrap_or_else(|| panic!("{asked}")).to_owned()
}

#[test]
fn what_is_away_for_a_moment_while_a_daemon_starts_fails_no_open_turn() {
    let world = World::with(CHILDREN);
    for folder in ["bin", "work"] {
        fs::create_dir(world.path(folder)).expect("made");
    }
    symlink(PROGRAM, world.path("bin/claude-stand-in")).expect("linked");
    fs::write(world.path("token"), "tok\n").expect("written");
    let mut daemon = world.daemon();
    let mut turns = Vec::new();
    for (name, _) in SAYS {
        assert_eq!(world.json(&["ask", name, "hello", "--json"])["outcome"], "completed", "{}", world.log());
        turns.push((name, detached(&world, name, "PROMPT-1 HANG ONCE=1")));
        world.when(name, "busy");
        turns.push((name, detached(&world, name, "PROMPT-2")));
    }
    // Killed before it has the prompt, a CLI would hang in the next daemon, whose first attempt that would be.
    eventually("each CLI has the prompt", || {
        let counts = fs::read_dir(world.path("home/fake-attempts")).ok()?.flatten();
        let counted = counts.filter(|count| fs::read_to_string(count.path()).is_ok_and(|count| count == "1"));
        (counted.count() == SAYS.len()).then_some(())
    });
    daemon.signal("-KILL");
    daemon.wait();
    for needed in NEEDED {
        fs::rename(world.path(needed), world.path(&format!("{needed}-away"))).expect("renamed");
    }
    let _daemon = world.daemon();
    for (name, says) in SAYS {
        eventually(&format!("{name} says {says:?}"), || {
            let session = world.session(name);
            session["reason"].as_str()?.contains(says).then_some(())
        });
    }
    for needed in NEEDED {
        fs::rename(world.path(&format!("{needed}-away")), world.path(needed)).expect("renamed");
    }
    for (name, turn) in turns {
        let told = world.json_of(&["turn", &turn, "--wait", "--json"]);
        assert_eq!(told["outcome"], "completed", "{name}: {told}\n{}", world.log());
    }
    for (name, _) in SAYS {
        assert_eq!(world.session(name)["restarts"], 0, "{name}: it is no crash");
    }
}

#[test]
fn what_is_away_for_good_fails_in_the_words_that_were_said() {
    let world = World::with(CHILDREN);
    let mut daemon = world.daemon();
    let lasting = |name: &str, says: &str| {
        let told = world.json_of(&["ask", name, "hello", "--json"]);
        assert_eq!(told["failure"], "not_started", "{told}");
        assert!(told["message"].as_str().is_some_and(|message| message.contains(says)), "{told}");
        told["message"].as_str().map(str::to_owned).unwrap_or_default()
    };
    // None of them was ever seen to work: nothing is waited for.
    for (name, says) in SAYS {
        let message = lasting(name, says);
        assert!(!message.contains("starts within"), "{message}");
    }
    fs::write(world.path("token"), "tok").expect("written");
    assert_eq!(world.json(&["ask", "file", "hello", "--json"])["outcome"], "completed", "{}", world.log());
    // It is emptied, as by a program that then died: it may be whole again in a moment, and is not.
    fs::write(world.path("token"), "").expect("written");
    assert_eq!(world.run(&["restart", "file"]).status.code(), Some(0));
    let message = lasting("file", "is empty");
    assert!(message.contains("starts within "), "{message}");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn a_detached_turn_that_waits_for_a_limit_waits_again_behind_a_restart_of_the_daemon() {
    let world = World::new();
    let mut daemon = world.daemon();
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed");
    let turn = detached(&world, "a", "PROMPT-1 LIMIT=3600 ONCE=2");
    let behind = detached(&world, "a", "PROMPT-2");
    world.when("a", "suspended");
    for met_again in [true, false] {
        daemon.signal("-KILL");
        daemon.wait();
        daemon = world.daemon();
        if met_again {
            // No daemon remembers a limit of the one before: the turn that is carried on meets it.
            world.when("a", "suspended");
            assert_eq!(world.session("a")["queued"], 2);
        }
    }
    for turn in [turn, behind] {
        let told = world.json_of(&["turn", &turn, "--wait", "--json"]);
        assert_eq!(told["outcome"], "completed", "{told}\n{}", world.log());
    }
}
