//! What the system lets a daemon have: descriptors that are raised and given back, and shortages that are nobody's crash.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::support::{World, eventually};

/// With so many open files a daemon serves one CLI and a few clients, and with fewer it does not start.
const LEAST: u64 = 40;

/// A world with so many sessions.
fn world(sessions: usize, top: &str, defaults: &str) -> World {
    let world = World::new();
    let children: String = (0..sessions).map(|n| format!("[[child]]\nname = \"s{n}\"\n")).collect();
    world.rewrite_all(top, defaults, &children);
    world
}

/// The soft and the hard limit of open files of a process.
fn open_files(pid: u64) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it lives");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("there is one");
    let mut words = line.split_whitespace().skip(3).map(str::to_owned);
    (words.next().expect("soft"), words.next().expect("hard"))
}

/// Asks all sessions at once; how each came out.
fn ask_all(world: &World, sessions: usize) -> Vec<String> {
    std::thread::scope(|scope| {
        let ask = |n: usize| {
            let asked = world.run(&["ask", &format!("s{n}"), "hello", "--json"]);
            match serde_json::from_slice::<Value>(&asked.stdout) {
                Ok(asked) => format!("{} {}", asked["outcome"], asked["message"]),
                Err(_) => {
                    format!("exit {:?}: {}", asked.status.code(), String::from_utf8_lossy(&asked.stderr))
                }
            }
        };
        let all: Vec<_> = (0..sessions).map(|n| scope.spawn(move || ask(n))).collect();
        all.into_iter().map(|asked| asked.join().expect("it is answered")).collect()
    })
}

#[test]
fn the_daemon_raises_its_limit_of_open_files_and_a_cli_gets_the_old_one() {
    let world = world(1, "", "");
    let before = ["-c", "ulimit -Sn 256; ulimit -Hn 4000; exec \"$@\"", "sh"];
    let mut daemon = world.start_below("sh", &before, &["run", "--state-dir", "state"]);
    let asked = eventually("it answers", || {
        let asked = world.run(&["ask", "s0", "hello", "--json"]);
        asked.status.success().then_some(asked)
    });
    assert!(asked.status.success());
    let pid = world.session("s0")["pid"].as_u64().expect("its CLI lives");
    assert_eq!(open_files(pid), ("256".to_owned(), "4000".to_owned()), "as it would have without the daemon");
    assert_eq!(open_files(daemon.pid().into()), ("4000".to_owned(), "4000".to_owned()));
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
}

#[test]
fn more_sessions_than_there_are_descriptors_for_all_answer() {
    // Told to have as many CLIs as it likes, the daemon meets the limit itself: starts wait, and nobody's budget is spent.
    for (top, defaults) in [("", ""), ("max_live = 1000\n", "idle_timeout = \"1s\"")] {
        let world = world(24, &format!("{top}max_restarts = 0"), defaults);
        let before = ["-c", "ulimit -n 64; exec \"$@\"", "sh"];
        let mut daemon = world.start_below("sh", &before, &["run", "--state-dir", "state"]);
        eventually("the daemon answers", || world.run(&["ps"]).status.success().then_some(()));
        let said = ask_all(&world, 24);
        let others: Vec<_> = said.iter().filter(|said| !said.starts_with("\"completed\"")).collect();
        assert!(others.is_empty(), "{top:?}: {others:?}\n{}", world.log());
        daemon.signal("-TERM");
        assert_eq!(daemon.wait(), Some(0), "the tree lives to its end: {}", world.log());
        world.nothing_is_left();
    }
}

