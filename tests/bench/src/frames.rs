//! What a frame costs: to one consumer, to eight, and when it is very long.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::runtime::Runtime;
use treewarden::Session;
use treewarden::session::{Event, Turn};
use treewarden_proto::Frame;

use crate::floor::{self, Work};
use crate::lab::{self, Lab};
use crate::rounds::medians;
use crate::row::{Figure, Must, Row};

const FRAMES: u64 = 1_000_000;
const ROUNDS: usize = 5;

/// Frames a second to one consumer of typed text deltas, and the peak of this process's memory.
pub(crate) fn one_consumer(runtime: &Runtime) -> Result<Vec<Row>> {
    let cli = lab::bare_cli()?;
    let lab = Lab::new()?;
    let session = runtime.block_on(lab.start(lab.bare()))?;
    // What the floor's buffers take is not the session's.
    let before = runtime.block_on(one_turn(&session)).map(|_| lab::peak())?;
    let [ours, read, split, typed, value] = medians(
        ROUNDS,
        [
            &mut || runtime.block_on(one_turn(&session)),
            &mut || floor::firehose(&cli, FRAMES, Work::Read),
            &mut || floor::firehose(&cli, FRAMES, Work::Split),
            &mut || floor::firehose(&cli, FRAMES, Work::Typed),
            &mut || floor::firehose(&cli, FRAMES, Work::Value),
        ],
    )?;
    runtime.block_on(session.stop())?;
    Ok(vec![
        Row::floor_alone("frames: read", Figure::Rate(read)),
        Row::floor_alone("frames: split", Figure::Rate(split)),
        Row::floor_alone("frames: `Value`", Figure::Rate(value)),
        Row::new("frames: one consumer, typed deltas", Figure::Rate(ours))
            .floor(Figure::Rate(typed))
            .must(Must::TimesAtLeast(0.8)),
        Row::new("frames: peak memory of a turn of 1,000,000", Figure::Bytes(before as f64))
            .must(Must::AtMost(Figure::Bytes(f64::from(64 << 20)))),
    ])
}

/// Frames a second of one turn.
pub(crate) async fn one_turn(session: &Session) -> Result<f64> {
    let session = session.clone();
    // In a task of its own, as in a service.
    let read = tokio::spawn(async move {
        let began = Instant::now();
        let turn = session.stream(format!("N={FRAMES}")).await?;
        let deltas = deltas(turn).await?;
        ensure!(deltas == FRAMES, "{deltas} of {FRAMES} deltas came");
        Ok(FRAMES as f64 / began.elapsed().as_secs_f64())
    });
    read.await?
}

/// Reads a turn to its end; returns how many text deltas it had.
async fn deltas(mut turn: Turn) -> Result<u64> {
    let (mut deltas, mut bytes) = (0, 0);
    while let Some(event) = turn.next().await {
        if let Event::Frame(frame) = event
            && let Some(text) = frame.text_delta()
        {
            deltas += 1;
            bytes += text.len();
        }
    }
    black_box(bytes);
    Ok(deltas)
}

/// Frames a second of one turn that eight consumers read, each all of it.
pub(crate) fn eight_consumers(runtime: &Runtime) -> Result<Vec<Row>> {
    let cli = lab::bare_cli()?;
    let lab = Lab::new()?;
    let session = runtime.block_on(lab.start(lab.bare()))?;
    let [ours, typed] = medians(
        3,
        [&mut || runtime.block_on(eight(&session)), &mut || floor::firehose(&cli, FRAMES, Work::Typed)],
    )?;
    runtime.block_on(session.stop())?;
    Ok(vec![Row::new("frames: eight consumers of one turn", Figure::Rate(ours)).floor(Figure::Rate(typed))])
}

async fn eight(session: &Session) -> Result<f64> {
    // It fills its stream and so holds the next turn back until all have joined that.
    let blocker = session.stream("N=100000").await?;
    let turn = session.stream(format!("N={FRAMES}")).await?;
    let mut joined = Vec::new();
    for _ in 1..8 {
        joined.push(session.attach(turn.id()).await?.context("it waits")?);
    }
    blocker.outcome().await?;
    let began = Instant::now();
    let readers: Vec<_> = joined.into_iter().chain([turn]).map(|turn| tokio::spawn(deltas(turn))).collect();
    for reader in readers {
        let deltas = reader.await??;
        ensure!(deltas == FRAMES, "{deltas} of {FRAMES} deltas came");
    }
    Ok(FRAMES as f64 / began.elapsed().as_secs_f64())
}

/// A frame of 20 MB: parsed alone, and on its way from the CLI to a consumer.
pub(crate) fn long(runtime: &Runtime) -> Result<Vec<Row>> {
    const PROMPT: &str = "HUGE=20000000";
    let cli = lab::bare_cli()?;
    let line = long_line();
    let [bare, ours] = medians(
        9,
        [&mut || Ok(floor_parse(&line)?.as_secs_f64()), &mut || {
            let line = line.clone();
            let began = Instant::now();
            black_box(Frame::parse(black_box(line)).context("it is a frame")?);
            Ok(began.elapsed().as_secs_f64())
        }],
    )?;
    let mut rows = vec![
        Row::new("frame of 20 MB: parse", Figure::Time(ours))
            .floor(Figure::Time(bare))
            .must(Must::TimesAtMost(1.5)),
    ];
    if std::env::var_os("TREEWARDEN_BENCH_CLI").is_none() {
        let lab = Lab::new()?;
        let session = runtime.block_on(lab.start(lab.bare()))?;
        let [typed, ours] = medians(
            5,
            [&mut || Ok(floor::turn_of(&cli, PROMPT, Work::Typed)?.as_secs_f64()), &mut || {
                runtime.block_on(long_turn(&session, PROMPT))
            }],
        )?;
        runtime.block_on(session.stop())?;
        rows.push(Row::new("frame of 20 MB: a turn with it", Figure::Time(ours)).floor(Figure::Time(typed)));
    }
    Ok(rows)
}

async fn long_turn(session: &Session, prompt: &'static str) -> Result<f64> {
    let session = session.clone();
    let read = tokio::spawn(async move {
        let began = Instant::now();
        let mut turn = session.stream(prompt).await?;
        let mut longest = 0;
        while let Some(event) = turn.next().await {
            if let Event::Frame(frame) = event {
                longest = longest.max(frame.raw().len());
            }
        }
        ensure!(longest > 19_000_000, "the longest frame has {longest} bytes");
        Ok(began.elapsed().as_secs_f64())
    });
    read.await?
}

fn long_line() -> Bytes {
    let text = "a line of what a tool printed, with a \"quote\" and an end\n".repeat(20_000_000 / 61);
    let result = serde_json::json!({ "tool_use_id": "toolu_1", "type": "tool_result", "content": text });
    let line = serde_json::json!({ "type": "user", "message": { "role": "user", "content": [result] },
        "parent_tool_use_id": null, "session_id": "11111111-2222-4333-8444-555555555555" });
    Bytes::from(line.to_string())
}

/// One look for the line's end and one parse that keeps the message raw.
fn floor_parse(line: &[u8]) -> Result<Duration> {
    let began = Instant::now();
    black_box(memchr::memchr(b'\n', black_box(line)));
    let peek: floor::Peek<'_> = serde_json::from_slice(black_box(line))?;
    ensure!(peek.kind == "user" && peek.message.is_some(), "it is a frame of the user");
    Ok(began.elapsed())
}
