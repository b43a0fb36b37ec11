//! Consumers that hardly read: little memory, nothing lost, and nobody else is kept waiting. One process for these
//! alone, since the growth of its memory is measured.

use std::time::{Duration, Instant};

use treewarden::Session;
use treewarden::session::{Event, Outcome, QueryErrorKind, SessionState, Turn};
use treewarden_end_to_end::{Lab, end, eventually, outcome_of, reaches};

/// More frames than any test waits for.
const FIREHOSE: &str = "PROMPT-1 N=100000000";

/// So many numbered frames are more than all buffers on the way hold.
const NUMBERED: usize = 20_000;

/// So much may this process grow.
const BOUND_KIB: u64 = 64 << 10;

/// The memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is readable");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the memory is told");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// How many bytes the session's CLI has written so far; none while it has no CLI.
async fn written(session: &Session) -> u64 {
    let Some(pid) = session.status().await.expect("status").pid else { return 0 };
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("/proc is readable");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("what was written is told");
    line.parse().expect("a number")
}

/// Waits until the session's CLI writes no more: each buffer on the way is full.
async fn stalls(session: &Session) {
    let (mut before, mut same) = (0, 0);
    eventually("the CLI is made to wait", async || {
        let now = written(session).await;
        same = if now == before && now > 1 << 20 { same + 1 } else { 0 };
        before = now;
        (same == 10).then_some(())
    })
    .await;
}

fn delta(event: Option<Event>) -> Option<String> {
    let Some(Event::Frame(frame)) = event else { return None };
    frame.text_delta().map(|text| text.to_string())
}

/// Reads a turn to its end; the text deltas, and the outcome.
async fn rest(turn: &mut Turn) -> (Vec<String>, Option<Outcome>) {
    let (mut deltas, mut outcome) = (Vec::new(), None);
    while let Some(event) = turn.next().await {
        match event {
            Event::Outcome(end) => outcome = Some(end),
            event => deltas.extend(delta(Some(event))),
        }
    }
    (deltas, outcome)
}

/// The deltas of a turn of so many numbered frames, and of its answer.
fn numbered(deltas: &[String]) -> bool {
    let (answer, words) = deltas.split_last().expect("the answer comes last");
    answer.starts_with("answer to")
        && words.len() == NUMBERED
        && words.iter().enumerate().all(|(n, word)| *word == format!("word{n} "))
}

fn assert_interrupted(outcome: Option<&Outcome>) {
    assert!(matches!(outcome, Some(Outcome::Interrupted)), "{outcome:?}");
}

/// 1,024 frames of any size were kept for a subscriber that reads nothing.
#[tokio::test]
async fn large_frames_of_no_turn_take_little_memory_while_a_reader_of_the_events_reads_nothing() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    session.query("PROMPT-0").await.expect("answered");
    let before = resident();
    let mut reader = lab.host.events().now();
    session.query("PROMPT-1 STRAY=300:1048576").await.expect("answered");
    session.query("PROMPT-2 STRAY=400:200000").await.expect("answered");
    let grown = resident().saturating_sub(before);
    assert!(grown < BOUND_KIB, "{grown} KiB more");
    let gap = reader.try_next().expect("there is something").expect_err("the first are gone");
    assert!(gap.missed.is_some_and(|missed| missed > 300), "{gap}");
    end(&session).await;
}

#[tokio::test]
async fn a_consumer_of_one_frame_a_second_takes_little_memory() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    session.query("PROMPT-0").await.expect("answered");
    let before = resident();
    let mut turn = session.stream(FIREHOSE).await.expect("opened");
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..4 {
        second.tick().await;
        assert!(turn.next().await.is_some());
        let grown = resident().saturating_sub(before);
        assert!(grown < BOUND_KIB, "it grew by {grown} KiB");
    }
    stalls(&session).await;
    turn.interrupt();
    assert_interrupted(rest(&mut turn).await.1.as_ref());
    end(&session).await;
}

