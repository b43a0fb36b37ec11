//! Many sessions with turns flowing, each of whose CLIs is killed again and again: no turn is lost or doubled, no
//! process is left, and the host has no more memory, threads, descriptors and files at the end than in the middle.

#![expect(clippy::print_stdout, reason = "the figures are what the run is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use treewarden::supervisor::Strategy;
use treewarden::{Session, SessionId, SessionName, TurnId};
use treewarden_end_to_end::fleet::{Fleet, descriptors, files, heap, memory, threads};
use treewarden_end_to_end::id_of;
use treewarden_store::{Change, NewTurn, Settle};
use treewarden_testkit::faults;

/// What came of the turns of one session; no more is kept, since the memory of this process is looked at.
#[derive(Default)]
struct Asked {
    turns: u64,
    interruptions: u64,
}

fn prompt(session: &Session, turn: u64) -> String {
    format!("TOKEN-{}-{turn} STREAM=5:50", session.name())
}

/// Asks one turn after another, each with a token of its own.
async fn ask(session: Session, until: Instant) -> Asked {
    let mut asked = Asked::default();
    while Instant::now() < until {
        let prompt = prompt(&session, asked.turns);
        let answer = session.query(prompt.as_str()).await.unwrap_or_else(|error| panic!("{prompt}: {error}"));
        assert_eq!(answer.text, format!("answer to {prompt}"));
        asked.turns += 1;
        asked.interruptions += u64::from(answer.interruptions);
    }
    asked
}

