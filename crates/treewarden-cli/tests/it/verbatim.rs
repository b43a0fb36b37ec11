//! What is asked by the command is words, unless it is asked as a command.

use std::io::Write;
use std::process::Stdio;

use crate::support::World;

#[test]
fn a_prompt_of_the_command_is_words_unless_it_is_asked_as_a_command() {
    let world = World::with("[[child]]\nname = \"a\"\n");
    let _daemon = world.daemon();
    let said = |args: &[&str], input: &str| {
        let mut asks = world.command(args);
        let asks = asks.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut asks = asks.expect("it runs");
        // Whoever reads nothing may have ended by then.
        drop(asks.stdin.take().expect("it is piped").write_all(input.as_bytes()));
        let output = asks.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(said(&["ask", "a", "/help"], ""), "answer to /help\n");
    assert_eq!(said(&["ask", "a", "-"], "/help\n"), "answer to /help\n");
    for (args, input) in
        [(["ask", "--command", "a", "/help"], ""), (["ask", "--command", "a", "-"], "/help\n")]
    {
        assert!(said(&args, input).contains("isn't available"), "{args:?}");
    }
    let chat = said(&["chat", "a"], "/help\nhello\n");
    assert!(chat.contains("isn't available") && chat.contains("answer to hello"), "{chat}");
}
