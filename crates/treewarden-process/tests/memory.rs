//! How much memory a tree takes, seen from beside it, and the one process of it that is killed.
#![cfg(target_os = "linux")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use support::{LIMIT, POLICIES, start};
use treewarden_process::{ContainmentPolicy, KernelLimits, Ladder, Meter, Reading, kill, weigh};

/// A leader that does little, beside which one process keeps 60 MB as what may be its last line.
const TREE: &str = "(head -c 60000000 /dev/zero; sleep 600) | tail -n 1; while :; do sleep 600; done";

/// Polls until a look at the tree is as wanted.
async fn until(what: &str, meter: &Meter, is_so: impl Fn(&Reading) -> bool) -> Reading {
    let looking = async {
        loop {
            let reading = weigh(std::slice::from_ref(meter)).expect("it can be looked at").remove(0);
            if is_so(&reading) {
                return reading;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

#[tokio::test]
async fn the_memory_of_a_tree_is_that_of_all_its_processes_and_its_heaviest_can_be_killed_alone() {
    for policy in POLICIES {
        let (tree, _) = start(TREE, policy).await;
        let (other, _) = start("while :; do sleep 600; done", policy).await;
        let meter = tree.meter();
        let full = until("it has grown", &meter, |reading| reading.taken() > 60_000_000).await;
        assert!(full.processes() >= 3, "{full:?}");
        let (heaviest, its) = full.heaviest().expect("it has processes");
        assert_ne!(heaviest, tree.leader());
        assert!(its > 55_000_000, "{full:?}");
        let exact = full.clone().exact();
        assert!(exact.taken() > 55_000_000 && exact.taken() <= full.taken(), "{exact:?} of {full:?}");
        // Each of several trees has its own.
        let both = weigh(&[other.meter(), meter.clone()]).expect("they can be looked at");
        assert!(both[0].taken() < 55_000_000 && both[1].taken() > 55_000_000, "{both:?}");

        kill(heaviest);
        let left = until("it is smaller", &meter, |reading| reading.taken() < 55_000_000).await;
        assert!(left.processes() > 0 && !tree.has_exited(), "its leader lives on: {left:?}");
        tree.stop(Ladder::kill(), None).await.expect("it can be ended");
        other.stop(Ladder::kill(), None).await.expect("it can be ended");
        let gone = weigh(&[meter]).expect("it can be looked at").remove(0);
        assert_eq!(gone, Reading::default());
    }
}

#[tokio::test]
async fn a_limit_is_kept_by_the_kernel_or_it_is_said_that_it_is_not() {
    let limits = KernelLimits { pids_max: Some(64), ..KernelLimits::default() };
    for policy in POLICIES {
        let (tree, _) = start("while :; do sleep 600; done", policy).await;
        match tree.meter().limit(&limits).as_slice() {
            [] => {}
            [unkept] => {
                assert_eq!(unkept.limit, "pids_max");
                println!("skipped {policy:?}: the kernel does not keep it: {}", unkept.why);
            }
            more => panic!("{more:?}"),
        }
        assert_eq!(tree.meter().limit(&KernelLimits::default()), []);
        tree.stop(Ladder::kill(), None).await.expect("it can be ended");
    }
}

/// A leader that waits for a word, lets a tool take 200 MB, and then starts more and more.
const GREEDY: &str = "read go; head -c 200000000 /dev/zero | tail -n 1\n\
                      while :; do sleep 600 & done 2>/dev/null\nwhile :; do sleep 600; done";

#[tokio::test]
async fn the_kernel_kills_at_the_limit_of_memory_and_refuses_one_process_too_many_where_it_has_the_controllers()
 {
    let (mut tree, _) = start(GREEDY, ContainmentPolicy::Best).await;
    let meter = tree.meter();
    let limits = KernelLimits { memory_max: Some(100 << 20), pids_max: Some(8), ..KernelLimits::default() };
    if let [first, ..] = meter.limit(&limits).as_slice() {
        println!("skipped: the kernel does not keep `{}`: {}", first.limit, first.why);
    } else {
        let mut stdin = tree.take_stdin().expect("once");
        stdin.push(Bytes::from_static(b"go\n")).expect("it reads");
        stdin.flush().await.expect("it reads");
        let killed = until("the kernel has killed the tool", &meter, |_| meter.kernel_kills() > 0).await;
        assert!(killed.taken() <= 110 << 20, "{killed:?}");
        // A shell that is refused a process ends.
        let ended = tokio::time::timeout(LIMIT, tree.exited()).await.expect("in time");
        assert!(ended.code().is_some_and(|code| code != 0), "it was not killed itself: {ended}");
        assert!(weigh(&[meter]).expect("it can be looked at").remove(0).processes() <= 8);
    }
    tree.stop(Ladder::kill(), None).await.expect("it can be ended");
}
