//! A host is killed in each phase of a turn, also while an outcome is on its way to the store, and another one comes in its
//! place: each turn that was acknowledged has its own answer, once, and each prompt stands once in the conversation.
//!
//! The host is this test binary in a role. Its store holds outcomes back where a phase asks for that.

#![expect(clippy::print_stdout, reason = "the table is what the run is for")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use treewarden::session::Event;
use treewarden::{Host, Session, SessionOptions, TurnId};
use treewarden_end_to_end::faulty::Faulty;
use treewarden_end_to_end::kills::{Phase, Random, Row, table};
use treewarden_end_to_end::running::{Running, say, spec, told};
use treewarden_end_to_end::shapes::{ANSWER, Shape};
use treewarden_end_to_end::{context, fake_cli_path, real_cli};
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_testkit::mock_api::MockApi;

const NAME: &str = "phased";

/// When a host is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Cli(Phase),
    /// The answer is there, and its outcome is neither stored nor delivered.
    Settling,
    /// The outcome was delivered as not stored.
    Unstored,
}

impl At {
    fn all() -> impl Iterator<Item = Self> {
        Phase::ALL.map(Self::Cli).into_iter().chain([Self::Settling, Self::Unstored])
    }

    /// As the role is told it.
    fn word(self) -> String {
        format!("{self:?}")
    }

    fn of_word(word: &str) -> Self {
        Self::all().find(|at| at.word() == word).expect("a phase")
    }

    /// So many milliseconds after its beginning the kill comes at most.
    fn spread(self) -> u64 {
        match self {
            Self::Cli(phase) => phase.spread(),
            Self::Settling | Self::Unstored => 100,
        }
    }
}

#[test]
#[ignore = "a role of other tests"]
fn role_phased() {
    let Some(dir) = std::env::var_os("ROLE_DIR") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(host(dir.as_ref()));
}

async fn host(dir: &Path) {
    let state = dir.join("state");
    let inner = SqliteStore::open(&state, SqliteOptions::default()).expect("a store");
    let store = Faulty::new(Arc::new(inner));
    let host = Host::options().state_dir(state).store(Arc::<Faulty>::clone(&store)).open().expect("a host");
    let spec = spec(dir, NAME).include_partial_messages(true);
    let session = Session::start(SessionOptions::from(spec).host(&host)).await.expect("started");
    let turns = host.store().turns(NAME.parse().expect("a name"), 4).await.expect("the journal is readable");
    for turn in turns {
        let prompt = turn.prompt.as_str().unwrap_or_default();
        say(&format!("journal {} {}", prompt.split(' ').next().unwrap_or_default(), turn.turn));
    }
    say("ready");
    let mut lines = told();
    while let Some(line) = lines.recv().await {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().expect("a word").to_owned();
        match (word().as_str(), word(), word()) {
            ("ask", at, prompt) => {
                let at = (at != "-").then(|| At::of_word(&at));
                drop(tokio::spawn(ask(session.clone(), Arc::clone(&store), at, prompt)));
            }
            ("started", ..) => drop(tokio::spawn(started(session.clone()))),
            (_, tag, turn) => drop(tokio::spawn(settled(host.clone(), tag, turn))),
        }
    }
    if let Some(id) = session.id().await.expect("the session is there") {
        say(&format!("conversation {id}"));
    }
    session.stop().await.expect("stopped");
    say("stopped");
}

/// Asks, says when the turn comes to that phase, and what its answer is.
async fn ask(session: Session, store: Arc<Faulty>, at: Option<At>, prompt: String) {
    let tag = prompt.split(' ').next().unwrap_or_default().to_owned();
    if matches!(at, Some(At::Settling | At::Unstored)) {
        store.hold_outcomes();
    }
    let mut turn = session.stream(prompt.as_str()).await.expect("opened");
    say(&format!("opened {tag} {}", turn.id()));
    if at == Some(At::Settling) {
        drop(tokio::spawn(async move {
            store.outcome_waits().await;
            say("at");
        }));
    }
    let mut phase = match at {
        Some(At::Cli(phase)) => Some(phase),
        _ => None,
    };
    while let Some(event) = turn.next().await {
        match event {
            Event::Frame(frame) if phase.is_some_and(|phase| phase.is_reached_by(&frame)) => {
                phase = None;
                say("at");
            }
            Event::Outcome(outcome) => {
                let answer = outcome.answer().unwrap_or_else(|| panic!("{tag}: {outcome:?}"));
                say(&format!("answered {tag} {} {}", answer.stored, answer.text));
                if at == Some(At::Unstored) || phase == Some(Phase::AfterResult) {
                    say("at");
                }
            }
            _ => {}
        }
    }
}