#[test]
fn whoever_asks_leaves_descriptors_for_the_cli_that_answers() {
    // 24 descriptors are the daemon's own: 24 clients more would leave none for a CLI, and all would wait for all.
    let world = world(24, "max_restarts = 0", "idle_timeout = \"1s\"\ntimeout = \"60s\"");
    let before = ["-c", "ulimit -n 48; exec \"$@\"", "sh"];
    let mut daemon = world.start_below("sh", &before, &["run", "--state-dir", "state"]);
    eventually("the daemon answers", || world.run(&["ps"]).status.success().then_some(()));
    let said = ask_all(&world, 24);
    let with = |words: &str| said.iter().filter(|said| said.starts_with(words)).count();
    // Who is refused, or hung up on before it has asked, can ask again; who waits for ever cannot.
    let (answered, refused) = (with("\"completed\""), with("exit Some("));
    assert!(answered > 0 && answered + refused == 24, "{said:?}\n{}", world.log());
    let asked = world.json_of(&["ask", "s23", "hello", "--json"]);
    assert_eq!(asked["outcome"], "completed", "{asked}");
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn clients_that_ask_nothing_keep_nobody_out_where_there_are_few_descriptors() {
    let world = world(1, "", "");
    let before = ["-c", "ulimit -n 48; exec \"$@\"", "sh"];
    let _daemon = world.start_below("sh", &before, &["run", "--state-dir", "state"]);
    eventually("the daemon answers", || world.run(&["ps"]).status.success().then_some(()));
    let idle: Vec<_> = (0..80).filter_map(|_| UnixStream::connect(world.socket()).ok()).collect();
    assert_eq!(idle.len(), 80);
    let ps = world.run(&["ps"]);
    assert!(ps.status.success(), "{}", String::from_utf8_lossy(&ps.stderr));
    let asked = world.json_of(&["ask", "s0", "hello", "--json"]);
    assert_eq!(asked["outcome"], "completed", "{asked}\n{}", world.log());
}

#[test]
fn more_sessions_than_there_are_processes_for_all_answer() {
    // A user whom nobody else is: the limit counts all that a user has.
    const USER: &str = "47113";
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() {
        return println!("skipped: only root can run a program as another user, and setpriv has to be there");
    }
    let world = world(12, "max_restarts = 0", "");
    let program = world.give_files_to(USER);
    let program = program.to_str().expect("UTF-8");
    let become_user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"];
    let run = ["--nproc=40"].into_iter().chain(become_user).chain([program, "run", "--state-dir", "state"]);
    let mut daemon = world.start_other("prlimit", &run.collect::<Vec<_>>());
    let listens = || UnixStream::connect(world.socket()).ok().map(drop);
    eventually(&format!("the daemon listens, as that user: {}", world.log()), listens);
    // By the socket and as root: the command would talk to no other user's daemon, and as that user it would count.
    let ask = |n: usize| {
        let mut stream = UnixStream::connect(world.socket()).expect("it listens");
        writeln!(stream, "{}", json!({ "op": "ask", "name": format!("s{n}"), "prompt": "hello" }))
            .expect("it reads");
        stream
    };
    let asked: Vec<UnixStream> = (0..12).map(ask).collect();
    for stream in &asked {
        let last =
            BufReader::new(stream).lines().map_while(Result::ok).find(|line| !line.starts_with("{\"item\""));
        let last = last.unwrap_or_default();
        assert!(last.contains("\"completed\""), "{last}\n{}", world.log());
    }
    drop(asked);
    assert!(!world.log().contains("panicked"), "{}", world.log());
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "the tree lives to its end: {}", world.log());
    world.nothing_is_left();
}

#[test]
fn check_says_that_a_session_which_demands_the_kernel_does_not_start_where_that_keeps_nothing() {
    let world = World::new();
    world.rewrite("[[child]]\nname = \"a\"\nmemory_max = \"1 GiB\"\nlimits = \"kernel\"\n");
    let checked = world.run(&["check", "treewarden.toml"]);
    assert_eq!(checked.status.code(), Some(0), "it is valid all the same");
    let said = String::from_utf8_lossy(&checked.stdout);
    let is_told = said.contains("`memory_max` and `limits = \"kernel\"` does not start here");
    let _daemon = world.daemon();
    let asked = world.json_of(&["ask", "a", "hello", "--json"]);
    let starts = asked["outcome"] == "completed";
    assert_eq!(starts, !is_told, "{said}\n{asked}");
}

#[test]
fn check_says_which_clis_cannot_all_live() {
    let world = World::new();
    world.rewrite_all("max_live = 1", "pinned = true", "[[child]]\nname = \"a\"\n[[child]]\nname = \"b\"\n");
    let checked = world.run(&["check", "treewarden.toml"]);
    assert_eq!(checked.status.code(), Some(0), "it is valid all the same");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(said.contains("2 CLIs are to live all the time") && said.contains("fewer: 1"), "{said}");
}

/// Asks on a connection of its own, and waits for the end: `ok`, or the code of the refusal; what went wrong otherwise.
fn asked(world: &World, name: &str) -> Result<String, std::io::Error> {
    let mut stream = UnixStream::connect(world.socket())?;
    // Whoever is turned away is told before it has asked.
    let _turned_away = writeln!(stream, "{}", json!({ "op": "ask", "name": name, "prompt": "hello" }));
    for line in BufReader::new(stream).lines() {
        let line: Value = serde_json::from_str(&line?)?;
        if line["ok"].is_object() {
            return Ok("ok".to_owned());
        }
        if let Some(code) = line["error"]["code"].as_str() {
            return Ok(code.to_owned());
        }
    }
    Ok("hung up".to_owned())
}