#[tokio::test]
async fn an_interrupt_gets_through_to_a_cli_whose_consumer_does_not_read() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let mut turn = session.stream(FIREHOSE).await.expect("opened");
    stalls(&session).await;
    let began = Instant::now();
    assert!(session.interrupt().await.expect("interrupted"));
    // The outcome is there while the consumer has read nothing yet.
    assert_eq!(outcome_of(&lab.host, turn.id()).await["outcome"], "interrupted");
    println!("from the interrupt to its outcome: {:?}", began.elapsed());
    let answer = session.query("PROMPT-2").await.expect("answered");
    assert!(answer.text.contains("answer to PROMPT-2"), "{answer}");
    let status = session.status().await.expect("status");
    assert_eq!((status.restarts, status.generation), (0, 1), "the CLI was not killed for it");
    let (deltas, outcome) = rest(&mut turn).await;
    assert!(deltas.len() > 1000, "what was buffered is delivered: {}", deltas.len());
    assert_interrupted(outcome.as_ref());
    end(&session).await;
}

#[tokio::test]
async fn what_a_slow_consumer_gets_of_an_interrupted_turn_has_no_gap_and_ends_with_its_result() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let mut turn = session.stream("PROMPT-1 STREAM=10000000:0").await.expect("opened");
    stalls(&session).await;
    turn.interrupt();
    outcome_of(&lab.host, turn.id()).await;
    let mut frames = Vec::new();
    while let Some(frame) = turn.until_result().next().await {
        frames.push(frame);
    }
    let words: Vec<_> = frames.iter().filter_map(|frame| Some(frame.text_delta()?.to_string())).collect();
    assert!(words.len() > 1000, "{}", words.len());
    assert!(words.iter().enumerate().all(|(n, word)| *word == format!("word{n} ")));
    assert_eq!(frames.last().map(|frame| frame.type_name().into_owned()).as_deref(), Some("result"));
    end(&session).await;
}

#[tokio::test]
async fn a_consumer_that_pauses_gets_every_frame_in_order() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let mut turn = session.stream(format!("PROMPT-1 STREAM={NUMBERED}:0")).await.expect("opened");
    stalls(&session).await;
    let mut deltas = Vec::new();
    while deltas.len() < 3 {
        deltas.extend(delta(turn.next().await));
    }
    stalls(&session).await;
    let (more, outcome) = rest(&mut turn).await;
    deltas.extend(more);
    assert!(numbered(&deltas), "{} deltas", deltas.len());
    assert!(matches!(outcome, Some(Outcome::Completed(_))), "{outcome:?}");
    end(&session).await;
}

#[tokio::test]
async fn a_cli_whose_consumer_does_not_read_is_not_taken_for_frozen() {
    let lab = Lab::new();
    let short = Duration::from_millis(100);
    let options = lab.streaming("assistant").silence_timeout(short).probe_timeout(short);
    let session = Session::start(options).await.expect("started");
    let other = Session::start(lab.options("clock")).await.expect("started");
    let mut turn = session.stream(format!("PROMPT-1 STREAM={NUMBERED}:0")).await.expect("opened");
    stalls(&session).await;
    // Many times as long as a CLI may be silent.
    other.query("PROMPT-2 DELAY=1500").await.expect("answered");
    let (deltas, outcome) = rest(&mut turn).await;
    assert!(numbered(&deltas), "{} deltas", deltas.len());
    let answer = outcome.as_ref().and_then(Outcome::answer).expect("answered");
    assert_eq!(answer.interruptions, 0);
    assert_eq!(session.status().await.expect("status").restarts, 0);
    end(&other).await;
    end(&session).await;
}

