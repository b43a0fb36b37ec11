//! `give_up = "park"`: a session that crashes too often stays down, and whoever waits for it is told at once.

use crate::support::World;

const CRASHES: &str = "env = { TREEWARDEN_FAKE = '{\"start\":\"CRASH=initialize\"}' }\n";

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
