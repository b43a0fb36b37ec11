//! The real CLI is killed at instants spread over a whole turn; the kills accumulate on one conversation.
//!
//! After each: one answer, each prompt once in the context that the model saw, no earlier turn missing, no process
//! left, and as many restarts as kills. `TREEWARDEN_SOAK=<kills>` sets the length of the long run, which prints its
//! table by phase.

#![expect(clippy::print_stdout, reason = "the table is what the run is for")]

use std::collections::BTreeMap;
use std::time::Duration;

use treewarden::session::{Event, SessionState};
use treewarden::{Host, Session, SessionOptions, SessionSpec};
use treewarden_end_to_end::kills::{Phase, Random, Row, table};
use treewarden_end_to_end::{assert_nothing_left, eventually, real_cli};
use treewarden_proto::frame::FrameKind;
use treewarden_proto::spec::{InheritEnv, PermissionMode};
use treewarden_testkit::faults;
use treewarden_testkit::mock_api::MockApi;

struct Matrix {
    _dir: tempfile::TempDir,
    api: MockApi,
    session: Session,
    random: Random,
    rows: BTreeMap<Phase, Row>,
    /// The tags of the prompts so far, in order.
    asked: Vec<String>,
    kills: u64,
}

impl Matrix {
    async fn new(seed: u64, cli: std::path::PathBuf) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let work = dir.path().join("work");
        std::fs::create_dir(&work).expect("a folder");
        let api = MockApi::start().await.expect("the mock API starts");
        let mut spec = SessionSpec::new()
            .name("matrix".parse().expect("a valid name"))
            .cli_path(cli)
            .cwd(work)
            .include_partial_messages(true)
            .permission_mode(PermissionMode::BypassPermissions)
            .inherit_env(InheritEnv::Only(["PATH".to_owned()].into()))
            .timeout(Duration::from_secs(60))
            .env("HOME", dir.path().display().to_string());
        for (name, value) in api.env() {
            spec = spec.env(name, value);
        }
        let host = Host::options().state_dir(dir.path().join("state")).open().expect("a host");
        let options = SessionOptions::from(spec).host(&host).max_restarts(20).max_seconds(5);
        let session = Session::start(options).await.expect("started");
        let random = Random::new(seed);
        Self { _dir: dir, api, session, random, rows: BTreeMap::new(), asked: Vec::new(), kills: 0 }
    }

    fn pid(&self) -> Option<u32> {
        self.session.status().expect("status").pid
    }

    /// Kills the CLI, if there is one, and waits until that is seen.
    async fn kill(&mut self) -> bool {
        let Some(pid) = self.pid() else { return false };
        if faults::kill(pid).is_err() {
            return false;
        }
        let session = self.session.clone();
        eventually("the kill is seen", || (session.status().ok()?.pid != Some(pid)).then_some(())).await;
        self.kills += 1;
        true
    }

    /// One turn, killed once in each of these phases.
    async fn turn(&mut self, phases: &[Phase]) {
        let tag = format!("PROMPT-{}-{}", self.asked.len(), self.random.below(1_000_000));
        let n = self.asked.len();
        self.asked.push(tag.clone());
        if phases.iter().any(|phase| phase.is_before_the_prompt()) && self.pid().is_some() {
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
        eventually("a CLI is spawned", || {
            let status = session.status().ok()?;
            (status.pid.is_some() && status.state == SessionState::Starting).then_some(())
        })
        .await;
        if phase == Phase::Initialize {
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
    }

    /// Every prompt so far stands once in the context that the model saw last, in order.
    fn check_context(&self) {
        assert_eq!(self.api.prompts_in_last_context(), self.asked, "the context of the last request");
    }

    async fn end(self) -> u64 {
        let status = self.session.status().expect("status");
        assert_eq!(status.restarts, self.kills, "each kill is one restart");
        let id = status.session_id.expect("a conversation").to_string();
        self.session.stop().await.expect("stopped");
        assert_nothing_left(&id);
        println!("{}", table(&self.rows));
        self.kills
    }
}

async fn run(seed: u64, kills: u64) {
    let Some(cli) = real_cli() else { return };
    let mut matrix = Matrix::new(seed, cli).await;
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
