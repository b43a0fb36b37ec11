//! Processes that slip out of what holds their tree: what a stop says of them is true.
//!
//! The hosts are this test program, run again with a role, since to adopt orphans is a matter of the whole process; and so
//! are tools that do what a shell cannot.
#![cfg(target_os = "linux")]

#[path = "support/roles.rs"]
mod roles;
mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::time::Instant;

use roles::{Copied, NOBODY, can_have, is_root, role, said};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use support::{Killed, LIMIT, lives, start, until};
use treewarden_process::{Containment, ContainmentPolicy, Ladder, ProcessTree, adopt_orphans, reap_orphans};

/// A tool that does what is asked of it, says its id in a file, and waits to be ended.
#[test]
#[ignore = "a role of the tests here"]
fn as_tool() {
    let Ok(told) = std::env::var("TOOL") else { return };
    let (how, file) = told.split_once(' ').expect("two words");
    match how {
        "undumpable" => set_dumpable_behavior(DumpableBehavior::NotDumpable).expect("it may"),
        // As `setproctitle` does.
        "overwritten" => {
            let stat = fs::read_to_string("/proc/self/stat").expect("/proc is there");
            let fields: Vec<u64> = stat
                .rsplit_once(')')
                .expect("a name")
                .1
                .split_ascii_whitespace()
                .map(|field| field.parse().unwrap_or(0))
                .collect();
            let (start, end) = (fields[47], fields[48]);
            let memory = fs::File::options().write(true).open("/proc/self/mem").expect("it is its own");
            let title = vec![b'x'; usize::try_from(end - start).expect("a few KB")];
            memory.write_all_at(&title, start).expect("it is its own");
        }
        how => panic!("no way to {how}"),
    }
    fs::write(format!("{file}.new"), std::process::id().to_string()).expect("it may");
    fs::rename(format!("{file}.new"), file).expect("it may");
    let began = Instant::now();
    while began.elapsed() < 3 * LIMIT {
        std::thread::sleep(LIMIT);
    }
}

/// How a tool slips out of its tree; but where it is said, it is an orphan in a session of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Into the cgroup above, as `systemd-run` and others move what they start; the mark is kept.
    Moved,
    /// The same, without an environment.
    MovedUnmarked,
    /// Without an environment.
    Unmarked,
    /// The same, but no orphan.
    UnmarkedChild,
    Overwritten,
    Undumpable,
    /// In the session of a shell that detached itself and kept the mark.
    UndumpableBesideAMember,
    SshAgent,
}

const WAYS: [Way; 8] = [
    Way::Moved,
    Way::MovedUnmarked,
    Way::Unmarked,
    Way::UnmarkedChild,
    Way::Overwritten,
    Way::Undumpable,
    Way::UndumpableBesideAMember,
    Way::SshAgent,
];

impl Way {
    /// What a shell does; the tool writes its id into `$F` when it is out.
    fn script(self) -> String {
        let write = "echo $$ >$F.new; mv $F.new $F; exec sleep 600";
        let leave = "echo $$ >${CG%/*}/cgroup.procs";
        let tool = |how: &str| format!("env TOOL=\"{how} $F\" $EXE --exact --ignored --nocapture as_tool");
        match self {
            Self::Moved => format!("(setsid sh -c '{leave}; {write}' &)"),
            Self::MovedUnmarked => format!("(env -i F=$F CG=$CG setsid sh -c '{leave}; {write}' &)"),
            Self::Unmarked => format!("(env -i F=$F setsid sh -c '{write}' &)"),
            Self::UnmarkedChild => format!("env -i F=$F setsid sh -c '{write}' &"),
            Self::Overwritten => format!("(setsid {} &)", tool("overwritten")),
            Self::Undumpable => format!("(setsid {} &)", tool("undumpable")),
            Self::UndumpableBesideAMember => {
                format!("(setsid sh -c '({} &); exec sleep 600' &)", tool("undumpable"))
            }
            Self::SshAgent => {
                "eval $(ssh-agent -a $F.socket); echo $SSH_AGENT_PID >$F.new; mv $F.new $F".to_owned()
            }
        }
    }
}

