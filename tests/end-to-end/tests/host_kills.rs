//! A host with two sessions is killed at random instants, and another one comes in its place: each prompt stands once in
//! its own conversation, and each turn that was acknowledged has its own answer, once.
//!
//! The host is this test binary in a role. It is told what to ask on its standard input, and says what came of it.

#![expect(clippy::print_stdout, reason = "the table is what the run is for")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use treewarden::session::Event;
use treewarden::{Host, Session, SessionOptions, TurnId};
use treewarden_end_to_end::kills::Random;
use treewarden_end_to_end::running::{Running, say, spec, told};
use treewarden_end_to_end::shapes::{ANSWER, Shape, Tally};
use treewarden_end_to_end::{fake_cli_path, real_cli};
use treewarden_testkit::mock_api::MockApi;

const SESSIONS: [&str; 2] = ["left", "right"];

#[test]
#[ignore = "a role of other tests"]
fn role_host() {
    let Some(dir) = std::env::var_os("ROLE_DIR") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(host(dir.as_ref()));
}

async fn host(dir: &Path) {
    let host = Host::options().state_dir(dir.join("state")).open().expect("a host");
    let mut sessions = BTreeMap::new();
    for name in SESSIONS {
        let session =
            Session::start(SessionOptions::from(spec(dir, name)).host(&host)).await.expect("started");
        sessions.insert(name, session);
    }
    for name in SESSIONS {
        let turns = host
            .store()
            .turns(name.parse().expect("a valid name"), 8)
            .await
            .expect("the journal is readable");
        for turn in turns {
            let prompt = turn.prompt.as_str().unwrap_or_default();
            say(&format!("journal {} {}", prompt.split(' ').next().unwrap_or_default(), turn.turn));
        }
    }
    say("ready");
    let mut lines = told();
    while let Some(line) = lines.recv().await {
        let mut words = line.splitn(3, ' ');
        let (what, name) = (words.next().expect("a word"), words.next().expect("a name"));
        let rest = words.next().expect("the rest").to_owned();
        match what {
            "ask" => drop(tokio::spawn(ask(sessions[name].clone(), rest))),
            _ => drop(tokio::spawn(settled(host.clone(), rest))),
        }
    }
    for session in sessions.values() {
        session.stop().await.expect("stopped");
    }
    say("stopped");
}

async fn ask(session: Session, prompt: String) {
    let tag = prompt.split(' ').next().unwrap_or_default().to_owned();
    let mut turn = session.stream(prompt.as_str()).await.expect("opened");
    say(&format!("opened {tag} {}", turn.id()));
    while let Some(event) = turn.next().await {
        if let Event::Outcome(outcome) = event {
            let answer = outcome.answer().unwrap_or_else(|| panic!("{tag}: {outcome:?}"));
            say(&format!("answered {tag} {} {}", answer.interruptions, answer.text));
        }
    }
}