/// Kills whatever CLI the session has, once a second; the sessions' kills are spread over the second.
async fn kill(session: Session, offset: Duration, until: Instant, kills: Arc<AtomicU64>) {
    let mut seconds = tokio::time::interval_at(tokio::time::Instant::now() + offset, Duration::from_secs(1));
    loop {
        seconds.tick().await;
        if Instant::now() >= until {
            return;
        }
        let pid = session.status().await.expect("the session is there").pid;
        if pid.is_some_and(|pid| faults::kill(pid).is_ok()) {
            kills.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the host has at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    memory_kib: u64,
    heap_kib: u64,
    threads: u64,
    descriptors: u64,
    /// Of the state directory, and beside the conversations.
    files: u64,
}

/// Samples at so many moments until the end; at first, whatever is kept is filled, and nothing is looked at.
async fn samples(began: Instant, length: Duration, dirs: [PathBuf; 2]) -> Vec<Sample> {
    const SAMPLES: u32 = 60;
    let filled = (length / 3).min(Duration::from_secs(120));
    let mut all = Vec::with_capacity(SAMPLES as usize);
    for n in 1..=SAMPLES {
        tokio::time::sleep_until((began + filled + (length - filled) * n / SAMPLES).into()).await;
        all.push(Sample {
            memory_kib: memory(),
            heap_kib: heap().unwrap_or(0),
            threads: threads(),
            descriptors: descriptors(),
            files: dirs.iter().map(|dir| files(dir)).sum(),
        });
    }
    all
}

/// The median of each half of the samples.
fn halves(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> [u64; 2] {
    let median = |samples: &[Sample]| {
        let mut sorted: Vec<u64> = samples.iter().map(&of).collect();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    let (first, second) = samples.split_at(samples.len() / 2);
    [median(first), median(second)]
}

/// Each turn has its own answer in the journal too, and stands once in its conversation.
async fn check(fleet: &Fleet, session: &Session, asked: &Asked) {
    let name = session.status().await.expect("the session is there").name;
    let limit = usize::try_from(asked.turns).expect("few") + 1;
    let mut stored = fleet.host.store().turns(name.clone(), limit).await.expect("the journal is readable");
    stored.reverse();
    let prompts: Vec<String> = (0..asked.turns).map(|turn| prompt(session, turn)).collect();
    assert_eq!(stored.len(), prompts.len(), "{name}: each turn once in the journal");
    for (turn, prompt) in stored.iter().zip(&prompts) {
        let outcome = turn.outcome.as_ref().map(|outcome| outcome["text"].clone());
        assert_eq!(turn.prompt, *prompt.as_str());
        assert_eq!(outcome, Some(format!("answer to {prompt}").into()), "the journal has the same answer");
    }
    assert_eq!(fleet.lab.prompts(&id_of(session).await), prompts, "each prompt once, in order");
    let status = session.status().await.expect("the session is there");
    assert_eq!((status.turns, status.queued), (asked.turns, 0));
}

/// Has the journal go through some segments: what it takes to put one into the database is taken once, some time.
async fn fill_the_journal(fleet: &Fleet) {
    let (store, name) = (fleet.host.store(), SessionName::new("filler").expect("a valid name"));
    for _ in 0..4 {
        let (turn, session_id) = (TurnId::new(), SessionId::random());
        let prompt = format!("{:?}", "x".repeat(3 << 20)).into();
        let new = NewTurn { turn, name: name.clone(), session_id, prompt, at_most_once: false, opened_at: 0 };
        store.open(new).await.expect("it can be stored");
        let tenure = store.take(name.clone()).await.expect("it can be taken").tenure;
        let settle = vec![Settle { turn, outcome: "1".into(), answered_in: None, at: 0 }];
        let change = Change { settle, ..Change::default() };
        store.commit(tenure, change).await.expect("it can be stored");
    }
}

/// How much more there may be in the second half of what is looked at than in the first.
struct Growth {
    memory_percent: u64,
    heap_kib: u64,
    threads: u64,
    descriptors: u64,
    files: u64,
}

/// What grew by more than it may; each figure is printed.
fn grown(samples: &[Sample], growth: &Growth) -> Vec<String> {
    let grows = |what: &str, of: fn(&Sample) -> u64, most: &dyn Fn(u64) -> u64| {
        let [first, second] = halves(samples, of);
        let all: Vec<u64> = samples.iter().map(of).collect();
        println!("{what}: {first}, then {second}; all: {all:?}");
        (second > most(first)).then(|| format!("{what}: {first}, then {second}"))
    };
    let all = [
        grows("KiB of memory", |it| it.memory_kib, &|first| first * (100 + growth.memory_percent) / 100),
        grows("KiB of live heap", |it| it.heap_kib, &|first| first + growth.heap_kib),
        grows("threads", |it| it.threads, &|first| first + growth.threads),
        grows("descriptors", |it| it.descriptors, &|first| first + growth.descriptors),
        grows("files", |it| it.files, &|first| first + growth.files),
    ];
    all.into_iter().flatten().collect()
}

async fn soak(count: usize, length: Duration, growth: Growth) {
    let fleet = Fleet::start(count, None, Strategy::OneForOne, u32::MAX).await;
    fill_the_journal(&fleet).await;
    let (began, kills) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let until = began + length;
    let dirs = [fleet.host.state_dir().to_owned(), fleet.lab.path().join("claude/treewarden")];
    let samples = tokio::spawn(samples(began, length, dirs));
    let mut killers = Vec::new();
    let mut askers = Vec::new();
    for (n, session) in fleet.sessions.iter().enumerate() {
        let offset =
            Duration::from_secs(1) * u32::try_from(n).expect("few") / u32::try_from(count).expect("few");
        killers.push(tokio::spawn(kill(session.clone(), offset, until, Arc::clone(&kills))));
        askers.push(tokio::spawn(ask(session.clone(), until)));
    }
    let mut all = Vec::with_capacity(count);
    for asker in askers {
        all.push(asker.await.expect("every turn is answered"));
    }
    for killer in killers {
        killer.await.expect("kills");
    }
    let (took, kills) = (began.elapsed(), kills.load(Ordering::Relaxed));
    let samples = samples.await.expect("samples are taken");
    for (session, asked) in fleet.sessions.iter().zip(&all) {
        check(&fleet, session, asked).await;
    }
    let turns = all.iter().map(|asked| asked.turns).sum::<u64>();
    let interruptions = all.iter().map(|asked| asked.interruptions).sum::<u64>();
    let restarts = fleet.restarts().await;
    println!(
        "{count} sessions for {took:.1?}: {kills} kills, {restarts} restarts, {turns} turns answered once each, \
         {interruptions} interruptions, {} CLIs",
        fleet.spawns().await
    );
    let grown = grown(&samples, &growth);
    assert!(
        kills > 0 && turns >= count as u64 && interruptions > 0,
        "turns flow and CLIs are killed under them"
    );
    assert!(restarts <= kills, "nothing but the kills costs a restart");
    assert!(grown.is_empty(), "it grows: {grown:?}");
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_killed_every_second_lose_and_double_no_turn() {
    // Not all that is kept is filled by then, and what lives differs from one moment to the next.
    let growth = Growth { memory_percent: 25, heap_kib: 4096, threads: 128, descriptors: 400, files: 100 };
    soak(20, Duration::from_secs(6), growth).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes, or so many seconds as are said: run it with `just soak-sessions`"]
async fn soak_two_hundred_sessions_killed_every_second() {
    let said = std::env::var("TREEWARDEN_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    // What is live differs by some MiB from one moment to the next.
    let growth = Growth { memory_percent: 10, heap_kib: 3072, threads: 64, descriptors: 200, files: 20 };
    soak(200, Duration::from_secs(said.unwrap_or(600)), growth).await;
}
