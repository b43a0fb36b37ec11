//! `give_up = "park"`: a session that crashes too often stays down, and whoever waits for it is told at once.

use crate::support::World;

const CRASHES: &str =
    "env = { TREEWARDEN_FAKE = '{\"prompts\":[{\"contains\":\"hello\",\"do\":\"CRASH=read\"}]}' }\n";

fn world() -> World {
    let world = World::new();
    world.rewrite_all(
        "give_up = \"park\"\nmax_restarts = 2\nmax_seconds = 60",
        "",
        &format!("[[child]]\nname = \"a\"\n{CRASHES}[[child]]\nname = \"b\"\n"),
    );
    world
}

#[test]
fn callers_of_a_session_that_is_given_up_are_told_at_once_and_its_siblings_live_on() {
    let world = world();
    let mut daemon = world.daemon();
    let asked = world.json_of(&["ask", "a", "hello", "--json"]);
    assert_eq!((&asked["outcome"], &asked["failure"]), (&"failed".into(), &"given_up".into()), "{asked}");
    let session = world.session("a");
    assert_eq!(
        (&session["state"], &session["restarts"], &session["queued"]),
        (&"given_up".into(), &2.into(), &0.into())
    );
    assert!(session["reason"].as_str().is_some_and(|reason| reason.contains("gave it up")), "{session}");
    let ps = world.run(&["ps"]);
    assert!(String::from_utf8_lossy(&ps.stdout).contains("\na: the session crashed too often"));
    assert_eq!(world.json(&["tree", "--json"])["children"][0]["state"], "parked");
    // The next caller does not wait either.
    let refused = world.run(&["ask", "a", "hello"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("gave it up"), "{refused:?}");
    assert_eq!(world.json(&["ask", "b", "hello", "--json"])["outcome"], "completed");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn a_file_that_says_nothing_of_it_loses_the_session_alone_and_not_the_daemon() {
    let world = World::new();
    let budget = "max_restarts = 2\nmax_seconds = 600";
    world.rewrite_all(budget, "", &format!("[[child]]\nname = \"a\"\n{CRASHES}[[child]]\nname = \"b\"\n"));
    let mut daemon = world.daemon();
    assert_eq!(world.json(&["ask", "b", "My name is Alice", "--json"])["outcome"], "completed");
    let before = world.session("b");
    let asked = world.json_of(&["ask", "a", "hello", "--json"]);
    assert_eq!((&asked["outcome"], &asked["failure"]), (&"failed".into(), &"given_up".into()), "{asked}");
    let session = world.session("a");
    assert_eq!(session["state"], "given_up");
    assert!(session["reason"].as_str().is_some_and(|reason| reason.contains("exit 70")), "{session}");
    let after = world.session("b");
    assert_eq!((&after["pid"], &after["restarts"]), (&before["pid"], &0.into()), "its sibling felt nothing");
    let name = world.json(&["ask", "b", "What is my name?", "--json"]);
    assert_eq!(name["text"], "Your name is Alice.");
    assert_eq!(world.run(&["restart", "a"]).status.code(), Some(0));
    assert_eq!(world.session("a")["state"], "parked");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn a_restart_gives_it_a_fresh_budget() {
    let world = world();
    let _daemon = world.daemon();
    for round in 1..=3 {
        let asked = world.json_of(&["ask", "a", "hello", "--json"]);
        assert_eq!(asked["failure"], "given_up", "{asked}");
        let session = world.session("a");
        assert_eq!(
            (&session["state"], &session["restarts"]),
            (&"given_up".into(), &(2 * round).into()),
            "{session}"
        );
        let verb = if round == 2 { "start" } else { "restart" };
        assert_eq!(world.run(&[verb, "a"]).status.code(), Some(0));
        assert_eq!(world.session("a")["state"], "parked");
    }
}

#[test]
fn a_reload_with_other_options_tries_it_again() {
    let world = world();
    let _daemon = world.daemon();
    world.json_of(&["ask", "a", "hello", "--json"]);
    world.when("a", "given_up");
    world.json(&["reload", "--json"]);
    assert_eq!(world.session("a")["state"], "given_up", "nothing has changed");
    world.rewrite_all(
        "give_up = \"park\"\nmax_restarts = 2\nmax_seconds = 60",
        "",
        "[[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\n",
    );
    world.json(&["reload", "--json"]);
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed");
}

/// A supervisor whose one session crashes at each start, and which is parked after its second crash.
fn branch() -> World {
    let world = World::new();
    world.rewrite_all(
        "give_up = \"park\"\nmax_restarts = 1\nmax_seconds = 60",
        "",
        &format!(
            "[[child]]\nname = \"team\"\ntype = \"supervisor\"\nmax_restarts = 0\n\
             give_up = \"escalate\"\n\
             [[child.child]]\nname = \"a\"\n{CRASHES}[[child.child]]\nname = \"b\"\n"
        ),
    );
    world
}

#[test]
fn a_parked_supervisor_is_restarted_by_its_name_with_a_fresh_budget() {
    let world = branch();
    let _daemon = world.daemon();
    let mut crashes = Vec::new();
    for _ in 1..=2 {
        let before = world.session("a")["generation"].as_u64().unwrap_or_default();
        assert_eq!(world.json_of(&["ask", "a", "hello", "--json"])["failure"], "given_up");
        assert_eq!(world.json(&["tree", "--json"])["children"][0]["state"], "parked");
        let (a, b) = (world.session("a"), world.session("b"));
        assert_eq!((&a["state"], &b["state"]), (&"given_up".into(), &"given_up".into()));
        crashes.push(a["generation"].as_u64().unwrap_or_default() - before);
        let output = world.run(&["restart", "team"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(world.json(&["tree", "--json"])["children"][0]["state"], "running");
        assert_eq!(world.json(&["ask", "b", "hello", "--json"])["outcome"], "completed");
    }
    assert_eq!(crashes, [2, 2], "each time the budget is whole");
}

#[test]
fn a_supervisor_that_runs_is_restarted_with_its_branch_and_conversations_go_on() {
    let world = branch();
    let _daemon = world.daemon();
    let before = world.json(&["ask", "b", "My name is Alice", "--json"]);
    let of_team = |world: &World| world.json(&["tree", "--json"])["children"][0].clone();
    let first = of_team(&world);
    assert_eq!(world.run(&["restart", "team"]).status.code(), Some(0));
    let second = of_team(&world);
    assert_eq!(second["state"], "running");
    assert_ne!(first["incarnation"], second["incarnation"]);
    let after = world.json(&["ask", "b", "What is my name?", "--json"]);
    assert_eq!(
        (&after["text"], &after["session_id"]),
        (&"Your name is Alice.".into(), &before["session_id"])
    );
}

#[test]
fn an_unknown_name_is_answered_with_those_that_could_be_restarted() {
    let world = branch();
    let _daemon = world.daemon();
    let output = world.run(&["restart", "nobody"]);
    assert_eq!(output.status.code(), Some(5));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("is named \"nobody\"; there are: team, a, b"), "{stderr}");
}
