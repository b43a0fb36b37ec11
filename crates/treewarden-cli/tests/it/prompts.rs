//! Prompts as people write them on a command line.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::Value;

use crate::support::World;

#[test]
fn a_prompt_that_is_a_list_is_no_option() {
    let world = World::new();
    let _daemon = world.daemon();
    for args in [["ask", "a", "- fix this\n- and that", "--json"], ["ask", "--json", "a", "--- a/file"]] {
        let answer = world.json(&args);
        assert_eq!(answer["outcome"], "completed", "{args:?}: {answer}");
    }
}

#[test]
fn a_blank_prompt_is_refused_with_words_and_asks_nobody() {
    let world = World::new();
    let _daemon = world.daemon();
    for prompt in ["", "  ", "\n\t\n", "-"] {
        let refused = world.run(&["ask", "a", prompt]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{prompt:?}: {said}");
        assert!(said.contains("the prompt for a is blank"), "{prompt:?}: {said}");
    }
    assert_eq!(world.session("a")["state"], "parked", "no CLI was started for it");
    // The socket says the same to whoever speaks to it.
    let mut socket = UnixStream::connect(world.socket()).expect("it listens");
    socket.write_all(b"{\"op\":\"ask\",\"name\":\"a\",\"prompt\":\" \"}\n").expect("it takes a request");
    let answer: Value =
        serde_json::Deserializer::from_reader(&socket).into_iter().next().expect("it answers").expect("JSON");
    assert_eq!(answer["error"]["code"], "bad_request", "{answer}");
    // A list that a generator made, and that came to nothing.
    let mut asked = world.command(&["ask", "a", "-"]);
    let asked = asked.stdin(Stdio::null()).output().expect("it can be run");
    assert_eq!(asked.status.code(), Some(2));
}