/// A tree of which a tool has slipped out, and that tool.
async fn escaped(way: Way, policy: ContainmentPolicy) -> (ProcessTree, u32) {
    let folder = std::env::current_dir().expect("there is one");
    let file = folder.join(format!("{way:?}-{}-{policy:?}", std::process::id()));
    let _none = fs::remove_file(&file);
    let script = format!(
        "export F={} EXE={} CG={}$(sed -n s/^0:://p /proc/self/cgroup)\n{}\nwhile :; do sleep 600; done",
        file.display(),
        std::env::current_exe().expect("it has a path").display(),
        mounted(),
        way.script()
    );
    let (tree, _) = start(&script, policy).await;
    until("the tool is out", || file.exists()).await;
    let pid = fs::read_to_string(&file).expect("it is there").trim().parse().expect("a process id");
    // A shell tells its id while its parent, which starts it in the background, may not have ended yet.
    if !matches!(way, Way::UnmarkedChild | Way::UndumpableBesideAMember) {
        let leader = tree.pid().get();
        until("it is an orphan", || support::field(pid, 1).is_some_and(|parent| !is_below(&parent, leader)))
            .await;
    }
    (tree, pid)
}

/// Tells whether a process descends from another.
fn is_below(pid: &str, ancestor: u32) -> bool {
    let mut pid: u32 = pid.parse().expect("a process id");
    while pid > 1 && pid != ancestor {
        pid = support::field(pid, 1).map_or(0, |parent| parent.parse().expect("a process id"));
    }
    pid == ancestor
}

/// Where the unified hierarchy of cgroups is.
fn mounted() -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is there");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    mount.and_then(|line| line.split(' ').nth(4)).unwrap_or_default().to_owned()
}

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_host() {
    let Some(what) = role() else { return };
    let words: Vec<&str> = what.split(' ').collect();
    let way = WAYS.into_iter().find(|way| format!("{way:?}") == words[0]).expect("a way");
    let policy = match words[1] {
        "best" => ContainmentPolicy::Best,
        _ => ContainmentPolicy::GroupAndCookie,
    };
    let _beside = std::env::var(BESIDE).ok().map(|pid| Killed(pid.parse().expect("an id")));
    if words.contains(&"adopting") {
        adopt_orphans().expect("it may");
    }
    let (tree, tool) = escaped(way, policy).await;
    let _end = Killed(tool);
    let containment = tree.containment().clone();
    let ladder = Ladder::kill();
    let ladder = if words.contains(&"crash") {
        drop(Killed(tree.pid().get()));
        tree.exited().await;
        ladder
    } else {
        ladder.rung(treewarden_process::Rung::CloseStdin, std::time::Duration::from_millis(1))
    };
    let gone = match tree.stop(ladder, None).await {
        Ok(gone) => gone.leftovers().await.map(|late| {
            let named = gone.left().iter().any(|process| process.pid.get() == tool);
            format!("gone: {}; late: {late}; named={named}", gone.found())
        }),
        Err(error) => Err(error),
    };
    let gone = gone.unwrap_or_else(|error| error.to_string());
    let lived = lives(tool);
    until("it is reaped", || {
        lived || support::field(tool, 1) != Some(std::process::id().to_string()) || reap_orphans() > 0
    })
    .await;
    println!("\nhost lived={lived} {containment} {gone}");
}

/// Names a process that was there before the host was.
const BESIDE: &str = "TREEWARDEN_TEST_BESIDE";

struct Lab {
    copied: Copied,
}

impl Lab {
    #[expect(clippy::print_stdout, reason = "what was skipped is said")]
    /// What a host of that user says of a tool that slips out, or nothing if there is no cgroup although one is needed.
    fn say(&self, user: u32, way: Way, how: &str) -> Option<String> {
        let mut host = self.copied.command(&[], "as_host", &format!("{way:?} {how}"));
        let answer = said(host.uid(user), "host");
        if how.starts_with("best") && !answer.contains(" cgroup ") {
            println!("skipped {way:?} {how}: no cgroup can be made here");
            return None;
        }
        Some(answer)
    }

    #[track_caller]
    fn is_gone(&self, user: u32, way: Way, how: &str, proof: &str) {
        let Some(answer) = self.say(user, way, how) else { return };
        assert!(answer.starts_with("lived=false "), "{way:?} {how}: {answer}");
        // Beside the tool there may be what it is just done with.
        let (_, found) = answer
            .split_once(if proof.starts_with("late ") { "late: " } else { "gone: " })
            .expect("it is gone");
        let (found, proof) = (found.split(';').next().expect("one part"), proof.trim_start_matches("late "));
        let none = found.split(", ").any(|part| part == format!("0 by {proof}"));
        assert!(!none && found.contains(proof), "{way:?} {how}: {answer}");
    }
}

