//! Ending a tree: the ladder, what has left the group, and the proof.
#![cfg(target_os = "linux")]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use support::{LIMIT, POLICIES, cookie, exists, line, lives, marked, shell, start, until};
use treewarden_process::{ContainmentPolicy, Ladder, ProcessTree, Rung, prove_gone, spawn};

const LONG: Duration = Duration::from_secs(30);

/// A leader with a child of its own, and what it says of it.
async fn with_child(how: &str, policy: ContainmentPolicy) -> (ProcessTree, treewarden_process::Cookie, u32) {
    let script = format!("{how} sh -c 'echo $$; exec sleep 600' & sleep 600");
    let (mut tree, cookie) = start(&script, policy).await;
    let child = line(&mut tree.take_stdout().expect("the first time")).await;
    (tree, cookie, child.parse().expect("a process id"))
}

#[tokio::test]
async fn an_exit_ends_a_rung_early_and_its_code_is_told() {
    for policy in POLICIES {
        let (mut tree, _) = start("read line; exit 7", policy).await;
        let stdin = tree.take_stdin();
        let began = Instant::now();
        let ladder = Ladder::kill().rung(Rung::CloseStdin, LONG).rung(Rung::Terminate, LONG);
        let gone = tree.stop(ladder, stdin).await.expect("it can be ended");
        assert_eq!(gone.status().and_then(|status| status.code()), Some(7));
        assert!(began.elapsed() < LONG / 2);
    }
}

#[tokio::test]
async fn a_line_is_the_first_means_if_the_ladder_says_so() {
    let (mut tree, _) =
        start("read line; [ \"$line\" = end ] && exit 5; exit 6", ContainmentPolicy::Best).await;
    let stdin = tree.take_stdin();
    let ladder = Ladder::kill().rung(Rung::WriteLine(Bytes::from_static(b"end\n")), LONG);
    let gone = tree.stop(ladder, stdin).await.expect("it can be ended");
    assert_eq!(gone.status().and_then(|status| status.code()), Some(5));
}

#[tokio::test]
async fn what_ignores_the_end_of_its_input_and_sigterm_is_killed() {
    for policy in POLICIES {
        let script = "trap '' TERM HUP INT; echo ready; while :; do sleep 600; done";
        let (mut tree, cookie) = start(script, policy).await;
        line(&mut tree.take_stdout().expect("the first time")).await;
        let stdin = tree.take_stdin();
        let short = Duration::from_millis(100);
        let ladder = Ladder::kill().rung(Rung::CloseStdin, short).rung(Rung::Terminate, short);
        let gone = tree.stop(ladder, stdin).await.expect("it can be ended");
        assert_eq!(gone.status().and_then(|status| status.signal()), Some(9));
        assert_eq!(marked(&cookie), [0_u32; 0]);
    }
}

#[tokio::test]
async fn sigterm_reaches_the_leader_alone_so_that_it_cleans_up_after_itself() {
    // Not by SIGTERM: a shell's child that has not come to its `exec` yet would swallow that.
    let script = "trap 'kill -9 $tool; wait $tool; exit 9' TERM; sleep 600 & tool=$!; \
                  (trap 'echo hit' TERM; while :; do sleep 1; done) & other=$!; echo $other; while :; do sleep 0.05; done";
    let (mut tree, _) = start(script, ContainmentPolicy::Best).await;
    let mut stdout = tree.take_stdout().expect("the first time");
    let other: u32 = line(&mut stdout).await.parse().expect("a process id");
    let gone = tree.stop(Ladder::kill().rung(Rung::Terminate, LONG), None).await.expect("it can be ended");
    assert_eq!(gone.status().and_then(|status| status.code()), Some(9));
    assert!(!lives(other));
    let mut lines = Vec::new();
    while stdout.next_batch(&mut lines).await.expect("a pipe") {}
    assert!(lines.is_empty(), "the signal reached another process: {lines:?}");
}

#[tokio::test]
async fn gone_is_not_said_before_a_detached_child_is_gone() {
    for policy in POLICIES {
        for how in ["", "setsid", "nohup setsid setsid -f"] {
            let (tree, cookie, child) = with_child(how, policy).await;
            tree.stop(Ladder::kill(), None).await.expect("it can be ended");
            assert!(!lives(child), "{policy:?} {how}");
            assert_eq!(marked(&cookie), [0_u32; 0]);
        }
    }
}