/// Says when the session has a CLI.
async fn started(session: Session) {
    while session.status().await.expect("the session is there").pid.is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    say("at");
}

/// Says what came of a turn that an earlier host was asked, once that is stored.
async fn settled(host: Host, tag: String, turn: String) {
    let turn: TurnId = turn.parse().expect("an id");
    loop {
        let report = host.turn(turn).await.expect("the journal is readable").expect("it was acknowledged");
        if let Some(outcome) = report.outcome.filter(|_| report.stored) {
            let text = outcome["text"].as_str().unwrap_or_else(|| panic!("{tag}: {outcome}"));
            return say(&format!("answered {tag} true {text}"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A turn whose outcome is not known to be stored.
#[derive(Debug, Clone)]
struct Open {
    tag: String,
    prompt: String,
    /// None until the host acknowledged it.
    turn: Option<String>,
    /// What it was told to be answered with, while the store had nothing of it.
    told: Option<String>,
}

struct Run {
    real: bool,
    random: Random,
    asked: Vec<String>,
    open: Option<Open>,
    rows: BTreeMap<At, Row>,
    conversation: String,
}

impl Run {
    fn next(&mut self) -> Open {
        let tag = format!("PROMPT-{}-{}", self.asked.len(), self.random.below(1_000_000));
        self.asked.push(tag.clone());
        let prompt =
            if self.real { Shape::Tool.for_the_real_cli(&tag) } else { Shape::Tool.for_the_fake_cli(&tag) };
        Open { tag, prompt, turn: None, told: None }
    }

    /// Hears what the host says; tells whether it was that the turn has come to its phase.
    fn hear(&mut self, said: &str) -> bool {
        let (what, rest) = said.split_once(' ').unwrap_or((said, ""));
        let (tag, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match what {
            "at" => return true,
            "conversation" => tag.clone_into(&mut self.conversation),
            _ => {}
        }
        let Some(open) = self.open.as_mut().filter(|open| open.tag == tag) else { return false };
        match what {
            "opened" | "journal" => open.turn = Some(rest.to_owned()),
            "answered" => {
                let (stored, text) = rest.split_once(' ').expect("an answer");
                assert!(Shape::Tool.is_answered_by(tag, text), "{said}");
                if let Some(told) = &open.told {
                    assert_eq!(told, text, "another answer than the one that was told");
                }
                if stored == "true" {
                    self.open = None;
                } else {
                    open.told = Some(text.to_owned());
                }
            }
            _ => {}
        }
        false
    }

    fn listen(&mut self, host: &Running, mut until: impl FnMut(&Self, &str, bool) -> bool) {
        loop {
            let said = host.said.recv_timeout(ANSWER);
            let said = said.unwrap_or_else(|error| panic!("the host says no more: {error}, {:?}", self.open));
            let at = self.hear(&said);
            if until(self, &said, at) {
                return;
            }
        }
    }

    /// Asks a new turn, or again one that was not acknowledged.
    fn ask(&mut self, host: &mut Running, at: Option<At>) {
        let open = self.open.take().unwrap_or_else(|| self.next());
        host.tell(&format!("ask {} {}", at.map_or_else(|| "-".to_owned(), At::word), open.prompt));
        self.open = Some(open);
    }

    /// Has what an earlier host left be settled.
    fn settle(&mut self, host: &mut Running) {
        if let Some(Open { tag, turn: Some(turn), .. }) = &self.open {
            host.tell(&format!("settled {tag} {turn}"));
            self.listen(host, |run, _, _| run.open.is_none());
        }
    }

    /// One host, which is killed in that phase; without one it settles everything and ends in order.
    fn host(&mut self, dir: &Path, cli: &Path, env: &[(String, String)], at: Option<At>) {
        let mut host = Running::start("role_phased", dir, cli, env);
        self.listen(&host, |_, said, _| said == "ready");
        let Some(at) = at else {
            self.settle(&mut host);
            self.ask(&mut host, None);
            self.listen(&host, |run, _, _| run.open.is_none());
            host.tell_the_end();
            return self.listen(&host, |_, said, _| said == "stopped");
        };
        let mut hit = false;
        if matches!(at, At::Cli(phase) if phase.is_before_the_prompt()) {
            // A turn that was left is begun with the host.
            if self.open.as_ref().is_none_or(|open| open.turn.is_none()) {
                self.ask(&mut host, None);
            }
            host.tell("started - -");
            self.listen(&host, |_, _, at| at);
            hit = true;
        } else {
            self.settle(&mut host);
            self.ask(&mut host, Some(at));
            let is_after = at == At::Cli(Phase::AfterResult);
            self.listen(&host, |run, _, at| {
                hit |= at;
                at || (run.open.is_none() && !is_after)
            });
        }
        std::thread::sleep(Duration::from_millis(self.random.below(at.spread())));
        host.kill();
        while let Ok(said) = host.said.recv() {
            self.hear(&said);
        }
        let row = self.rows.entry(at).or_default();
        row.kill(hit);
        row.turn(true);
    }
}

fn run(
    seed: u64,
    kills: usize,
    cli: &Path,
    env: &[(String, String)],
    prompts: impl Fn(&Path, &str) -> Vec<String>,
) -> BTreeMap<At, Row> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(dir.path().join("work")).expect("a folder");
    let mut env = env.to_vec();
    env.push(("CLAUDE_CONFIG_DIR".into(), dir.path().join("claude").display().to_string()));
    let (random, real) = (Random::new(seed), env.iter().any(|(name, _)| name == "ANTHROPIC_BASE_URL"));
    let (asked, rows, conversation) = (Vec::new(), BTreeMap::new(), String::new());
    let mut run = Run { real, random, asked, open: None, rows, conversation };
    let phases: Vec<At> = At::all().collect();
    for n in 0..kills {
        run.host(dir.path(), cli, &env, Some(phases[n % phases.len()]));
    }
    run.host(dir.path(), cli, &env, None);
    let prompts = prompts(dir.path(), &run.conversation);
    let tags: Vec<&str> = prompts.iter().filter_map(|prompt| prompt.split(' ').next()).collect();
    assert_eq!(tags, run.asked, "each prompt stands once, in order");
    println!("{}\n{kills} kills of a host, {} turns answered once", table(&run.rows), run.asked.len());
    run.rows
}

fn on_the_fake_cli(seed: u64, kills: usize) {
    let prompts = |dir: &Path, conversation: &str| context(&dir.join("claude"), conversation);
    let rows = run(seed, kills, &fake_cli_path(), &[], prompts);
    let settling = [At::Settling, At::Unstored].map(|at| rows.get(&at).is_some_and(Row::all_hit));
    assert_eq!(settling, [true, true], "killed where it was meant");
}

#[test]
fn a_host_killed_in_each_phase_of_a_turn_and_before_its_outcome_is_stored_loses_and_doubles_nothing() {
    on_the_fake_cli(1, At::all().count());
}

#[test]
#[ignore = "takes long: run it with `just soak-shapes`"]
fn soak_phases() {
    let kills = std::env::var("TREEWARDEN_SOAK").ok().and_then(|kills| kills.parse().ok()).unwrap_or(200);
    on_the_fake_cli(7, kills);
    let Some(cli) = real_cli() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let api = runtime.block_on(MockApi::start()).expect("the mock API starts");
    drop(run(8, kills, &cli, &api.env(), |_, _| api.prompts_in_last_context()));
}