#[test]
fn what_moves_itself_into_another_cgroup_is_gone_when_that_is_said() {
    if !is_root("a cgroup above one's own") {
        return;
    }
    let lab = Lab { copied: Copied::new() };
    lab.is_gone(0, Way::Moved, "best", "mark");
    lab.is_gone(0, Way::MovedUnmarked, "best adopting", "descent");
}

#[test]
fn whatever_way_a_tool_slips_out_it_is_gone_when_an_adopting_host_says_so() {
    let me = rustix::process::geteuid();
    let has_agent = std::process::Command::new("ssh-agent").arg("-k").output().is_ok();
    let lab = Lab { copied: Copied::new() };
    for way in WAYS.into_iter().filter(|way| *way != Way::SshAgent || has_agent) {
        // Whoever is not root has no cgroup above.
        if matches!(way, Way::Moved | Way::MovedUnmarked) && !me.is_root() {
            continue;
        }
        for how in ["best adopting", "group adopting"] {
            let Some(answer) = lab.say(me.as_raw(), way, how) else { continue };
            assert!(
                answer.starts_with("lived=false ") && answer.contains("gone: "),
                "{way:?} {how}: {answer}"
            );
        }
    }
}

#[test]
fn after_a_crash_what_left_the_cgroup_is_ended_beside_the_next_start() {
    if !is_root("a cgroup above one's own") {
        return;
    }
    let lab = Lab { copied: Copied::new() };
    lab.is_gone(0, Way::Moved, "best crash", "late mark");
    lab.is_gone(0, Way::MovedUnmarked, "best adopting crash", "late descent");
}

#[test]
fn what_has_no_mark_any_more_is_found_by_its_cgroup_by_its_descent_or_as_an_orphan_of_the_host() {
    let lab = Lab { copied: Copied::new() };
    let me = rustix::process::geteuid().as_raw();
    for way in [Way::Unmarked, Way::Overwritten] {
        lab.is_gone(me, way, "best", "cgroup");
        lab.is_gone(me, way, "group adopting", "descent");
        lab.is_gone(me, way, "group adopting crash", "descent");
    }
    lab.is_gone(me, Way::UnmarkedChild, "group", "descent");
}

#[test]
fn what_lets_nobody_look_into_it_is_found_by_its_session_or_as_an_orphan_of_the_host() {
    // To root nothing is hidden.
    let me = rustix::process::geteuid();
    let user = if me.is_root() { NOBODY } else { me.as_raw() };
    let lab = Lab { copied: Copied::new() };
    lab.is_gone(user, Way::UndumpableBesideAMember, "group", "mark");
    lab.is_gone(user, Way::Undumpable, "group adopting", "descent");
    lab.is_gone(user, Way::Undumpable, "group adopting crash", "descent");
    if std::process::Command::new("ssh-agent").arg("-k").output().is_err() {
        println!("skipped the real ssh-agent: there is none");
        return;
    }
    lab.is_gone(user, Way::SshAgent, "group adopting", "descent");
    lab.is_gone(me.as_raw(), Way::SshAgent, "best", "cgroup");
}

