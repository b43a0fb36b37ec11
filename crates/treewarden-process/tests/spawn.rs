//! What a spawned program gets, and how a spawn fails.
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use support::{LIMIT, POLICIES, all, cookie, field, group, line, program, session, shell, start};
use treewarden_process::{
    Containment, ContainmentPolicy, Ladder, Pid, Process, SpawnError, SpawnErrorKind, spawn,
};

async fn refused(program: treewarden_process::Program) -> SpawnError {
    let cookie = cookie();
    let spawned = spawn(program, cookie.clone(), ContainmentPolicy::Best).await;
    let error = spawned.expect_err("it cannot be spawned");
    assert_eq!(support::marked(&cookie), [0_u32; 0]);
    error
}

#[tokio::test]
async fn the_environment_is_exactly_what_was_given_and_the_marks() {
    for policy in POLICIES {
        let cookie = cookie();
        let mut program = shell("echo ready; read line");
        program.env.insert("EMPTY".into(), "".into());
        program.env.insert("TREEWARDEN_SESSION".into(), "someone else's".into());
        let mut tree = spawn(program, cookie.clone(), policy).await.expect("it spawns");
        line(&mut tree.take_stdout().expect("the first time")).await;
        let environ = std::fs::read(format!("/proc/{}/environ", tree.pid())).expect("it lives");
        let environ = String::from_utf8(environ).expect("it is text");
        let host = Process::find(Pid::new(std::process::id()).expect("own id")).expect("this process lives");
        let variables: BTreeSet<&str> = environ.split_terminator('\0').collect();
        let marks =
            ["HOST", "TREE"].map(|mark| format!("TREEWARDEN_{mark}={}:{}:", host.pid, host.start_time));
        let (marks, rest): (Vec<_>, Vec<_>) =
            variables.into_iter().partition(|variable| marks.iter().any(|mark| variable.starts_with(mark)));
        assert_eq!(marks.len(), 2, "{environ:?}");
        let session = format!("TREEWARDEN_SESSION={}", cookie.as_str());
        assert_eq!(rest, ["EMPTY=", "PATH=/usr/bin:/bin", session.as_str()]);
        tree.stop(Ladder::kill(), None).await.expect("it can be ended");
    }
}

#[tokio::test]
async fn arguments_directory_and_name_reach_the_program_as_given() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let mut program = program("sh", &["-c", "pwd; printf '%s\\n' \"$0\" \"$@\"", "a b", "", "ü\n$x"]);
    program.cwd = dir.path().to_path_buf();
    let mut tree = spawn(program, cookie(), ContainmentPolicy::Best).await.expect("`sh` is on the PATH");
    let mut stdout = tree.take_stdout().expect("the first time");
    let whole = all(&mut stdout).await;
    let at = dir.path().to_str().expect("text");
    assert_eq!(whole, format!("{at}\na b\nü\n$x\n"));
    tree.stop(Ladder::kill(), None).await.expect("it can be ended");
}

#[tokio::test]
async fn the_leader_leads_a_session_and_a_group_so_that_no_terminal_reaches_it() {
    for policy in POLICIES {
        let (tree, _) = start("exec sleep 60", policy).await;
        let pid = tree.pid().get();
        assert_eq!((group(pid), session(pid)), (Some(pid), Some(pid)));
        assert_eq!(field(pid, 4).as_deref(), Some("0"), "it has a terminal");
        tree.stop(Ladder::kill(), None).await.expect("it can be ended");
    }
}

#[tokio::test]
async fn signals_are_as_at_birth_and_no_descriptor_is_inherited() {
    // Opened without close-on-exec, as a C library might.
    let leaked = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
    let leaked = leaked.expect("it can be opened");
    let script = "ls /proc/self/fd | tr '\\n' ' '; cat /proc/self/status";
    let (mut tree, _) = start(script, ContainmentPolicy::Best).await;
    let said = all(&mut tree.take_stdout().expect("the first time")).await;
    // The fourth is the one that `ls` reads the directory through.
    assert!(said.starts_with("0 1 2 3 Name:"), "{said}");
    for set in ["SigBlk:\t", "SigIgn:\t"] {
        let signals = said.split_once(set).expect("the kernel tells").1;
        let signals = u64::from_str_radix(&signals[..16], 16).expect("sixteen digits");
        // Signals 32 and 33 are the C library's own.
        assert_eq!(signals & !(0b11 << 31), 0, "{set} {signals:x}");
    }
    tree.stop(Ladder::kill(), None).await.expect("it can be ended");
    drop(leaked);
}