#[tokio::test]
async fn a_child_without_the_cookie_is_found_by_its_group_or_session_after_the_leader_ended_by_itself() {
    for policy in POLICIES {
        // With job control, which not every `sh` has without a terminal, each job gets a group of its own.
        for how in ["sh -c \"", "bash -c \"set -m; "] {
            let script = format!("{how} env -i sh -c 'echo \\$\\$; exec sleep 600' &\"; read line; exit 4");
            let (mut tree, _) = start(&script, policy).await;
            let child = line(&mut tree.take_stdout().expect("the first time")).await;
            let child: u32 = child.parse().expect("a process id");
            let in_group = support::group(child) == Some(tree.pid().get());
            assert_eq!(in_group, how.starts_with("sh"));
            drop(tree.take_stdin());
            assert_eq!(tree.exited().await.code(), Some(4));
            assert!(lives(child));
            tree.stop(Ladder::kill(), None).await.expect("it can be ended");
            assert!(!lives(child), "{policy:?} {how}");
        }
    }
}

#[tokio::test]
async fn what_a_leader_left_behind_when_it_crashed_is_ended() {
    for policy in POLICIES {
        let (tree, _, child) = with_child("setsid", policy).await;
        let leader = rustix::process::Pid::from_raw(i32::try_from(tree.pid().get()).expect("an id"));
        rustix::process::kill_process(leader.expect("an id"), rustix::process::Signal::KILL)
            .expect("it lives");
        assert_eq!(tree.exited().await.signal(), Some(9));
        assert!(lives(child), "the child was to survive its leader");
        let gone = tree.stop(Ladder::kill(), None).await.expect("it can be ended");
        assert_eq!(gone.status().and_then(|status| status.signal()), Some(9));
        assert!(!lives(child));
    }
}

#[tokio::test]
async fn processes_that_multiply_while_they_are_killed_are_all_ended() {
    for policy in POLICIES {
        let script = "breed() { i=0; while [ $i -lt 40 ]; do setsid sleep 600 & i=$((i + 1)); done; }; \
                      breed & breed & echo ready; wait; sleep 600";
        let (mut tree, cookie) = start(script, policy).await;
        line(&mut tree.take_stdout().expect("the first time")).await;
        tree.stop(Ladder::kill(), None).await.expect("it can be ended");
        assert_eq!(marked(&cookie), [0_u32; 0]);
    }
}

