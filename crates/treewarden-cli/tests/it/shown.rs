//! Words of others are shown, and never sent to a terminal or a log as they are.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::World;

/// What a wrapper, a tool or the model may say: it would set a title, fill the clipboard and clear the screen.
const SAID: &str = "\\033]0;owned\\007\\033]52;c;aGk=\\007\\033[2Jbad\\r\\302\\2332Jnews";

/// Whether a text has a control character that is no line end and no tab.
fn is_raw(text: &str) -> bool {
    text.contains(|each: char| each.is_control() && !matches!(each, '\n' | '\t'))
}

#[test]
fn what_a_cli_says_to_stderr_reaches_no_terminal_and_no_log_as_it_is() {
    let world = World::with("[[child]]\nname = \"a\"\ncli_path = \"./bad\"\n");
    let script = format!("#!/bin/sh\nprintf 'error: unknown option {SAID}\\n' >&2; exit 1\n");
    fs::write(world.path("bad"), script).expect("written");
    fs::set_permissions(world.path("bad"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let _daemon = world.daemon();
    let asked = world.run(&["ask", "a", "hello"]);
    let said = String::from_utf8(asked.stderr).expect("UTF-8");
    assert!(said.contains("owned") && said.contains("news") && !is_raw(&said), "{said:?}");
    for verb in ["ps", "events", "tree"] {
        let shown = String::from_utf8(world.run(&[verb]).stdout).expect("UTF-8");
        assert!(!is_raw(&shown), "{verb}: {shown:?}");
        let json = String::from_utf8(world.run(&[verb, "--json"]).stdout).expect("UTF-8");
        assert!(!is_raw(&json), "{verb} --json: {json:?}");
    }
    let ps = String::from_utf8(world.run(&["ps"]).stdout).expect("UTF-8");
    assert!(ps.contains("owned"), "{ps:?}");
    assert!(!is_raw(&world.log()), "{:?}", world.log());
}

#[test]
fn an_answer_is_as_it_is_in_a_pipe_and_has_no_control_character_on_a_terminal() {
    let world = World::new();
    let _daemon = world.daemon();
    let prompt = "say \u{1b}]0;owned\u{7}\u{9b}2J\u{1b}[31m";
    for args in [&["ask", "a", prompt][..], &["ask", "a", prompt, "--stream"]] {
        let piped = String::from_utf8(world.run(args).stdout).expect("UTF-8");
        assert!(piped.contains(prompt), "{piped:?}");
        let Some(shown) = on_a_terminal(&world, args) else {
            println!("skipped: no `script` is here that makes a terminal");
            return;
        };
        assert!(shown.contains("owned") && !is_raw(&shown.replace('\r', "")), "{shown:?}");
    }
}

/// What a command prints on a terminal.
fn on_a_terminal(world: &World, args: &[&str]) -> Option<String> {
    let own = world.command(args);
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().expect("UTF-8"));
    let words: Vec<String> = std::iter::once(own.get_program()).chain(own.get_args()).map(quoted).collect();
    let mut command = Command::new("script");
    command.args(["-qec", &words.join(" "), "/dev/null"]).current_dir(world.path(""));
    command.env("TREEWARDEN_SOCKET", world.socket()).env("NO_COLOR", "1");
    // Its input stays open to the end: the terminal would show that it has ended.
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let (_open, mut stdout) = (child.stdin.take(), child.stdout.take()?);
    let mut shown = Vec::new();
    stdout.read_to_end(&mut shown).expect("it can be read");
    child.wait().expect("it can be waited for");
    Some(String::from_utf8_lossy(&shown).into_owned())
}
