//! Many sessions with turns flowing, each of whose CLIs is killed again and again: no turn is lost or doubled, no
//! process is left, and the host's memory stays what it was.

#![expect(clippy::print_stdout, reason = "the figures are what the run is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use treewarden::supervisor::Strategy;
use treewarden::{Session, SessionId, SessionName, TurnId};
use treewarden_end_to_end::fleet::{Fleet, heap, memory};
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

/// The memory of the host and its live heap, in KiB, at so many moments until the end, of which a third is not looked at,
/// being the time in which whatever is kept is filled.
async fn samples(began: Instant, length: Duration) -> (Vec<u64>, Vec<u64>) {
    const SAMPLES: u32 = 60;
    let (mut resident, mut live) =
        (Vec::with_capacity(SAMPLES as usize), Vec::with_capacity(SAMPLES as usize));
    for n in 1..=SAMPLES {
        tokio::time::sleep_until((began + length * n / SAMPLES).into()).await;
        resident.push(memory());
        live.push(heap().unwrap_or(0));
    }
    (resident, live)
}

/// What was seen in the middle of the run and at its end: the median of each third but the first.
fn thirds(samples: &[u64]) -> (u64, u64) {
    let median = |samples: &[u64]| {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    let third = samples.len() / 3;
    (median(&samples[third..2 * third]), median(&samples[2 * third..]))
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

/// How much memory may grow between the middle of the run and its end.
struct Growth {
    percent: u64,
    heap_kib: u64,
}

async fn soak(count: usize, length: Duration, growth: Growth) {
    let fleet = Fleet::start(count, None, Strategy::OneForOne, u32::MAX).await;
    fill_the_journal(&fleet).await;
    let (began, kills) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let until = began + length;
    let samples = tokio::spawn(samples(began, length));
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
    let (resident, live) = samples.await.expect("memory is read");
    let (memory, heap) = (thirds(&resident), thirds(&live));
    for (session, asked) in fleet.sessions.iter().zip(&all) {
        check(&fleet, session, asked).await;
    }
    let turns = all.iter().map(|asked| asked.turns).sum::<u64>();
    let interruptions = all.iter().map(|asked| asked.interruptions).sum::<u64>();
    let restarts = fleet.restarts().await;
    println!(
        "{count} sessions for {took:.1?}: {kills} kills, {restarts} restarts, {turns} turns answered once each, \
         {interruptions} interruptions, {} CLIs; KiB of memory in the second and the last third {memory:?}, of live heap {heap:?}; all: {resident:?}, {live:?}",
        fleet.spawns().await
    );
    assert!(
        kills > 0 && turns >= count as u64 && interruptions > 0,
        "turns flow and CLIs are killed under them"
    );
    assert!(restarts <= kills, "nothing but the kills costs a restart");
    assert!(memory.1 * 100 <= memory.0 * (100 + growth.percent), "the memory grows: {memory:?} KiB");
    assert!(heap.1 <= heap.0 + growth.heap_kib, "the live heap grows: {heap:?} KiB");
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_killed_every_second_lose_and_double_no_turn() {
    // Not all that is kept is filled by then.
    soak(20, Duration::from_secs(6), Growth { percent: 25, heap_kib: 4096 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: run it with `just soak-sessions`"]
async fn soak_two_hundred_sessions_killed_every_second_for_a_minute() {
    soak(200, Duration::from_secs(60), Growth { percent: 10, heap_kib: 1024 }).await;
}