#[tokio::test]
async fn the_status_names_the_containment() {
    let (tree, _) = start("exec sleep 60", ContainmentPolicy::GroupAndCookie).await;
    assert_eq!(tree.containment().to_string(), "group+cookie");
    tree.stop(Ladder::kill(), None).await.expect("it can be ended");
    let (tree, cookie) = start("exec sleep 60", ContainmentPolicy::Best).await;
    if *tree.containment() == Containment::Cgroup {
        assert_eq!(tree.containment().to_string(), "cgroup");
        let own = std::fs::read_to_string(format!("/proc/{}/cgroup", tree.pid())).expect("it lives");
        assert!(own.contains(cookie.as_str()), "{own}");
    }
    tree.stop(Ladder::kill(), None).await.expect("it can be ended");
}

#[tokio::test]
async fn a_missing_program_is_named() {
    for path in ["/nowhere/claude", "no-such-program-on-the-path", "/dev/null/claude"] {
        let error = refused(program(path, &[])).await;
        assert_eq!(error.kind(), SpawnErrorKind::NotFound, "{error}");
        assert!(error.to_string().starts_with(&format!("spawn {path}: ")), "{error}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_executed_is_told_from_a_missing_one() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let file = |name: &str, text: &str, mode| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    };
    let cases = [
        (file("plain", "#!/bin/sh\n", 0o644), SpawnErrorKind::NotExecutable),
        // So is a program that is still being written.
        (file("garbage", "\u{1}\u{2}garbage", 0o755), SpawnErrorKind::Unfinished),
        (dir.path().to_path_buf(), SpawnErrorKind::NotExecutable),
    ];
    for (path, kind) in cases {
        let error = refused(program(&path, &[])).await;
        assert_eq!(error.kind(), kind, "{error}");
    }
    let error = refused(program(file("script", "#!/nowhere/node\n", 0o755), &[])).await;
    assert_eq!(error.kind(), SpawnErrorKind::NotExecutable);
    assert!(error.to_string().contains("interpreter"), "{error}");
}

#[tokio::test]
async fn a_directory_that_is_gone_is_named_and_not_taken_for_a_missing_program() {
    let mut program = shell("true");
    program.cwd = "/nowhere/project".into();
    let error = refused(program).await;
    assert_eq!(error.kind(), SpawnErrorKind::CwdMissing);
    assert!(error.to_string().contains("/nowhere/project"), "{error}");
}

#[tokio::test]
async fn arguments_that_the_system_refuses_are_no_reason_to_try_again() {
    let too_long = "x".repeat(4 << 20);
    let error = refused(program("/bin/true", &[&too_long])).await;
    assert_eq!((error.kind(), error.is_retryable()), (SpawnErrorKind::InvalidArguments, false), "{error}");
    let error = refused(program("/bin/true", &["a\0b"])).await;
    assert_eq!((error.kind(), error.is_retryable()), (SpawnErrorKind::InvalidArguments, false), "{error}");
}

#[tokio::test]
async fn debug_output_shows_no_values_of_the_environment() {
    let mut program = shell("true");
    program.env.insert("ANTHROPIC_API_KEY".into(), "sk-secret".into());
    let text = format!("{program:?}");
    assert!(text.contains("ANTHROPIC_API_KEY") && !text.contains("sk-secret"), "{text}");
}

#[tokio::test]
async fn more_spawns_than_the_queue_holds_wait_for_their_place() {
    let spawns = (0..100).map(|_| tokio::spawn(spawn(shell("exit 3"), cookie(), ContainmentPolicy::Best)));
    for spawned in spawns.collect::<Vec<_>>() {
        let tree = spawned.await.expect("no panic").expect("it spawns");
        assert_eq!(tree.exited().await.code(), Some(3));
        tree.stop(Ladder::kill(), None).await.expect("it can be ended");
    }
}

#[tokio::test]
async fn a_spawn_that_nobody_waits_for_any_more_leaves_nothing() {
    let cookie = cookie();
    for _ in 0..20 {
        let spawning = spawn(shell("sleep 60"), cookie.clone(), ContainmentPolicy::Best);
        let _too_late = tokio::time::timeout(std::time::Duration::from_micros(200), spawning).await;
    }
    let gone = tokio::time::timeout(LIMIT, treewarden_process::prove_gone(cookie.clone())).await;
    gone.expect("in time").expect("it can be ended");
    support::until("all are gone", || support::marked(&cookie).is_empty()).await;
}
