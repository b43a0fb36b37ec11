//! The real CLI is killed in turns of every shape, and in the turns that it has of its own about background tasks.
//!
//! After each turn: one answer, its own; each prompt that the model is to see once in the context, in order, and no
//! other. At the end a table: how often the tools ran, each of which should run once.

#![expect(clippy::print_stdout, reason = "the table is what the run is for")]

use std::time::Duration;

use treewarden::Session;
use treewarden::session::Event;
use treewarden_end_to_end::kills::{Phase, Random};
use treewarden_end_to_end::real::RealLab;
use treewarden_end_to_end::shapes::{ANSWER, Shape, Tally, reply};
use treewarden_end_to_end::{assert_nothing_left, eventually};
use treewarden_testkit::faults;

struct Run {
    real: RealLab,
    session: Session,
    random: Random,
    tally: Tally,
    turns: usize,
    /// The tags that the context must hold, in order: those since the last compaction.
    asked: Vec<String>,
    /// The tags that it must never hold.
    refused: Vec<String>,
    /// Each turn whose tool counts.
    counted: Vec<(Shape, String)>,
}

impl Run {
    async fn new(seed: u64, real: RealLab) -> Self {
        real.refuse_some();
        let spec = real.spec("shapes").include_partial_messages(true).timeout(ANSWER);
        let options = real.of(spec).max_restarts(20).max_seconds(5);
        let session = Session::start(options).await.expect("started");
        Self {
            real,
            session,
            random: Random::new(seed),
            tally: Tally::default(),
            turns: 0,
            asked: Vec::new(),
            refused: Vec::new(),
            counted: Vec::new(),
        }
    }

    /// Kills the CLI, if there is one, and waits until that is seen.
    async fn kill(&mut self, shape: Shape) {
        let Some(pid) = self.session.status().await.expect("status").pid else { return };
        if faults::kill(pid).is_err() {
            return;
        }
        let session = self.session.clone();
        eventually("the kill is seen", async || {
            (session.status().await.ok()?.pid != Some(pid)).then_some(())
        })
        .await;
        self.tally.kills(shape, 1);
    }

    async fn pause(&mut self, below: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.below(below))).await;
    }

    /// Where a turn of this shape is killed: nowhere, at some frame of it, or after it.
    fn instants(&mut self, shape: Shape) -> Vec<Phase> {
        let model = &Phase::ALL[2..];
        let own = &[Phase::PromptWritten, Phase::AfterResult];
        let phases = if shape.asks_the_model() { model } else { own };
        let mut pick = || phases[usize::try_from(self.random.below(phases.len() as u64)).unwrap_or(0)];
        let (first, second) = (pick(), pick());
        match self.random.below(8) {
            0 => Vec::new(),
            // So that the next prompt comes while the CLI is at work about the task.
            2..5 if shape == Shape::Background => Vec::new(),
            1 => vec![first, second],
            _ => vec![first],
        }
    }

    async fn turn(&mut self, shape: Shape) {
        let tag = format!("PROMPT-{}-{}", self.turns, self.random.below(1_000_000));
        self.turns += 1;
        match shape {
            Shape::Refused => self.refused.push(tag.clone()),
            _ if shape.asks_the_model() => self.asked.push(tag.clone()),
            _ => {}
        }
        let mut left = self.instants(shape);
        let prompt = shape.for_the_real_cli(&tag);
        let mut turn = self.session.stream(shape.asked_as(&prompt)).await.expect("opened");
        let outcome = loop {
            match turn.next().await {
                Some(Event::Outcome(end)) => break end,
                Some(Event::Frame(frame)) => {
                    if let Some(phase) = left.first().copied().filter(|phase| phase.is_reached_by(&frame)) {
                        self.pause(phase.spread()).await;
                        self.kill(shape).await;
                        left.remove(0);
                    }
                }
                Some(_) => {}
                None => panic!("{shape:?} {tag}: the turn ended without an outcome"),
            }
        };
        let answer = outcome.answer().unwrap_or_else(|| panic!("{shape:?} {tag}: {outcome:?}"));
        assert!(shape.is_answered_by(&tag, &answer.text), "{shape:?} {tag}: {answer:?}");
        self.tally.turn(shape, answer.interruptions);
        if shape.counts() {
            self.counted.push((shape, tag));
        }
        if shape == Shape::Compact {
            self.asked.clear();
        }
        if shape.asks_the_model() {
            self.check_context();
        }
        match (left.first(), shape) {
            // Some time in the CLI's own turn about the task, or before it, or after it.
            (Some(_), Shape::Background) => {
                self.pause(900).await;
                self.kill(shape).await;
            }
            // About where the CLI begins that turn, and before it ends.
            (None, Shape::Background) => {
                tokio::time::sleep(Duration::from_millis(350)).await;
                self.pause(350).await;
            }
            (Some(Phase::AfterResult), _) => {
                self.pause(30).await;
                self.kill(shape).await;
            }
            _ => {}
        }
    }

    /// Each prompt since the last compaction stands once in the newest context, in order; an older one at most once, and
    /// a refused one never.
    fn check_context(&self) {
        let context = self.real.api.prompts_in_last_context();
        let since: Vec<&String> = context.iter().filter(|tag| self.asked.contains(tag)).collect();
        assert_eq!(since, self.asked.iter().collect::<Vec<_>>(), "the context of the last request");
        let mut all = context.clone();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), context.len(), "a prompt stands twice: {context:?}");
        assert!(!self.refused.iter().any(|tag| context.contains(tag)), "a refused one is there: {context:?}");
    }

    /// How many prompts the CLI wove into turns of its own.
    fn woven(&self, id: &str) -> usize {
        self.real.transcript(id).lines().filter(|line| line.contains(r#""type":"queued_command""#)).count()
    }

    async fn end(mut self) {
        let id = self.session.status().await.expect("status").session_id.expect("a conversation").to_string();
        self.session.stop().await.expect("stopped");
        assert_nothing_left(&id);
        for (shape, tag) in &self.counted {
            self.tally.runs(*shape, &self.real.work(), tag);
        }
        let woven = self.woven(&id);
        println!(
            "{}\n{} kills in {} turns, {woven} prompts woven in",
            self.tally.table(),
            self.tally.all_kills(),
            self.turns
        );
    }
}

async fn run(seed: u64, kills: u64, shapes: &[Shape]) {
    let Some(real) = RealLab::replying(reply).await else { return };
    let mut run = Run::new(seed, real).await;
    run.turn(Shape::Plain).await;
    while run.tally.all_kills() < kills {
        let shape = shapes[usize::try_from(run.random.below(shapes.len() as u64)).unwrap_or(0)];
        run.turn(shape).await;
        // So that what was just killed is answered for in a context that is looked at.
        run.turn(Shape::Plain).await;
    }
    run.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cli_killed_in_turns_with_tools_loses_and_doubles_nothing() {
    run(1, 10, &[Shape::Plain, Shape::Tool]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cli_killed_beside_background_tasks_and_in_its_own_turns_loses_and_doubles_nothing() {
    run(2, 10, &[Shape::Background]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cli_killed_around_prompts_that_it_answers_itself_loses_and_doubles_nothing() {
    run(3, 12, &[Shape::Help, Shape::Cost, Shape::Refused]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cli_killed_around_a_compaction_loses_and_doubles_nothing() {
    run(4, 8, &[Shape::Compact]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long: run it with `just soak`"]
async fn soak_every_shape() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    run(number("TREEWARDEN_SEED").unwrap_or(7), number("TREEWARDEN_SOAK").unwrap_or(500), &Shape::ALL).await;
}
