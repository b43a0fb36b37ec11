//! How much memory a tree takes, seen from beside it, and the one process of it that is killed.
#![cfg(target_os = "linux")]

mod support;

use std::time::Duration;

use support::{LIMIT, POLICIES, start};
use treewarden_process::{KernelLimits, Ladder, Meter, Reading, kill, weigh};

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