#[test]
fn an_orphan_of_a_host_that_is_given_those_of_others_is_left_and_named() {
    let lab = Lab { copied: Copied::new() };
    let entry = format!("sleep 600 >/dev/null 2>&1 & export {BESIDE}=$!; exec \"$@\"");
    let ways = [
        vec!["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"],
        vec!["sh", "-c", &entry, "sh"],
    ];
    for before in ways {
        if before[0] == "unshare" && !(is_root("a namespace of process ids") && can_have(&before)) {
            continue;
        }
        for (how, way) in [("", Way::Unmarked), (" crash", Way::Unmarked), ("", Way::UnmarkedChild)] {
            let what = format!("{way:?} group adopting{how}");
            let answer = said(&mut lab.copied.command(&before, "as_host", &what), "host");
            // Nothing says of an orphan without a mark that it was not there for somebody else.
            let is_left = matches!(way, Way::Unmarked);
            let right = answer.starts_with(&format!("lived={is_left} "))
                && answer.ends_with(&format!("named={is_left}"));
            assert!(right, "{before:?} {what}: {answer}");
        }
    }
}

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_host_of_two() {
    if role().is_none() {
        return;
    }
    adopt_orphans().expect("it may");
    let (first, tool) = escaped(Way::Unmarked, ContainmentPolicy::GroupAndCookie).await;
    let _end = Killed(tool);
    let (later, _) = start("sleep 600", ContainmentPolicy::GroupAndCookie).await;
    let (second, other) = escaped(Way::Overwritten, ContainmentPolicy::GroupAndCookie).await;
    let _other_end = Killed(other);
    assert_eq!(*second.containment(), Containment::GroupAndCookie);
    let named = |gone: &treewarden_process::TreeGone| -> Vec<u32> {
        gone.left().iter().map(|process| process.pid.get()).collect()
    };
    // The first tool was there before the leaders of the later trees. Where all of it happens within one tick of the clock
    // that start times are told by, that does not show, and the first tool may be named as well.
    let are_named = |gone: &treewarden_process::TreeGone| {
        let named = named(gone);
        named.contains(&other) && named.iter().all(|pid| [other, tool].contains(pid))
    };
    // It is the second one's tool or that of one of the others: left, and named.
    let gone = second.stop(Ladder::kill(), None).await.expect("it can be ended");
    let left = are_named(&gone) && lives(other) && lives(tool);
    let gone = later.stop(Ladder::kill(), None).await.expect("it can be ended");
    let left_again = are_named(&gone) && lives(other) && lives(tool);
    let gone = first.stop(Ladder::kill(), None).await.expect("it can be ended");
    println!("\ntwo {left} {left_again} {} {}", named(&gone).is_empty(), !lives(other) && !lives(tool));
}

#[test]
fn an_orphan_of_one_of_two_trees_is_left_and_named_until_the_last_that_may_have_left_it_is_stopped() {
    let copied = Copied::new();
    assert_eq!(said(&mut copied.command(&[], "as_host_of_two", "two"), "two"), "true true true true");
}

#[test]
fn what_is_just_being_spawned_is_not_taken_for_an_orphan_of_a_tree_that_is_stopped() {
    let copied = Copied::new();
    assert_eq!(said(&mut copied.command(&[], "as_busy_spawner", "spawn"), "spawned"), "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a role of the tests here"]
async fn as_busy_spawner() {
    if role().is_none() {
        return;
    }
    adopt_orphans().expect("it may");
    let policy = ContainmentPolicy::GroupAndCookie;
    let (mut stopped, _) = start("exec sleep 600", policy).await;
    let mut right = 0;
    for _ in 0..200 {
        let stopping = tokio::spawn(stopped.stop(Ladder::kill(), None));
        let (next, _) = start("exec sleep 600", policy).await;
        stopping.await.expect("it does not panic").expect("it can be ended");
        right += i32::from(!next.has_exited());
        stopped = next;
    }
    stopped.stop(Ladder::kill(), None).await.expect("it can be ended");
    println!("\nspawned {right}");
}

#[test]
fn a_reaper_of_orphans_takes_no_exit_status_that_is_waited_for() {
    let copied = Copied::new();
    assert_eq!(said(&mut copied.command(&[], "as_busy_reaper", "reap"), "busy"), "100");
}

#[tokio::test]
#[ignore = "a role of the tests here"]
async fn as_busy_reaper() {
    if role().is_none() {
        return;
    }
    adopt_orphans().expect("it may");
    let reaping = std::thread::spawn(|| {
        while !std::path::Path::new("reaped").exists() {
            reap_orphans();
        }
    });
    let mut right = 0;
    for turn in 0..100 {
        let (tree, _) = start(&format!("(true &); exit {turn}"), ContainmentPolicy::GroupAndCookie).await;
        let code = tree.exited().await.code();
        let gone = tree.stop(Ladder::kill(), None).await.expect("it can be ended");
        right += i32::from(code == Some(turn) && gone.status().and_then(|status| status.code()) == code);
    }
    fs::write("reaped", "").expect("it may");
    reaping.join().expect("it does not panic");
    println!("\nbusy {right}");
}
