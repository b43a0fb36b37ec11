//! A daemon that is stopped for a while, as by a debugger, a freezer or Ctrl-Z: no CLI is killed for what the daemon did not see,
//! and whoever asks meanwhile is not kept for ever.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{World, eventually};

/// The daemon is stopped for longer than any of its deadlines.
const PAUSE: Duration = Duration::from_secs(5);

#[test]
fn a_daemon_that_was_stopped_kills_no_cli_that_did_its_work_meanwhile() {
    let world = World::new();
    world.rewrite_all(
        "",
        "silence_timeout = \"2s\"\ntimeout = \"4s\"",
        "[[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\n",
    );
    let daemon = world.daemon();
    for name in ["a", "b"] {
        assert_eq!(world.json(&["ask", name, "hello", "--json"])["outcome"], "completed");
    }
    let before = [world.session("a"), world.session("b")];
    // One answers while nobody looks; the other has nothing to do.
    let asked = world.command(&["ask", "a", "hello STREAM=10:100", "--json"]).stdout(Stdio::piped()).spawn();
    let asked = asked.expect("it can be run");
    eventually("it is at work", || (world.session("a")["state"] == "busy").then_some(()));
    daemon.signal("-STOP");
    // Its clock is to be past every deadline, which nothing but time can do.
    let until = Instant::now() + PAUSE;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    daemon.signal("-CONT");
    let answer = asked.wait_with_output().expect("it ends").stdout;
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer["outcome"], "completed", "{answer}\n{}", world.log());
    assert_eq!(answer["interruptions"], 0, "{answer}");
    for before in before {
        let name = before["name"].as_str().expect("a name");
        assert_eq!(world.json(&["ask", name, "again", "--json"])["outcome"], "completed");
        let after = world.session(name);
        assert_eq!((&after["pid"], &after["restarts"]), (&before["pid"], &before["restarts"]), "{after}");
    }
}

/// Runs the verbs at one time, each to its end.
fn all(world: &World, verbs: &[&[&str]]) -> Vec<Output> {
    std::thread::scope(|scope| {
        let all: Vec<_> = verbs.iter().map(|verb| scope.spawn(|| world.run(verb))).collect();
        all.into_iter().map(|verb| verb.join().expect("no panic")).collect()
    })
}

#[test]
fn whoever_asks_a_stopped_daemon_is_told_that_it_says_nothing_and_nothing_is_asked_later() {
    let world = World::new();
    let daemon = world.daemon();
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed");
    daemon.signal("-STOP");
    let verbs: &[&[&str]] = &[
        &["ask", "a", "hello"],
        &["ask", "a", "hello", "--stream"],
        &["ask", "a", "hello", "--detach"],
        &["events"],
        &["events", "--follow"],
    ];
    for (verb, output) in verbs.iter().zip(all(&world, verbs)) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{verb:?}: {said}");
        assert!(said.contains("says nothing for 10 s") && said.contains("was not sent"), "{verb:?}: {said}");
    }
    let mut chat = world.command(&["chat", "a"]);
    let chat = chat.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut chat = chat.expect("it can be run");
    chat.stdin.take().expect("a pipe").write_all(b"hello\n").expect("it reads");
    let output = chat.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(8), "{}", String::from_utf8_lossy(&output.stderr));
    daemon.signal("-CONT");
    assert_eq!(world.json(&["ask", "a", "again", "--json"])["outcome"], "completed");
    assert_eq!(world.session("a")["turns"], 2, "what was not sent is not asked later");
}

/// One who answers `hello`, and reads whatever else it is asked, of which it tells.
fn answers_hello(stream: UnixStream, mut asked: impl FnMut(&UnixStream)) {
    let lines = BufReader::new(stream.try_clone().expect("copied")).lines();
    for line in lines.map_while(Result::ok) {
        if line.contains("\"op\":\"hello\"") {
            // Whoever asked may have gone.
            let _gone =
                writeln!(&stream, r#"{{"ok":{{"protocol":1,"version":"0","pid":1,"state_dir":"/x"}}}}"#);
        } else {
            asked(&stream);
        }
    }
}

fn listener(world: &World) -> UnixListener {
    std::fs::create_dir(world.path("state")).expect("made");
    UnixListener::bind(world.socket()).expect("bound")
}

#[test]
fn a_daemon_that_stops_before_it_takes_a_prompt_up_is_given_up_with_what_may_have_begun() {
    let world = World::new();
    let listener = listener(&world);
    for (detach, becomes) in [(false, "one that has is interrupted"), (true, "one that has goes on")] {
        let output = std::thread::scope(|scope| {
            let daemon = scope.spawn(|| {
                // It answers the first connection, and after it has read the prompt nobody.
                let (first, _) = listener.accept().expect("a client comes");
                answers_hello(first, |_| {});
                drop(listener.accept().expect("the client looks whether it lives"));
            });
            let output = world.run(match detach {
                true => &["ask", "a", "hello", "--detach"],
                false => &["ask", "a", "hello"],
            });
            daemon.join().expect("no panic");
            output
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(8), "{said}");
        assert!(said.contains("Whether a turn has begun is not known"), "{said}");
        assert!(said.contains(becomes) && said.contains("treewarden events"), "{said}");
    }
}

#[test]
fn a_prompt_that_a_live_daemon_is_slow_to_take_up_is_waited_for() {
    let world = World::new();
    let listener = listener(&world);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (first, _) = listener.accept().expect("a client comes");
            answers_hello(first, |stream| {
                // Only once the client has looked whether the daemon lives.
                answers_hello(listener.accept().expect("it looks").0, |_| {});
                let opened = r#"{"item":{"type":"opened","turn":"0190a000-0000-7000-8000-000000000000"}}"#;
                let ended = r#"{"ok":{"turn":"0190a000-0000-7000-8000-000000000000","outcome":"completed","text":"late"}}"#;
                writeln!({ stream }, "{opened}\n{ended}").expect("it reads");
            });
        });
        world.run(&["ask", "a", "hello"])
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "late\n");
    assert!(said.contains("has not taken it up yet"), "{said}");
}