/// Says what came of a turn that an earlier host was asked: `<tag> <turn>`.
async fn settled(host: Host, what: String) {
    let (tag, turn) = what.split_once(' ').expect("a tag and a turn");
    let turn: TurnId = turn.parse().expect("an id");
    loop {
        let report =
            host.turn(turn).await.expect("the journal is readable").expect("an acknowledged turn is there");
        if let Some(outcome) = report.outcome {
            let text = outcome["text"].as_str().unwrap_or_else(|| panic!("{tag}: {outcome}"));
            return say(&format!("answered {tag} {} {text}", report.interruptions));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A turn that is not answered yet.
#[derive(Debug, Clone)]
struct Open {
    prompt: String,
    /// None until the host acknowledged it.
    turn: Option<String>,
    shape: Shape,
}

struct Run {
    real: bool,
    random: Random,
    tally: Tally,
    asked: BTreeMap<&'static str, Vec<(Shape, String)>>,
    open: BTreeMap<&'static str, Open>,
}

impl Run {
    fn next(&mut self, name: &'static str) -> String {
        let shape = [Shape::Plain, Shape::Tool][usize::try_from(self.random.below(2)).unwrap_or(0)];
        let asked = self.asked.entry(name).or_default();
        let tag = format!("PROMPT-{name}-{}", asked.len());
        asked.push((shape, tag.clone()));
        let prompt = if self.real { shape.for_the_real_cli(&tag) } else { shape.for_the_fake_cli(&tag) };
        self.open.insert(name, Open { prompt: prompt.clone(), turn: None, shape });
        prompt
    }

    /// Hears what the host says; gives the session whose turn was answered.
    fn hear(&mut self, said: &str) -> Option<&'static str> {
        let mut words = said.splitn(4, ' ');
        let (what, tag) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (name, open) =
            self.open.iter_mut().find(|(_, open)| open.prompt.starts_with(&format!("{tag} ")))?;
        let third = words.next().unwrap_or_default();
        match what {
            "opened" | "journal" => open.turn = Some(third.to_owned()),
            "answered" => {
                let text = words.next().unwrap_or_default();
                assert!(open.shape.is_answered_by(tag, text), "{said}");
                self.tally.turn(open.shape, third.parse().unwrap_or(0));
                let name = *name;
                self.open.remove(name);
                return Some(name);
            }
            _ => {}
        }
        None
    }

    /// One host from its start to its kill, or until every turn is answered if it is the last one.
    fn host(&mut self, dir: &Path, cli: &Path, env: &[(String, String)], last: bool) {
        let mut host = Running::start("role_host", dir, cli, env);
        let length = Duration::from_millis(100 + self.random.below(if self.real { 6000 } else { 900 }));
        let (mut until, mut ready) = (Instant::now() + ANSWER, false);
        loop {
            let said = host.said.recv_timeout(until.saturating_duration_since(Instant::now()));
            match said.as_deref() {
                Ok("ready") => {
                    ready = true;
                    until = Instant::now() + if last { ANSWER } else { length };
                    for name in SESSIONS {
                        let open = self.open.get(name).cloned();
                        match open {
                            Some(Open { turn: Some(turn), prompt, .. }) => {
                                let tag = prompt.split(' ').next().unwrap_or_default();
                                host.tell(&format!("settled {name} {tag} {turn}"));
                            }
                            Some(Open { prompt, .. }) => host.tell(&format!("ask {name} {prompt}")),
                            None => host.tell(&format!("ask {name} {}", self.next(name))),
                        }
                    }
                }
                Ok(said) => match self.hear(said) {
                    Some(name) if !last => host.tell(&format!("ask {name} {}", self.next(name))),
                    Some(_) if self.open.is_empty() => break,
                    _ => {}
                },
                Err(RecvTimeoutError::Timeout) if ready && !last => break,
                Err(error) => panic!("the host said nothing: {error}, open: {:?}", self.open),
            }
        }
        if !last {
            host.kill();
            while let Ok(said) = host.said.recv() {
                self.hear(&said);
            }
            self.tally.kills(Shape::Plain, 1);
            return;
        }
        host.tell_the_end();
        assert_eq!(host.said.recv_timeout(ANSWER).as_deref(), Ok("stopped"));
    }
}

fn run(
    seed: u64,
    kills: u64,
    cli: &Path,
    env: &[(String, String)],
    contexts: impl Fn(&Path, &str) -> Vec<String>,
) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(dir.path().join("work")).expect("a folder");
    let mut env = env.to_vec();
    env.push(("CLAUDE_CONFIG_DIR".into(), dir.path().join("claude").display().to_string()));
    let (random, real) = (Random::new(seed), env.iter().any(|(name, _)| name == "ANTHROPIC_BASE_URL"));
    let mut run =
        Run { real, random, tally: Tally::default(), asked: BTreeMap::new(), open: BTreeMap::new() };
    for _ in 0..kills {
        run.host(dir.path(), cli, &env, false);
    }
    run.host(dir.path(), cli, &env, true);
    for (name, asked) in &run.asked {
        let tags: Vec<&String> = asked.iter().map(|(_, tag)| tag).collect();
        let context = contexts(dir.path(), name);
        assert_eq!(
            context.iter().collect::<Vec<_>>(),
            tags,
            "{name}: each prompt once, in order, and none of the other"
        );
        for (shape, tag) in asked.iter().filter(|(shape, _)| shape.counts()) {
            run.tally.runs(*shape, &dir.path().join("work"), tag);
        }
    }
    println!("{}\n{kills} kills of a host with two sessions", run.tally.table());
}

fn on_the_fake_cli(seed: u64, kills: u64) {
    run(seed, kills, &fake_cli_path(), &[], |dir, name| {
        let projects = std::fs::read_dir(dir.join("claude/projects")).expect("a folder").flatten();
        let files =
            projects.flat_map(|project| std::fs::read_dir(project.path()).expect("a folder").flatten());
        let ids = files.filter_map(|file| file.path().file_stem()?.to_str().map(str::to_owned));
        let contexts = ids.map(|id| treewarden_end_to_end::context(&dir.join("claude"), &id));
        let tags = |context: Vec<String>| -> Vec<String> {
            context.iter().filter_map(|prompt| prompt.split(' ').next().map(str::to_owned)).collect()
        };
        let own = format!("PROMPT-{name}-");
        contexts.map(tags).find(|tags| tags.iter().any(|tag| tag.starts_with(&own))).unwrap_or_default()
    });
}

#[test]
fn a_host_killed_with_two_sessions_loses_doubles_and_mixes_nothing() {
    on_the_fake_cli(1, 15);
}

fn on_the_real_cli(seed: u64, kills: u64) {
    let Some(cli) = real_cli() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let api = runtime.block_on(MockApi::start()).expect("the mock API starts");
    run(seed, kills, &cli, &api.env(), |_, name| {
        let own = format!("PROMPT-{name}-");
        let contexts = api.contexts();
        let last = contexts.iter().rev().find(|tags| tags.iter().any(|tag| tag.starts_with(&own)));
        last.cloned().unwrap_or_default()
    });
}

#[test]
fn a_host_of_the_real_cli_killed_with_two_sessions_loses_doubles_and_mixes_nothing() {
    on_the_real_cli(2, 6);
}

#[test]
#[ignore = "takes long: run it with `just soak-shapes`"]
fn soak_hosts() {
    let kills = std::env::var("TREEWARDEN_SOAK").ok().and_then(|kills| kills.parse().ok()).unwrap_or(200);
    on_the_fake_cli(7, kills);
    on_the_real_cli(8, kills);
}
