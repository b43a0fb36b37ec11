//! `new` and `remove`: sessions of a template, on a real daemon.

use std::fs;
use std::process::Output;

use crate::support::World;

const CHAT: &str = "[[template]]\nname = \"chat\"\nmax_sessions = 2\n";

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a verb that is to end with this code, and returns what it said.
#[track_caller]
fn code(world: &World, args: &[&str], code: i32) -> String {
    let output = world.run(args);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
    told
}

#[test]
fn a_session_is_made_asked_and_removed_and_each_refusal_has_its_code() {
    let world = World::with(&format!("[[child]]\nname = \"lobby\"\n{CHAT}"));
    let mut daemon = world.daemon();
    assert_eq!(code(&world, &["new", "chat", "alice"], 0), "alice is made\n");
    code(&world, &["ask", "alice", "My name is Alice"], 0);
    let tree = world.json(&["tree", "--json"]);
    let chat = &tree["children"][1];
    assert_eq!((chat["name"].as_str(), chat["children"][0]["name"].as_str()), (Some("chat"), Some("alice")));
    assert!(code(&world, &["new", "chat", "alice"], 6).contains("choose another name"));
    assert!(
        code(&world, &["new", "chat", "lobby"], 6)
            .contains("the config file declares a session of that name")
    );
    assert!(code(&world, &["new", "chat", "chat"], 6).contains("a template of the tree has that name"));
    assert!(code(&world, &["new", "chta", "bob"], 5).contains("did you mean \"chat\"?"));
    assert!(code(&world, &["new", "work", "bob"], 5).contains("there are: chat"));
    code(&world, &["new", "chat", "no name"], 2);
    code(&world, &["new", "chat", "bob"], 0);
    assert!(code(&world, &["new", "chat", "carol"], 8).contains("max_sessions"));
    assert!(code(&world, &["remove", "lobby"], 2).contains("declared in the config file"));
    code(&world, &["remove", "nobody"], 5);

    assert_eq!(code(&world, &["remove", "alice"], 0), "alice is removed\n");
    code(&world, &["ask", "alice", "hello"], 5);
    code(&world, &["new", "chat", "alice"], 0);
    assert!(code(&world, &["ask", "alice", "What is my name?"], 0).contains("Alice"));
    // A session that was made outlives its daemon, however that dies.
    daemon.signal("-KILL");
    daemon.wait();
    let mut daemon = world.daemon();
    assert!(code(&world, &["ask", "alice", "What is my name?"], 0).contains("Alice"));
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn remove_and_a_reload_without_the_template_refuse_to_lose_a_conversation_unless_they_are_forced() {
    let world = World::with(CHAT);
    fs::create_dir_all(world.path("home")).expect("a folder can be made");
    // No CLI can write there.
    fs::write(world.path("home").join("projects"), "").expect("a file can be written");
    let mut daemon = world.daemon();
    code(&world, &["new", "chat", "alice"], 0);
    code(&world, &["ask", "alice", "hello"], 0);
    let pid = world.session("alice")["pid"].clone();
    assert!(code(&world, &["remove", "alice"], 1).contains("--force"));
    world.rewrite("[[child]]\nname = \"lobby\"\n");
    assert!(code(&world, &["reload"], 1).contains("--force"));
    assert_eq!(world.session("alice")["pid"], pid, "it goes on");
    code(&world, &["remove", "alice", "--force"], 0);
    code(&world, &["reload"], 0);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn a_reload_takes_over_a_session_of_a_template_and_refuses_another_child_of_its_name_in_the_same_words() {
    let world = World::with(CHAT);
    let mut daemon = world.daemon();
    code(&world, &["new", "chat", "alice"], 0);
    code(&world, &["ask", "alice", "My name is Alice"], 0);
    world.rewrite(&format!("[[child]]\nname = \"alice\"\ntype = \"supervisor\"\n{CHAT}"));
    let refused = ["--dry-run", "--force"].map(|how| code(&world, &["reload", how], 3));
    assert_eq!(refused[0], refused[1]);
    for word in ["a supervisor cannot be named alice", "the template chat", "treewarden remove alice"] {
        assert!(refused[0].contains(word), "{}", refused[0]);
    }
    let pid = world.session("alice")["pid"].clone();
    assert!(pid.is_number(), "it goes on");

    world.rewrite(&format!("[[child]]\nname = \"alice\"\n{CHAT}"));
    let promised = code(&world, &["reload", "--dry-run"], 0);
    assert!(promised.contains("+ alice: is started\n- chat/alice: is stopped"), "{promised}");
    assert_eq!(world.session("alice")["pid"], pid, "a dry run changes nothing");
    assert!(promised.starts_with(&code(&world, &["reload"], 0)), "{promised}");
    assert!(code(&world, &["ask", "alice", "What is my name?"], 0).contains("Alice"));
    assert!(code(&world, &["remove", "alice"], 2).contains("declared in the config file"));
    // The file gives it back, and the daemon that starts then has it no more.
    world.rewrite(CHAT);
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    let mut daemon = world.daemon();
    code(&world, &["ask", "alice", "hello"], 5);
    code(&world, &["new", "chat", "alice"], 0);
    code(&world, &["remove", "alice"], 0);
    let events = code(&world, &["events", "--json"], 0);
    let last = events.lines().rfind(|line| line.contains("\"name\":\"alice\"")).expect("it is told of");
    assert!(last.contains("\"event\":\"session_removed\"") && last.contains("\"why\":\"asked\""), "{last}");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}
