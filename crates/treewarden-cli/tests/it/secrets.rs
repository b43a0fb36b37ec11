//! What is secret stands where its user alone can read it, and what concerns the daemon alone stays with it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::{World, eventually};

/// The arguments of a session's CLI, and its environment, as the system has them.
fn looked_at(world: &World, name: &str) -> (String, String) {
    let pid = eventually("its CLI lives", || world.session(name)["pid"].as_u64());
    let read = |what: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{what}")).expect("it can be read");
        String::from_utf8_lossy(&bytes).replace('\0', "\n")
    };
    (read("cmdline"), read("environ"))
}

const SECRETS: &str = "[[child]]\nname = \"a\"\nsettings = { env = { A = \"SEKRET-settings\" } }\n\
    mcp_config = { s = { type = \"http\", url = \"http://127.0.0.1:1/\", headers = { Authorization = \"SEKRET-mcp\" } } }\n\
    [child.env]\nOWN = \"SEKRET-env\"\n";

#[test]
fn secrets_stand_in_no_argument_and_their_files_are_the_user_s_alone_and_go_with_the_cli() {
    let world = World::with(SECRETS);
    let mut daemon = world.daemon();
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed");
    let (arguments, environment) = looked_at(&world, "a");
    assert!(!arguments.contains("SEKRET"), "{arguments}");
    assert!(environment.contains("OWN=SEKRET-env"));
    let files = || -> Vec<_> {
        let listed = fs::read_dir(world.path("state/settings")).into_iter().flatten().flatten();
        listed.map(|file| file.path()).collect()
    };
    let first = files();
    let text: String = first.iter().map(|file| fs::read_to_string(file).expect("ours")).collect();
    assert!(text.contains("SEKRET-settings") && text.contains("SEKRET-mcp"), "{text}");
    for file in &first {
        assert_eq!(fs::metadata(file).expect("there").mode() & 0o777, 0o600, "{}", file.display());
    }
    // Another CLI has others.
    assert_eq!(world.run(&["restart", "a"]).status.code(), Some(0));
    assert_eq!(world.json(&["ask", "a", "again", "--json"])["outcome"], "completed");
    eventually("those of the first CLI are gone", || first.iter().all(|file| !file.exists()).then_some(()));
    // What a daemon leaves that is killed goes with the next start.
    let second = files();
    daemon.signal("-KILL");
    daemon.wait();
    let mut daemon = world.daemon();
    assert!(!second.is_empty());
    // The socket is there before the tree has swept.
    eventually("those of the killed daemon are gone", || {
        second.iter().all(|file| !file.exists()).then_some(())
    });
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert_eq!(files(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_a_service_manager_told_the_daemon_is_not_told_to_a_cli() {
    let world = World::new();
    let mut command = world.command(&[]);
    let own = [
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "LISTEN_PID",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "JOURNAL_STREAM",
        "INVOCATION_ID",
        "CREDENTIALS_DIRECTORY",
        "TRACEPARENT",
        "TREEWARDEN_LOG",
    ];
    command.envs(own.map(|name| (name, "of-the-daemon"))).env("TW_INHERITED", "of-the-daemon");
    let log = fs::File::create(world.path("log")).expect("it can be made");
    let _daemon = world.daemon_with(command, log);
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed");
    let (_, environment) = looked_at(&world, "a");
    let inherited: Vec<&str> = environment.lines().filter(|line| line.ends_with("=of-the-daemon")).collect();
    assert_eq!(inherited, ["TW_INHERITED=of-the-daemon"]);
    for mark in ["TREEWARDEN_SESSION=", "TREEWARDEN_HOST="] {
        assert!(environment.lines().any(|line| line.starts_with(mark)), "{mark}");
    }
}

#[test]
fn a_token_is_read_where_it_stands_at_each_start_of_a_cli() {
    let world = World::with(
        "[[child]]\nname = \"a\"\n[child.env]\nFILE = { file = \"token\" }\nRUN = { command = \"cat token; echo\" }\n\
         VAR = { var = \"TW_TOKEN\" }\n",
    );
    fs::write(world.path("token"), "first\n").expect("written");
    let mut command = world.command(&[]);
    command.env("TW_TOKEN", "of-the-daemon");
    let log = fs::File::create(world.path("log")).expect("it can be made");
    let _daemon = world.daemon_with(command, log);
    let has = |lines: &[&str]| {
        let (_, environment) = looked_at(&world, "a");
        for line in lines {
            assert!(environment.lines().any(|found| found == *line), "{line} is not in it:\n{environment}");
        }
    };
    assert_eq!(world.json(&["ask", "a", "hello", "--json"])["outcome"], "completed", "{}", world.log());
    has(&["FILE=first", "RUN=first", "VAR=of-the-daemon"]);
    fs::write(world.path("token"), "second\r\n").expect("written");
    assert_eq!(world.run(&["restart", "a"]).status.code(), Some(0));
    assert_eq!(world.json(&["ask", "a", "again", "--json"])["outcome"], "completed");
    has(&["FILE=second", "VAR=of-the-daemon"]);
}

#[test]
fn a_token_that_is_missing_is_a_lasting_failure_in_words_without_its_value() {
    let sources = [
        ("{ file = \"none\" }", "/none cannot be read"),
        (
            "{ command = \"echo SEKRET; echo locked >&2; exit 7\" }",
            "its command `echo …` ended with exit status: 7; run it by hand",
        ),
        ("{ var = \"TW_NOT_SET\" }", "this process has no variable TW_NOT_SET"),
        ("{ var = \"TW_BLANK\" }", "this process has an empty variable TW_BLANK"),
        ("{ file = \"blank\" }", "/blank is empty"),
        ("{ command = \"true SEKRET\" }", "its command `true …` prints nothing"),
    ];
    let children: Vec<String> = sources
        .iter()
        .enumerate()
        .map(|(at, (source, _))| format!("[[child]]\nname = \"s{at}\"\nenv = {{ TOKEN = {source} }}\n"))
        .collect();
    let world = World::with(&format!("{}[[child]]\nname = \"b\"\n", children.concat()));
    fs::write(world.path("blank"), "\n").expect("written");
    let mut command = world.command(&[]);
    command.env("TW_BLANK", "");
    let log = fs::File::create(world.path("log")).expect("it can be made");
    let _daemon = world.daemon_with(command, log);
    for (at, (_, words)) in sources.iter().enumerate() {
        let name = format!("s{at}");
        let answer = world.json_of(&["ask", &name, "hello", "--json"]);
        let message = answer["message"].as_str().unwrap_or_default();
        assert_eq!(answer["failure"], "not_started", "{answer}");
        assert!(
            message.contains("`env.TOKEN`") && message.contains(words) && !message.contains("SEKRET"),
            "{message}"
        );
        assert_eq!(world.session(&name)["restarts"], 0, "it is no crash");
    }
    assert_eq!(world.json(&["ask", "b", "hello", "--json"])["outcome"], "completed");
}

#[test]
fn a_broken_file_and_a_report_show_no_secret() {
    let world = World::with(SECRETS);
    world.rewrite(&SECRETS.replace("settings =", "settingz =").replace("\"SEKRET-env\"", "[\"SEKRET-env\"]"));
    let checked = world.run(&["check"]);
    assert_eq!(checked.status.code(), Some(3));
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(said.contains("settingz") && !said.contains("SEKRET"), "{said}");
}
