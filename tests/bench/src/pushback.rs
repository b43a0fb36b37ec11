//! What a consumer that hardly reads costs the others: memory, an interrupt, the speed of a neighbour.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use treewarden::events::Happening;
use treewarden::session::Turn;

use crate::lab::{self, Lab};
use crate::rounds::{median, medians};
use crate::row::{Figure, Must, Row};
use crate::turns;

/// So long a stalled stream is left to fill up.
const FILL: Duration = Duration::from_millis(500);

/// A consumer that takes one frame a second.
fn slow(mut turn: Turn) -> JoinHandle<()> {
    tokio::spawn(async move {
        while turn.next().await.is_some() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
}

/// The growth of the host's memory while a firehose has a consumer that takes one frame a second.
pub(crate) fn memory(runtime: &Runtime) -> Result<Vec<Row>> {
    runtime.block_on(async {
        let lab = Lab::new()?;
        let session = lab.start(lab.bare()).await?;
        let before = lab::resident();
        let consumer = slow(session.stream("N=100000000").await?);
        let mut most = before;
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            most = most.max(lab::resident());
        }
        consumer.abort();
        session.stop().await?;
        let grown = Figure::Bytes((most - before) as f64);
        Ok(vec![
            Row::new("slow consumer: growth of memory in 3 s", grown)
                .must(Must::AtMost(Figure::Bytes(f64::from(64 << 20)))),
        ])
    })
}

/// From an interrupt of a firehose whose consumer takes one frame a second to its outcome in the journal.
pub(crate) fn interrupt(runtime: &Runtime) -> Result<Vec<Row>> {
    const ROUNDS: usize = 9;
    let taken = runtime.block_on(async {
        let lab = Lab::new()?;
        let session = lab.start(lab.whole()?).await?;
        let mut taken = Vec::new();
        for _ in 0..ROUNDS {
            let turn = session.stream("N=100000000").await?;
            let id = turn.id();
            let consumer = slow(turn);
            tokio::time::sleep(FILL).await;
            let mut events = lab.host.events().now();
            let began = Instant::now();
            session.interrupt().await?;
            loop {
                let event = events.next().await.context("the feed goes on")??;
                if matches!(event.what, Happening::TurnSettled { turn, .. } if turn == id) {
                    break;
                }
            }
            taken.push(began.elapsed().as_secs_f64());
            consumer.abort();
        }
        session.stop().await?;
        anyhow::Ok(taken)
    })?;
    let worst = taken.iter().copied().fold(0.0, f64::max);
    let limit = Must::AtMost(Figure::Time(0.1));
    Ok(vec![
        Row::new("slow consumer: interrupt → outcome, median", Figure::Time(median(taken))).must(limit),
        Row::new(format!("slow consumer: interrupt → outcome, worst of {ROUNDS}"), Figure::Time(worst))
            .must(limit),
    ])
}

/// Turns a second of a session whose neighbour's consumer is stalled, beside those without that neighbour.
pub(crate) fn neighbour(runtime: &Runtime) -> Result<Vec<Row>> {
    let lab = Lab::new()?;
    let (session, stalled) = runtime
        .block_on(async { anyhow::Ok((lab.start(lab.bare()).await?, lab.start(lab.whole()?).await?)) })?;
    let turns = |session| Ok(1.0 / runtime.block_on(turns::each(session, 2000))?);
    let [alone, beside] = medians(
        5,
        [&mut || turns(&session), &mut || {
            let consumer = runtime.block_on(async {
                let consumer = slow(stalled.stream("N=100000000").await?);
                tokio::time::sleep(FILL).await;
                anyhow::Ok(consumer)
            })?;
            let rate = turns(&session);
            consumer.abort();
            runtime.block_on(stalled.query("N=0"))?;
            rate
        }],
    )?;
    runtime.block_on(async {
        session.stop().await?;
        stalled.stop().await
    })?;
    Ok(vec![
        Row::new("slow consumer: turns of its neighbour; floor: without it", Figure::Rate(beside))
            .floor(Figure::Rate(alone))
            .must(Must::TimesAtLeast(0.9)),
    ])
}
