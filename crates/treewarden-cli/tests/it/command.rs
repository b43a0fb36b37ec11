//! What the command says without a daemon: help, check, schema, the demo.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{PROGRAM, World};

fn run(args: &[&str]) -> std::process::Output {
    command(args).output().expect("it runs")
}

/// The command as it is when it is installed.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    // `cargo test` sets it, as `cargo run` does.
    command.args(args).env("NO_COLOR", "1").env_remove("RUST_LOG").env_remove("CARGO_PKG_NAME");
    command
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
    let output = run(&["demo"]);
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
fn without_a_verb_the_help_is_shown_and_the_demo_where_cargo_runs_it() {
    let (bare, help) = (run(&[]), run(&["--help"]));
    assert!(bare.status.success());
    assert!(String::from_utf8_lossy(&bare.stdout).contains("Usage: treewarden"));
    assert_eq!(bare.stderr, b"");
    assert_eq!(run(&["-h"]).stdout, bare.stdout, "as -h shows it");
    assert!(help.status.success());
    // As `cargo run` starts it, whose package it is; and as another package's `cargo run` would.
    let cargo = |package: &str| command(&[]).env("CARGO_PKG_NAME", package).output().expect("it runs").stdout;
    assert_eq!(cargo("another"), bare.stdout);
    let demo = cargo(env!("CARGO_PKG_NAME"));
    assert!(String::from_utf8_lossy(&demo).contains("$ kill -9 "), "{}", String::from_utf8_lossy(&demo));
}

#[test]
fn check_warns_of_what_is_absent_here_and_fails_for_it_when_it_is_strict() {
    let world = World::new();
    // The file's own `cwd` and CLI are there; what the machine does not keep of limits is warned of elsewhere.
    let good = world.run(&["check", "--strict"]);
    assert_eq!((good.status.code(), text(&good.stderr)), (Some(0), String::new()));
    world.rewrite("[[child]]\nname = \"a\"\ncwd = \"none\"\n");
    let warned = world.run(&["check"]);
    let said = text(&warned.stderr);
    assert_eq!(warned.status.code(), Some(0), "{said}");
    assert!(text(&warned.stdout).contains("treewarden.toml is valid: 1 session"), "{}", text(&warned.stdout));
    assert!(
        said.starts_with("warning: treewarden.toml:") && said.contains("there is no such folder here"),
        "{said}"
    );
    let strict = world.run(&["check", "--strict"]);
    assert_eq!(strict.status.code(), Some(3));
    assert!(text(&strict.stderr).starts_with(said.trim_end()), "{}", text(&strict.stderr));
    // Also beside what the file is refused for.
    world.rewrite("[[child]]\nname = \"a\"\ncwd = \"none\"\nmodle = \"opus\"\n");
    let refused = world.run(&["check"]);
    let both = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{both}");
    assert!(both.starts_with(said.trim_end()) && both.contains("unknown key `modle`"), "{both}");
}

#[test]
fn check_fails_for_what_no_session_can_start_with_and_starts_nothing() {
    let world = World::new();
    std::fs::write(world.path("cli"), "#!/bin/sh\ntouch \"$(dirname \"$0\")/started\"\n").expect("written");
    world.rewrite(
        "[[child]]\nname = \"a\"\ncli_path = \"./cli\"\ncwd = \"none\"\nmcp_config = \"treewarden.toml\"\n",
    );
    let output = world.run(&["check"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for part in [
        "there is no such folder here",
        "which nobody may execute",
        "is no JSON object",
        "is not valid: 2 errors",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    std::fs::set_permissions(world.path("cli"), std::fs::Permissions::from_mode(0o755)).expect("ours");
    world.rewrite("[[child]]\nname = \"a\"\ncli_path = \"./cli\"\n");
    let output = world.run(&["check"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert!(!world.path("started").exists());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