#[tokio::test]
async fn the_leader_is_reaped_once_the_tree_is_gone() {
    for policy in POLICIES {
        let (tree, _) = start("exit 0", policy).await;
        let pid = tree.pid().get();
        assert!(tree.exited().await.success());
        // Asked twice, and dropped half-way: the answer stays.
        assert!(tree.exited().await.success());
        let gone = tree.stop(Ladder::kill(), None).await.expect("it can be ended");
        gone.leftovers().await.expect("there are none");
        assert!(!exists(pid), "a zombie is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_tree_ends_it_without_anybody_waiting() {
    for policy in POLICIES {
        let (tree, cookie, child) = with_child("setsid", policy).await;
        let pid = tree.pid().get();
        drop(tree);
        until("nothing is left", || !exists(pid) && !lives(child) && marked(&cookie).is_empty()).await;
    }
}

#[test]
fn a_tree_whose_runtime_is_shut_down_ends_all_the_same() {
    for policy in POLICIES {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        let (pid, child) = runtime.block_on(async {
            let (tree, _, child) = with_child("setsid", policy).await;
            let pid = tree.pid().get();
            tokio::spawn(async move { tree.exited().await });
            (pid, child)
        });
        runtime.shutdown_background();
        let began = Instant::now();
        while exists(pid) || lives(child) {
            assert!(began.elapsed() < LIMIT, "something is left");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[tokio::test]
async fn a_stop_that_nobody_waits_for_any_more_ends_the_tree_all_the_same() {
    for policy in POLICIES {
        let (tree, cookie, child) = with_child("setsid", policy).await;
        let pid = tree.pid().get();
        let stopping = tree.stop(Ladder::kill().rung(Rung::CloseStdin, LONG), None);
        assert!(tokio::time::timeout(Duration::from_millis(20), stopping).await.is_err());
        until("nothing is left", || !exists(pid) && !lives(child) && marked(&cookie).is_empty()).await;
    }
}

#[tokio::test]
async fn a_frozen_tree_can_be_ended() {
    for policy in POLICIES {
        let (tree, cookie, child) = with_child("setsid", policy).await;
        for pid in [tree.pid().get(), child] {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("an id")).expect("an id");
            rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it lives");
        }
        let ladder = Ladder::kill().rung(Rung::Terminate, Duration::from_millis(50));
        tree.stop(ladder, None).await.expect("it can be ended");
        assert_eq!(marked(&cookie), [0_u32; 0]);
    }
}

#[tokio::test]
async fn an_earlier_tree_of_the_session_is_ended_and_proven_gone_without_its_handle() {
    for policy in POLICIES {
        let (tree, cookie, child) = with_child("setsid", policy).await;
        let gone = prove_gone(cookie.clone()).await.expect("it can be ended");
        assert_eq!(gone.status(), None, "it is not known how a foreign leader ended");
        assert!(!lives(child) && !lives(tree.pid().get()));
        tree.stop(Ladder::kill(), None).await.expect("it is gone already");
    }
}

#[tokio::test]
async fn another_session_is_left_alone() {
    for policy in POLICIES {
        let (ended, _, _) = with_child("setsid", policy).await;
        let (other, _, child) = with_child("setsid", policy).await;
        ended.stop(Ladder::kill(), None).await.expect("it can be ended");
        prove_gone(cookie()).await.expect("there is nothing");
        assert!(lives(child) && lives(other.pid().get()));
        other.stop(Ladder::kill(), None).await.expect("it can be ended");
    }
}

#[tokio::test]
async fn no_cgroup_is_left_when_a_tree_is_gone() {
    let cookie = cookie();
    let tree = spawn(shell("sleep 600"), cookie.clone(), ContainmentPolicy::Best).await.expect("it spawns");
    let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", tree.pid())).expect("it lives");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is there");
    let mount =
        mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let own =
        cgroups.lines().find_map(|line| line.strip_prefix("0::")).filter(|own| own.contains(cookie.as_str()));
    let (Some(mount), Some(own)) = (mount, own) else {
        println!("skipped: no cgroup can be made here, so the tree is held by {}", tree.containment());
        tree.stop(Ladder::kill(), None).await.expect("it can be ended");
        return;
    };
    let path = std::path::PathBuf::from(format!("{mount}{own}"));
    // As a container runtime in the tree would.
    std::fs::create_dir(path.join("nested")).expect("it is ours");
    let inner = tree.pid().to_string();
    std::fs::write(path.join("nested/cgroup.procs"), inner).expect("it can be moved");
    tree.stop(Ladder::kill(), None).await.expect("it can be ended");
    assert!(!path.exists(), "{} is left", path.display());
}

#[test]
fn a_proof_that_nobody_waits_for_any_more_does_not_touch_the_next_tree() {
    // One thread for what blocks: the proof stands in its queue until the test lets it go.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
    runtime.expect("a runtime can be made").block_on(async {
        for policy in POLICIES {
            let cookie = cookie();
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || wait.recv());
            let mut proof = Box::pin(prove_gone(cookie.clone()));
            assert!(now(&mut proof).await.is_none(), "it waits for the thread");
            drop(proof);
            let script = shell("echo ready; exec sleep 600");
            let mut next = spawn(script, cookie, policy).await.expect("a shell can be spawned");
            line(&mut next.take_stdout().expect("the first time")).await;
            go.send(()).expect("the thread waits");
            busy.await.expect("it ends").expect("it was told");
            // Whatever stood in the queue is done when this is.
            tokio::task::spawn_blocking(|| ()).await.expect("it ends");
            assert!(!next.has_exited(), "{policy:?}: the next tree was ended");
            next.stop(Ladder::kill(), None).await.expect("it can be ended");
        }
    });
}

#[tokio::test]
async fn a_tree_on_its_way_out_does_not_take_the_next_one_along() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for policy in POLICIES {
        let leave = folder.path().join(format!("{policy:?}"));
        let script = format!(
            "trap 'while [ ! -e {} ]; do sleep 0.01; done; exit' TERM; echo ready; while :; do sleep 0.01; done",
            leave.display()
        );
        let (mut first, cookie) = start(&script, policy).await;
        line(&mut first.take_stdout().expect("the first time")).await;
        let pid = first.pid().get();
        drop(first);
        let mut next = spawn(shell("echo ready; exec sleep 600"), cookie, policy).await.expect("it spawns");
        line(&mut next.take_stdout().expect("the first time")).await;
        std::fs::write(&leave, "").expect("it is ours");
        until("the first one is gone", || !exists(pid)).await;
        assert!(!next.has_exited(), "{policy:?}: the next tree was ended");
        next.stop(Ladder::kill(), None).await.expect("it can be ended");
    }
}

/// What a future comes to without waiting, if it does.
async fn now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