#[test]
fn clients_leave_the_clis_the_descriptors_that_they_need() {
    let world = world(30, "max_live = 16", "");
    let before = ["-c", "ulimit -n 256; exec \"$@\"", "sh"];
    let mut daemon = world.start_below("sh", &before, &["run", "--state-dir", "state"]);
    eventually("the daemon answers", || world.run(&["ps"]).status.success().then_some(()));
    assert!(world.log().contains("leaves room for 64 clients at once"), "{}", world.log());
    let said = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let world = &world;
            scope.spawn(move || asked(world, &format!("s{}", n % 30)))
        };
        let all: Vec<_> = (0..250).map(ask).collect();
        all.into_iter().map(|asked| asked.join().expect("no panic")).collect::<Vec<_>>()
    });
    let count = |code: &str| said.iter().filter(|said| said.as_ref().is_ok_and(|said| said == code)).count();
    assert!(count("ok") >= 30, "{said:?}\n{}", world.log());
    assert_eq!(count("ok") + count("busy"), 250, "the others are told: {said:?}\n{}", world.log());
    // Those that ask nothing keep nobody from an answer either.
    let _idle: Vec<_> = (0..250).map(|_| UnixStream::connect(world.socket()).expect("it listens")).collect();
    let said = ask_all(&world, 30);
    assert!(said.iter().all(|said| said.starts_with("\"completed\"")), "{said:?}\n{}", world.log());
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}

#[test]
fn check_says_how_many_clients_a_small_limit_of_open_files_leaves_room_for() {
    let world = World::new();
    let own = world.command(&["check", "treewarden.toml"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(own.get_program()).args(own.get_args());
    let checked = limited.current_dir(world.path(".")).output().expect("it runs");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("room for 28 clients at once (16 asks and followers, and 8 that wait)"), "{said}");
}

/// The command below so low a limit of open files.
fn below(limit: u64, world: &World, args: &[&str]) -> Output {
    let own = world.command(args);
    let mut limited = std::process::Command::new("sh");
    let script = format!("ulimit -n {limit}; exec \"$@\"");
    limited.args(["-c", &script, "sh"]).arg(own.get_program()).args(own.get_args());
    limited.current_dir(world.path(".")).output().expect("it runs")
}

#[test]
fn a_daemon_that_could_run_no_turn_is_refused_with_what_it_needs() {
    let world = World::new();
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let refused = below(LEAST - 1, &world, &["run", "--state-dir", "state"]);
    let why = said(&refused);
    assert_eq!(refused.status.code(), Some(1), "{why}");
    let limits = format!("the limit of open files is {}", LEAST - 1);
    assert!(why.contains(&limits) && why.contains(&format!("needs {LEAST}:")), "{why}");
    assert!(why.contains("ulimit -n") && why.contains("LimitNOFILE"), "{why}");
    assert!(!world.path("state").exists(), "nothing was begun");
    for (strict, code) in [(None, 0), (Some("--strict"), 3)] {
        let args: Vec<&str> = ["check", "treewarden.toml"].into_iter().chain(strict).collect();
        let checked = below(LEAST - 1, &world, &args);
        assert_eq!(checked.status.code(), Some(code), "{}", said(&checked));
        assert!(said(&checked).contains(&format!("warning: {limits}")), "{}", said(&checked));
        let enough = said(&below(LEAST, &world, &args));
        assert!(!enough.contains("the limit of open files is"), "{enough}");
    }
}

#[test]
fn the_least_daemon_serves_turns_and_whoever_looks_at_them() {
    let world = world(2, "max_restarts = 0", "idle_timeout = \"1s\"");
    let before = ["-c", &format!("ulimit -n {LEAST}; exec \"$@\""), "sh"];
    let mut daemon = world.start_below("sh", &before, &["run", "--state-dir", "state"]);
    eventually("the daemon answers", || world.run(&["ps"]).status.success().then_some(()));
    for name in ["s0", "s1"] {
        let asked = world.command(&["ask", name, "hello DELAY=600000"]).stderr(Stdio::null()).spawn();
        let mut asked = asked.expect("it runs");
        world.when(name, "busy");
        assert!(world.run(&["interrupt", name]).status.success());
        assert_eq!(asked.wait().expect("it ends").code(), Some(7), "{}", world.log());
        let answer = world.json_of(&["ask", name, "hello", "--json"]);
        assert_eq!(answer["outcome"], "completed", "{answer}\n{}", world.log());
    }
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}