#[tokio::test]
async fn the_neighbour_of_a_session_whose_consumer_does_not_read_is_served() {
    let lab = Lab::new();
    let stalled = Session::start(lab.streaming("stalled")).await.expect("started");
    let neighbour = Session::start(lab.streaming("neighbour")).await.expect("started");
    let mut turn = stalled.stream(FIREHOSE).await.expect("opened");
    stalls(&stalled).await;
    for n in 0..20 {
        let answer = neighbour.query(format!("PROMPT-{n}-")).await.expect("answered");
        assert!(answer.text.contains(&format!("answer to PROMPT-{n}-")), "{answer}");
    }
    turn.interrupt();
    assert_interrupted(rest(&mut turn).await.1.as_ref());
    end(&neighbour).await;
    end(&stalled).await;
}

#[tokio::test]
async fn of_eight_consumers_of_a_turn_the_slowest_sets_the_pace_and_each_gets_every_frame() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let first = session.stream("PROMPT-0 DELAY=300").await.expect("opened");
    let turn = session.stream(format!("PROMPT-1 STREAM={NUMBERED}:0")).await.expect("opened");
    let id = turn.id();
    let join = async || session.attach(id).await.expect("a session").expect("the turn waits");
    let mut slow = join().await;
    let mut fast = vec![turn];
    for _ in 0..6 {
        fast.push(join().await);
    }
    first.answer().await.expect("answered");
    let fast: Vec<_> =
        fast.into_iter().map(|mut turn| tokio::spawn(async move { rest(&mut turn).await })).collect();
    // The slow one reads nothing: the CLI waits, and so do the others.
    stalls(&session).await;
    assert!(fast.iter().all(|consumer| !consumer.is_finished()));
    let (deltas, _) = rest(&mut slow).await;
    assert!(numbered(&deltas), "{} deltas", deltas.len());
    for consumer in fast {
        let (deltas, outcome) = consumer.await.expect("no panic");
        assert!(numbered(&deltas), "{} deltas", deltas.len());
        assert!(matches!(outcome, Some(Outcome::Completed(_))), "{outcome:?}");
    }
    end(&session).await;
}

#[tokio::test]
async fn a_slow_consumer_that_leaves_holds_the_others_no_longer() {
    let lab = Lab::new();
    let session = Session::start(lab.streaming("assistant")).await.expect("started");
    let first = session.stream("PROMPT-0 DELAY=300").await.expect("opened");
    let mut turn = session.stream(format!("PROMPT-1 STREAM={NUMBERED}:0")).await.expect("opened");
    let slow = session.attach(turn.id()).await.expect("a session").expect("the turn waits");
    first.answer().await.expect("answered");
    let reader = tokio::spawn(async move { rest(&mut turn).await });
    stalls(&session).await;
    drop(slow);
    let (deltas, _) = reader.await.expect("no panic");
    assert!(numbered(&deltas), "{} deltas", deltas.len());
    end(&session).await;
}

#[tokio::test]
async fn the_sixty_fifth_consumer_of_a_turn_is_refused_until_one_leaves() {
    let lab = Lab::new();
    let session = Session::start(lab.options("assistant")).await.expect("started");
    let turn = session.stream("PROMPT-1 STREAM=2000:50").await.expect("opened");
    let join = async || session.attach(turn.id()).await;
    let mut joined = Vec::new();
    for _ in 1..64 {
        joined.push(join().await.expect("there is room").expect("it is open"));
    }
    let error = join().await.expect_err("refused");
    assert_eq!((error.kind(), error.turn()), (QueryErrorKind::TooManyConsumers, Some(turn.id())));
    assert!(error.is_retryable() && error.to_string().contains("64"), "{error}");
    drop(joined.pop());
    joined.push(join().await.expect("there is room again").expect("it is open"));
    reaches(&session, SessionState::Busy).await;
    turn.interrupt();
    for consumer in joined {
        let outcome = consumer.outcome().await.expect("settled");
        assert_interrupted(Some(&outcome));
    }
    assert_interrupted(Some(&turn.outcome().await.expect("settled")));
    end(&session).await;
}
