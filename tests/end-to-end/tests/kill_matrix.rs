//! The real CLI is killed at instants spread over a whole turn; the kills accumulate on one conversation.
//!
//! After each: one answer, each prompt once in the context that the model saw, no earlier turn missing, no process
//! left, and no more restarts or CLIs than kills. `TREEWARDEN_SOAK=<kills>` sets the length of the long run, which prints its
//! table by phase.

#![expect(clippy::print_stdout, reason = "the table is what the run is for")]

use std::collections::BTreeMap;
use std::time::Duration;

use treewarden::Session;
use treewarden::session::{Event, SessionState};
use treewarden_end_to_end::kills::{Phase, Random, Row, table};
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::{assert_nothing_left, eventually};
use treewarden_proto::frame::FrameKind;
use treewarden_testkit::faults;

struct Matrix {
    real: RealLab,
    session: Session,
    random: Random,
    rows: BTreeMap<Phase, Row>,
    /// The tags of the prompts so far, in order.
    asked: Vec<String>,
    kills: u64,
}

impl Matrix {
    async fn new(seed: u64, real: RealLab) -> Self {
        let options = real.of(real.spec("matrix").include_partial_messages(true));
        let options = options.max_restarts(20).max_seconds(5);
        let session = Session::start(options).await.expect("started");
        let random = Random::new(seed);
        Self { real, session, random, rows: BTreeMap::new(), asked: Vec::new(), kills: 0 }
    }

    async fn pid(&self) -> Option<u32> {
        self.session.status().await.expect("status").pid
    }

    /// Kills the CLI, if there is one, and waits until that is seen.
    async fn kill(&mut self) -> bool {
        let Some(pid) = self.pid().await else { return false };
        if faults::kill(pid).is_err() {
            return false;
        }
        let session = self.session.clone();
        eventually("the kill is seen", async || {
            (session.status().await.ok()?.pid != Some(pid)).then_some(())
        })
        .await;
        self.kills += 1;
        true
    }

    /// One turn, killed once in each of these phases.
    async fn turn(&mut self, phases: &[Phase]) {
        let tag = format!("PROMPT-{}-{}", self.asked.len(), self.random.below(1_000_000));
        let n = self.asked.len();
        self.asked.push(tag.clone());
        if phases.iter().any(|phase| phase.is_before_the_prompt()) && self.pid().await.is_some() {
            self.kill().await;
        }
        let prompt = format!("{tag} BASH=echo ran-{n} >> ran.txt; sleep 0.3;; STREAM=6:25");
        let mut turn = self.session.stream(prompt).await.expect("opened");
        let mut left = phases.to_vec();
        let mut outcome = None;
        loop {
            let next = left.first().copied();
            let event = if let Some(phase) = next.filter(|phase| phase.is_before_the_prompt()) {
                self.wait_for_start(phase).await;
                None
            } else {
                match turn.next().await {
                    Some(Event::Outcome(end)) => {
                        outcome = Some(end);
                        break;
                    }
                    Some(event) => Some(event),
                    None => break,
                }
            };
            let due = match (next, &event) {
                (Some(phase), Some(Event::Frame(frame))) => phase.is_reached_by(frame),
                (Some(_), None) => true,
                _ => false,
            };
            if due && let Some(phase) = next {
                let jitter = Duration::from_millis(self.random.below(phase.spread()));
                tokio::time::sleep(jitter).await;
                let hit = self.kill().await;
                self.rows.entry(phase).or_default().kill(hit);
                left.remove(0);
            }
        }
        let answer = outcome.as_ref().and_then(|outcome| outcome.answer());
        let text = answer.map(|answer| answer.text.clone()).unwrap_or_default();
        for phase in phases {
            let row = self.rows.entry(*phase).or_default();
            row.turn(text.contains(&format!("answer to {tag}")));
        }
        assert!(text.contains(&format!("answer to {tag}")), "{tag} {phases:?}: {outcome:?}");
        if left.first() == Some(&Phase::AfterResult) {
            let jitter = Duration::from_millis(self.random.below(Phase::AfterResult.spread()));
            tokio::time::sleep(jitter).await;
            let hit = self.kill().await;
            self.rows.entry(Phase::AfterResult).or_default().kill(hit);
        }
        self.check_context();
    }

    async fn wait_for_start(&mut self, phase: Phase) {
        let session = self.session.clone();
        eventually("a CLI is spawned", async || {
            let status = session.status().await.ok()?;
            (status.pid.is_some() && status.state == SessionState::Starting).then_some(())
        })
        .await;
        if phase == Phase::Initialize {
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
    }

    /// Every prompt so far stands once in the context that the model saw last, in order.
    fn check_context(&self) {
        assert_eq!(self.real.api.prompts_in_last_context(), self.asked, "the context of the last request");
    }

    async fn end(self) -> u64 {
        let status = self.session.status().await.expect("status");
        // A kill before the CLI was up is another start, and no restart.
        assert!(status.restarts <= self.kills, "nothing but the kills costs a restart: {status:?}");
        assert!(status.generation <= self.kills + 1, "nor another CLI: {status:?}");
        let id = status.session_id.expect("a conversation").to_string();
        self.session.stop().await.expect("stopped");
        assert_nothing_left(&id);
        println!("{}", table(&self.rows));
        self.kills
    }
}

async fn run(seed: u64, kills: u64) {
    let Some(real) = RealLab::new().await else { return };
    let mut matrix = Matrix::new(seed, real).await;
    matrix.turn(&[]).await;
    while matrix.kills < kills {
        for phase in Phase::ALL {
            matrix.turn(&[phase]).await;
        }
        let (first, second) = (matrix.random.phase(), matrix.random.phase());
        matrix.turn(&[first, second]).await;
    }
    matrix.turn(&[]).await;
    let kills = matrix.end().await;
    println!("{kills} kills");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cli_killed_at_any_instant_of_a_turn_loses_and_doubles_nothing() {
    run(1, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long: run it with `just soak`"]
async fn soak() {
    let kills = std::env::var("TREEWARDEN_SOAK").ok().and_then(|kills| kills.parse().ok()).unwrap_or(500);
    run(7, kills).await;
}

#[test]
fn each_phase_is_told_by_the_frame_that_reaches_it() {
    assert!(Phase::ALL.iter().all(|phase| phase.spread() > 0));
    assert_ne!(FrameKind::Assistant, FrameKind::User);
}
