//! What a crash costs: to the replacement, and to the answer.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use treewarden::{Session, SessionId, SessionOptions};
use treewarden_proto::spec::{InheritEnv, PermissionMode};
use treewarden_testkit::mock_api::{MockApi, Reply};
use treewarden_testkit::real_cli::RealCli;
use treewarden_testkit::{fake_cli, faults};

use crate::floor;
use crate::lab::Lab;
use crate::rounds::{median, medians};
use crate::row::{Figure, Must, Row};

/// From the kill of a CLI, with a turn in it, to the spawn of the next.
pub(crate) fn spawned(runtime: &Runtime) -> Result<Vec<Row>> {
    // A crash is recovered from only if there is a conversation on disk, which the whole fake CLI writes.
    let cli = fake_cli::fake_cli_path()?;
    let lab = Lab::new()?;
    let session = runtime.block_on(async { lab.start(lab.whole()?).await })?;
    let by_hand = lab.path().join("by-hand");
    std::fs::create_dir(&by_hand)?;
    let [bare, alike, ours] = medians(
        5,
        [
            &mut || Ok(floor::spawn_and_wait(&cli, 40)?.as_secs_f64()),
            &mut || floor::kill_and_spawn(&cli, &by_hand, 20),
            &mut || runtime.block_on(crashes(&lab, &session, 20)),
        ],
    )?;
    runtime.block_on(session.stop())?;
    Ok(vec![
        Row::new("crash → replacement spawned; floor: spawn and wait", Figure::Time(ours))
            .floor(Figure::Time(bare)),
        Row::new("crash → replacement spawned; floor: kill, wait and spawn", Figure::Time(ours))
            .floor(Figure::Time(alike)),
    ])
}

async fn crashes(lab: &Lab, session: &Session, times: u32) -> Result<f64> {
    let mut events = lab.host.events().now();
    let mut taken = Vec::new();
    for _ in 0..times {
        let pid = session.status().await?.pid.context("a CLI lives")?;
        let turn = session.stream("STREAM=10000:20").await?;
        let began = Instant::now();
        faults::kill(pid)?;
        while session.status().await?.pid.is_none_or(|now| now == pid) {
            let _more = events.next().await;
        }
        taken.push(began.elapsed().as_secs_f64());
        drop(turn);
        session.query("N=0").await?;
    }
    Ok(median(taken))
}

/// From the kill of the real CLI in the middle of a turn to the turn's answer, beside a resume of the CLI by hand.
pub(crate) fn answered(runtime: &Runtime) -> Result<Vec<Row>> {
    if std::env::var_os("TREEWARDEN_SKIP_REAL_CLI").is_some_and(|value| value == "1") {
        anyhow::bail!("TREEWARDEN_SKIP_REAL_CLI is set");
    }
    let cli = RealCli::install()?;
    let api = runtime.block_on(hang_once())?;
    let lab = Lab::new()?;
    let session = runtime.block_on(real_session(&lab, &cli, &api))?;
    let home = lab.path().join("by-hand");
    std::fs::create_dir(&home)?;
    let id = SessionId::random().to_string();
    by_hand(&cli, &home, &api, &["--session-id", &id])?;
    let mut turn = 0;
    let [bare, ours] = medians(
        5,
        [&mut || Ok(by_hand(&cli, &home, &api, &["--resume", &id])?.as_secs_f64()), &mut || {
            turn += 1;
            Ok(runtime.block_on(crash_to_answer(&session, &api, turn))?.as_secs_f64())
        }],
    )?;
    runtime.block_on(session.stop())?;
    let measure = format!("crash → answer, real CLI {}; floor: its own resume and answer", cli.version());
    Ok(vec![Row::new(measure, Figure::Time(ours)).floor(Figure::Time(bare)).must(Must::TimesAtMost(1.1))])
}

/// A model that does not answer a prompt of `HANG-…` the first time.
async fn hang_once() -> Result<MockApi> {
    let seen: Mutex<HashSet<String>> = Mutex::default();
    let api = MockApi::builder().reply(move |request| {
        let prompt = request.prompt();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let hangs = prompt.split_whitespace().find(|word| word.starts_with("WAIT-"));
        match hangs.filter(|word| seen.insert((*word).to_owned())) {
            Some(_) => Reply::hang(),
            None => Reply::from_words(request),
        }
    });
    Ok(api.start().await?)
}

async fn real_session(lab: &Lab, cli: &RealCli, api: &MockApi) -> Result<Session> {
    let mut spec = lab
        .spec(cli.path())
        .permission_mode(PermissionMode::BypassPermissions)
        .inherit_env(InheritEnv::Only(["PATH".to_owned()].into()));
    for (name, value) in api.env() {
        spec = spec.env(name, value);
    }
    let session = Session::start(SessionOptions::from(spec).host(&lab.host).max_restarts(1000)).await?;
    session.query("PROMPT-0").await?;
    Ok(session)
}

async fn crash_to_answer(session: &Session, api: &MockApi, n: u32) -> Result<Duration> {
    let asked = api.turns();
    let pid = session.status().await?.pid.context("a CLI lives")?;
    let turn = session.stream(format!("WAIT-{n} PROMPT-{n}")).await?;
    let until = Instant::now() + Duration::from_secs(30);
    while api.turns() == asked {
        anyhow::ensure!(Instant::now() < until, "the model is not asked");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let began = Instant::now();
    faults::kill(pid)?;
    let answer = turn.answer().await?;
    let taken = began.elapsed();
    anyhow::ensure!(answer.interruptions == 1, "the kill hit the turn: {answer:?}");
    Ok(taken)
}

/// From the spawn of the real CLI to its result.
fn by_hand(cli: &RealCli, home: &Path, api: &MockApi, args: &[&str]) -> Result<Duration> {
    let began = Instant::now();
    let mut child = Command::new(cli.path())
        .args(["-p", "--input-format=stream-json", "--output-format=stream-json", "--verbose"])
        .args(["--include-partial-messages", "--dangerously-skip-permissions"])
        .args(args)
        .env_clear()
        .envs(cli.environment(home, api))
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (mut stdin, stdout) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
    let message = serde_json::json!({ "type": "user", "message": { "role": "user", "content": "PROMPT-1" } });
    writeln!(stdin, "{message}")?;
    let found =
        BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line.contains("\"type\":\"result\""));
    let taken = began.elapsed();
    drop(stdin);
    drop(child.kill());
    child.wait()?;
    anyhow::ensure!(found, "the real CLI printed no result");
    Ok(taken)
}
