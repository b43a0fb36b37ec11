//! Many sessions with turns flowing, each of whose CLIs is killed again and again: no turn is lost or doubled, no
//! process is left, and the host's memory stays what it was.

#![expect(clippy::print_stdout, reason = "the figures are what the run is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use treewarden::supervisor::Strategy;
use treewarden::{Session, TurnId};
use treewarden_end_to_end::fleet::{Fleet, memory};
use treewarden_end_to_end::id_of;
use treewarden_testkit::faults;

/// One turn, and what came of it; no more is kept, since the memory of this process is looked at.
struct Asked {
    prompt: String,
    turn: TurnId,
    text: String,
    interruptions: u32,
}

/// Asks one turn after another, each with a token of its own.
async fn ask(session: Session, until: Instant) -> Vec<Asked> {
    let mut asked = Vec::new();
    while Instant::now() < until {
        let prompt = format!("TOKEN-{}-{} STREAM=5:50", session.name(), asked.len());
        let answer = session.query(prompt.as_str()).await.unwrap_or_else(|error| panic!("{prompt}: {error}"));
        let (turn, interruptions) = (answer.turn, answer.interruptions);
        asked.push(Asked { prompt, turn, text: answer.text, interruptions });
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
        let pid = session.status().expect("the session is there").pid;
        if pid.is_some_and(|pid| faults::kill(pid).is_ok()) {
            kills.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The memory of the host now and at the end, in KiB.
async fn memory_between(from: Instant, until: Instant) -> (u64, u64) {
    tokio::time::sleep_until(from.into()).await;
    let warm = memory();
    tokio::time::sleep_until(until.into()).await;
    (warm, memory())
}

/// Each turn has its own answer, in the journal too, and stands once in its conversation.
fn check(fleet: &Fleet, session: &Session, asked: &[Asked]) {
    for Asked { prompt, turn, text, .. } in asked {
        assert_eq!(*text, format!("answer to {prompt}"));
        let outcome = fleet.host.turn(*turn).expect("the journal is readable").and_then(|turn| turn.outcome);
        let stored = outcome.as_ref().and_then(|outcome| outcome["text"].as_str());
        assert_eq!(stored, Some(text.as_str()), "the journal has the same answer");
    }
    let prompts: Vec<&String> = asked.iter().map(|asked| &asked.prompt).collect();
    let written = fleet.lab.prompts(&id_of(session));
    assert_eq!(written.iter().collect::<Vec<_>>(), prompts, "each prompt once, in order");
    let status = session.status().expect("the session is there");
    assert_eq!((status.turns, status.queued), (asked.len() as u64, 0));
}

async fn soak(count: usize, length: Duration) {
    let fleet = Fleet::start(count, None, Strategy::OneForOne, u32::MAX).await;
    let (began, kills) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let until = began + length;
    let memory = tokio::spawn(memory_between(began + length / 4, until));
    let mut killers = Vec::new();
    let mut askers = Vec::new();
    for (n, session) in fleet.sessions.iter().enumerate() {
        let offset =
            Duration::from_secs(1) * u32::try_from(n).expect("few") / u32::try_from(count).expect("few");
        killers.push(tokio::spawn(kill(session.clone(), offset, until, Arc::clone(&kills))));
        askers.push(tokio::spawn(ask(session.clone(), until)));
    }
    let (mut turns, mut interruptions) = (0, 0);
    for (session, asker) in fleet.sessions.iter().zip(askers) {
        let asked = asker.await.expect("every turn is answered");
        check(&fleet, session, &asked);
        turns += asked.len();
        interruptions += asked.iter().map(|asked| u64::from(asked.interruptions)).sum::<u64>();
    }
    for killer in killers {
        killer.await.expect("kills");
    }
    let (took, kills) = (began.elapsed(), kills.load(Ordering::Relaxed));
    let (warm, end) = memory.await.expect("memory is read");
    let restarts = fleet.restarts();
    println!(
        "{count} sessions for {took:.1?}: {kills} kills, {restarts} restarts, {turns} turns answered once each, \
         {interruptions} interruptions, {} CLIs; the host's memory {warm} KiB after a quarter, {end} KiB at the end",
        fleet.spawns()
    );
    assert!(kills > 0 && turns >= count && interruptions > 0, "turns flow and CLIs are killed under them");
    assert!(restarts <= kills, "nothing but the kills costs a restart");
    assert!(end <= warm + warm / 4 + 16 * 1024, "memory grows: {warm} KiB, then {end} KiB");
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_killed_every_second_lose_and_double_no_turn() {
    soak(20, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: run it with `just soak-sessions`"]
async fn soak_two_hundred_sessions_killed_every_second_for_a_minute() {
    soak(200, Duration::from_secs(60)).await;
}
