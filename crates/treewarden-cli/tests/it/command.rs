//! What the command says without a daemon: help, check, schema, the demo.

use std::process::Command;

use crate::support::{PROGRAM, World};

fn run(args: &[&str]) -> std::process::Output {
    Command::new(PROGRAM).args(args).env("NO_COLOR", "1").env_remove("RUST_LOG").output().expect("it runs")
}

#[test]
fn the_help_of_every_verb_is_what_it_was() {
    let mut text = String::new();
    let verbs = [
        "",
        "demo",
        "run",
        "reload",
        "ps",
        "ask",
        "chat",
        "turn",
        "cancel",
        "restart",
        "stop",
        "start",
        "new",
        "remove",
        "clear",
        "interrupt",
        "tree",
        "events",
        "top",
        "check",
        "schema",
    ];
    for verb in verbs {
        let args: Vec<&str> = [verb, "--help"].into_iter().filter(|arg| !arg.is_empty()).collect();
        let output = run(&args);
        text.push_str(&format!(
            "$ treewarden {}\n{}\n",
            args.join(" "),
            String::from_utf8_lossy(&output.stdout)
        ));
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn a_good_file_is_said_to_be_good() {
    let output = run(&["check", concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/treewarden.example.toml")]);
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let (first, in_force) = stdout.split_once('\n').expect("a line");
    assert!(first.ends_with("treewarden.example.toml is valid: 4 sessions"), "{stdout}");
    assert!(in_force.starts_with("the tree: one_for_one; "), "{stdout}");
}

#[test]
fn a_broken_file_is_explained_with_its_own_exit_code() {
    let world = World::with("[[child]]\nnmae = \"a\"\nidle_timeout = 15\n");
    let output = world.run(&["check"]);
    assert_eq!(output.status.code(), Some(3));
    insta::assert_snapshot!("check", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.run(&["run", "--state-dir", "state"]).status.code(), Some(3));
}

#[test]
fn wrong_arguments_have_the_exit_code_of_clap() {
    assert_eq!(run(&["pss"]).status.code(), Some(2));
    assert_eq!(run(&["turn", "no-uuid"]).status.code(), Some(2));
}

#[test]
fn the_schema_is_printed_as_it_is_committed() {
    let committed = include_str!("../../../../docs/treewarden.schema.json");
    assert_eq!(String::from_utf8_lossy(&run(&["schema"]).stdout), committed);
}

#[test]
fn the_demo_shows_a_killed_session_carry_its_conversation_on() {
    let began = std::time::Instant::now();
    let output = run(&[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(began.elapsed().as_secs() < 10, "the demo took {:?}", began.elapsed());
    for line in [
        "Nice to meet you, Alice.",
        "$ kill -9 ",
        "crash: signal 9",
        "Your name is Alice.",
        "0 of its processes",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(text.contains("stands in the transcript: 1."), "{text}");
    assert!(!text.contains('\x1b'), "there are no colours where no terminal is");
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let mut child =
        Command::new(PROGRAM).arg("schema").stdout(std::process::Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_prompt_that_is_too_long_is_refused_and_not_cut() {
    let world = World::new();
    let path = world.path("prompt");
    std::fs::File::create(&path).and_then(|file| file.set_len(16 * 1024 * 1024 + 1)).expect("written");
    let prompt = std::fs::File::open(&path).expect("it is there");
    let output = world.command(&["ask", "a", "-"]).stdin(prompt).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the prompt is longer than 16777216 bytes"), "{said}");
}
