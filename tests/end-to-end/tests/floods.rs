//! Floods: a line over the limit and a torrent on stderr, in bounded memory. One process for these alone, since the
//! peak of its memory is what is measured.

use treewarden::Session;
use treewarden_end_to_end::{Lab, end};

/// So much may the peak grow: less than what is thrown at it.
const BOUND_KIB: u64 = 100 << 10;

/// The peak of this process's memory so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is readable");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak is told");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test]
async fn a_line_of_a_hundred_megabytes_is_skipped_in_bounded_memory() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    let before = peak();
    let answer = session.query("PROMPT-2 HUGE=104857600").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    let grown = peak() - before;
    assert!(grown < BOUND_KIB, "the peak grew by {grown} KiB");
    let status = session.status().await.expect("status");
    assert_eq!((status.skipped_lines, status.restarts), (1, 0));
    end(&session).await;
}

#[tokio::test]
async fn a_flood_on_stderr_takes_no_memory_and_its_tail_is_kept() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-1").await.expect("answered");
    let before = peak();
    let answer = session.query("PROMPT-2 STDERR=1073741824").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    let grown = peak() - before;
    assert!(grown < BOUND_KIB, "the peak grew by {grown} KiB");
    let answer = session.query("PROMPT-3 STDERR=1000 CRASH=delta:0 ONCE=1").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-3"), "{answer}");
    let last = session.status().await.expect("status").last_exit.expect("a CLI ended");
    assert!(last.contains("a line of noise on stderr"), "{last}");
    end(&session).await;
}
