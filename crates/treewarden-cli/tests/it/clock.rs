//! A wall clock that is set while a daemon runs: neither a turn nor a restart nor what is stored goes by what a person can set.
//!
//! The clock is that of the daemon and its CLIs alone: a library that adds to it what stands in a file. What a machine that
//! sleeps does to the other clocks is tested with a clock of the test's own (`a_limit_holds_for_every_session_of_the_account_and_for_no_other`,
//! `a_machine_that_slept_has_the_limit_lifted_earlier_by_its_own_clock`).

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{Daemon, World, eventually};

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long added(void) {
  char text[32] = {0};
  const char *path = getenv("TEST_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return 0;
  long got = read(file, text, sizeof text - 1);
  close(file);
  return got > 0 ? atol(text) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, at);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) at->tv_sec += added();
  return result;
}
int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"#;

/// Builds the library into the world; `false` where nothing here can.
fn built(world: &World) -> bool {
    let source = world.path("clock.c");
    fs::write(&source, LIBRARY).expect("it can be written");
    let mut build = Command::new("cc");
    build.args(["-shared", "-fPIC", "-o"]).arg(world.path("clock.so")).arg(source).arg("-ldl");
    build.status().is_ok_and(|status| status.success())
}

/// Sets the clock of the daemon and its CLIs off by so many seconds: at once, so that no half of a number is read.
fn set(world: &World, seconds: i64) {
    fs::write(world.path("new"), seconds.to_string()).expect("it can be written");
    fs::rename(world.path("new"), world.path("clock")).expect("it can be renamed");
}

fn daemon(world: &World) -> Daemon {
    let mut command = world.command(&[]);
    command.env("LD_PRELOAD", world.path("clock.so")).env("TEST_CLOCK", world.path("clock"));
    let log = fs::File::options().create(true).append(true).open(world.path("log"));
    world.daemon_with(command, log.expect("the log can be opened"))
}

/// Asks without waiting for the answer; the turn's id.
fn begin(world: &World, prompt: &str) -> String {
    let begun = world.run(&["ask", "a", prompt, "--detach"]);
    assert!(begun.status.success(), "{begun:?}");
    String::from_utf8_lossy(&begun.stdout).trim().to_owned()
}

fn waited(world: &World, turn: &str) -> Value {
    world.json(&["turn", turn, "--wait", "--json"])
}

/// How often the session's conversation holds a prompt.
fn times(world: &World, prompt: &str) -> usize {
    let session = world.session("a");
    let id = session["session_id"].as_str().expect("it has a conversation");
    let projects = fs::read_dir(world.path("home/projects")).expect("there are some").flatten();
    let texts =
        projects.filter_map(|project| fs::read_to_string(project.path().join(format!("{id}.jsonl"))).ok());
    let of_user = |line: &&str| line.contains("\"type\":\"user\"") && line.contains(prompt);
    texts.map(|text| text.lines().filter(of_user).count()).sum()
}

#[test]
fn a_wall_clock_that_is_set_ends_no_turn_and_sends_none_twice() {
    let world = World::new();
    world.rewrite_all("", "timeout = \"10m\"\nidle_timeout = \"1h\"", "[[child]]\nname = \"a\"\n");
    if !built(&world) {
        return println!("skipped: there is no C compiler");
    }
    set(&world, 0);
    let mut running = daemon(&world);
    world.json(&["ask", "a", "hello", "--json"]);
    let year = 365 * 24 * 3600;
    for (number, seconds) in [10 * year, 0, -50 * year, -3600].into_iter().enumerate() {
        let [plain, killed, left] = ["PLAIN", "KILLED", "LEFT"].map(|what| format!("{what}-{number}."));
        let turn = begin(&world, &format!("{plain} DELAY=1000"));
        // In the middle of the turn, unless this test is slow; then before the next one.
        set(&world, seconds);
        let told = waited(&world, &turn);
        assert_eq!(
            (told["outcome"].as_str(), told["interruptions"].as_u64()),
            (Some("completed"), Some(0)),
            "{told}"
        );

        let turn = begin(&world, &format!("{killed} DELAY=1000"));
        let pid = eventually("it has a CLI", || world.session("a")["pid"].as_u64());
        drop(crate::support::Killed(u32::try_from(pid).expect("a process id")));
        let told = waited(&world, &turn);
        assert_eq!(told["outcome"], "completed", "{told}");

        let turn = begin(&world, &format!("{left} DELAY=1000"));
        running.signal("-KILL");
        running.wait();
        running = daemon(&world);
        let told = waited(&world, &turn);
        assert_eq!(told["outcome"], "completed", "{told}");
        for prompt in [plain, killed, left] {
            assert_eq!(times(&world, &prompt), 1, "{prompt} at {seconds} s");
        }
    }
    running.signal("-TERM");
    assert_eq!(running.wait(), Some(0), "{}", world.log());
    world.nothing_is_left();
}
