//! What a program prints and reads, in whatever amount.
#![cfg(target_os = "linux")]

mod support;

use std::io;

use bytes::Bytes;
use support::{LIMIT, all, line, resident, start, until};
use treewarden_process::{ContainmentPolicy, Ladder, Line, ProcessTree};

async fn end(tree: ProcessTree) {
    tree.stop(Ladder::kill(), None).await.expect("it can be ended");
}

#[tokio::test]
async fn lines_go_in_and_come_out() {
    let (mut tree, _) =
        start("while read line; do echo \"got $line\"; done; printf end", ContainmentPolicy::Best).await;
    let (mut stdin, mut stdout) = (tree.take_stdin().expect("once"), tree.take_stdout().expect("once"));
    assert!(tree.take_stdin().is_none() && tree.take_stdout().is_none());
    for at in 0..100 {
        stdin.push(Bytes::from(format!("{at}\n"))).expect("it reads");
        stdin.flush().await.expect("it reads");
        assert_eq!(line(&mut stdout).await, format!("got {at}"));
    }
    assert!(!tree.has_exited());
    drop(stdin);
    assert_eq!(all(&mut stdout).await, "end", "what stood after the last line end");
    end(tree).await;
}

#[tokio::test]
async fn a_writer_to_a_dead_program_is_told_and_nothing_else_happens() {
    let (mut tree, _) = start("exit 0", ContainmentPolicy::Best).await;
    let mut stdin = tree.take_stdin().expect("once");
    tree.exited().await;
    assert!(tree.has_exited());
    let mut broken = None;
    until("the pipe is broken", || {
        broken = stdin.push(Bytes::from_static(b"anybody?\n")).err();
        broken.is_some()
    })
    .await;
    assert_eq!(broken.map(|error| error.kind()), Some(io::ErrorKind::BrokenPipe));
    assert!(stdin.is_flushed(), "nothing waits for a dead program");
    end(tree).await;
}

#[tokio::test]
async fn a_hundred_megabytes_without_a_line_end_are_skipped_in_bounded_memory() {
    let script = "echo before; head -c 300000000 /dev/zero; echo; echo after; head -c 70000000 /dev/zero";
    let (mut tree, _) = start(script, ContainmentPolicy::Best).await;
    let mut stdout = tree.take_stdout().expect("once");
    let (before, mut most) = (resident(), 0);
    let (mut lines, mut seen) = (Vec::new(), Vec::new());
    let reading = async {
        while stdout.next_batch(&mut lines).await.expect("a pipe") {
            most = most.max(resident().saturating_sub(before));
            seen.append(&mut lines);
        }
        seen.append(&mut lines);
    };
    tokio::time::timeout(4 * LIMIT, reading).await.expect("in time");
    let text = |text: &'static str| Line::Complete(Bytes::from_static(text.as_bytes()));
    let wanted = [
        text("before"),
        Line::TooLong { bytes: 300_000_000 },
        text("after"),
        Line::TooLong { bytes: 70_000_000 },
    ];
    assert_eq!(seen, wanted);
    assert!(most < 200 << 20, "{most} bytes were taken");
    end(tree).await;
}

#[tokio::test]
async fn a_flood_on_stderr_neither_blocks_the_program_nor_takes_memory() {
    let script = "yes 'a line of the flood' | head -c 200000000 >&2; echo last words >&2; echo done";
    let (mut tree, _) = start(script, ContainmentPolicy::Best).await;
    let tail = tree.stderr_tail();
    let before = resident();
    assert_eq!(line(&mut tree.take_stdout().expect("once")).await, "done");
    let taken = resident().saturating_sub(before);
    end(tree).await;
    assert_eq!(tail.total(), 200_000_011);
    let text = tail.text();
    assert_eq!(text.len(), 64 << 10);
    assert!(text.ends_with("last words\n"), "{:?}", &text[text.len() - 50..]);
    // The other tests of this file may run at the same time.
    assert!(taken < 300 << 20, "{taken} bytes were taken");
}

#[tokio::test]
async fn stderr_that_is_no_text_is_shown_as_far_as_it_is() {
    let (tree, _) = start("printf 'caf\\303\\251 \\377 end' >&2; exit 1", ContainmentPolicy::Best).await;
    let tail = tree.stderr_tail();
    end({
        tree.exited().await;
        tree
    })
    .await;
    assert_eq!(tail.text(), "café \u{fffd} end");
}

#[tokio::test]
async fn what_was_printed_before_the_end_can_be_read_after_it() {
    let (mut tree, _) = start("echo result; exit 3", ContainmentPolicy::Best).await;
    let mut stdout = tree.take_stdout().expect("once");
    tree.exited().await;
    end(tree).await;
    assert_eq!(all(&mut stdout).await, "result\n");
}
