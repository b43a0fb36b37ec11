//! What many declared sessions cost: their start, their stop, and the memory of each while it is parked.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::runtime::Runtime;
use treewarden::{ExitReason, SessionId, SessionName, SessionOptions, Supervisor};
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{Backend, Change, SessionRecord};

use crate::lab::{self, Lab};
use crate::row::{Figure, Must, Row};

/// So much may a parked session take.
const EACH: Figure = Figure::Bytes(12.0 * 1024.0);

/// So long may 100,000 of them take to start, and to stop.
const LONG: Figure = Figure::Time(3.0);

/// So long may it take to open a store that knows 100,000 of them.
const SOON: Figure = Figure::Time(1.0);

pub(crate) fn ten_thousand(runtime: &Runtime) -> Result<Vec<Row>> {
    let lab = Lab::new()?;
    let many = runtime.block_on(declared(&lab, 10_000))?;
    Ok(vec![
        Row::new("10,000 declared: start", many.start),
        Row::new("10,000 declared: memory of each", Figure::Bytes(many.each)).must(Must::AtMost(EACH)),
        Row::new("10,000 declared: stop", runtime.block_on(many.stop())),
    ])
}

pub(crate) fn hundred_thousand(runtime: &Runtime) -> Result<Vec<Row>> {
    let lab = Lab::new()?;
    let many = runtime.block_on(declared(&lab, 100_000))?;
    Ok(vec![
        Row::new("100,000 declared: start", many.start),
        Row::new("100,000 declared: memory of each", Figure::Bytes(many.each)).must(Must::AtMost(EACH)),
        Row::new("100,000 declared: stop", runtime.block_on(many.stop())).must(Must::AtMost(LONG)),
    ])
}

/// As after a restart of the host: each session has a record on disk.
pub(crate) fn with_records(runtime: &Runtime) -> Result<Vec<Row>> {
    const COUNT: u64 = 100_000;
    let dir = tempfile::tempdir()?;
    runtime.block_on(async {
        let store = SqliteStore::open(dir.path(), SqliteOptions::default())?;
        for n in 0..COUNT {
            let tenure = store.take(name(n)?).await?.tenure;
            let record = Some(SessionRecord::new(name(n)?, SessionId::random()));
            store.commit(tenure, Change { record, ..Change::default() }).await?;
        }
        anyhow::Ok(())
    })?;
    let began = Instant::now();
    let lab = Lab::at(dir)?;
    let opened = began.elapsed();
    let many = runtime.block_on(declared(&lab, COUNT))?;
    // They end with the process.
    Ok(vec![
        Row::new("100,000 with a record: open the host", opened).must(Must::AtMost(SOON)),
        Row::new("100,000 with a record: open the host and start", opened + many.start),
        Row::new("100,000 with a record: memory of each", Figure::Bytes(many.each)).must(Must::AtMost(EACH)),
    ])
}

/// Declared sessions that run.
struct Many {
    supervisor: Supervisor,
    start: Duration,
    each: f64,
}

impl Many {
    async fn stop(self) -> Duration {
        let began = Instant::now();
        self.supervisor.stop(ExitReason::Shutdown).await;
        began.elapsed()
    }
}

fn name(n: u64) -> Result<SessionName> {
    Ok(SessionName::new(&format!("session-{n}"))?)
}

/// Starts this many sessions that never run a turn.
async fn declared(lab: &Lab, count: u64) -> Result<Many> {
    let spec = lab.bare();
    let before = lab::resident();
    let began = Instant::now();
    let mut builder = Supervisor::builder();
    for n in 0..count {
        builder = builder.child(SessionOptions::from(spec.clone().name(name(n)?)).child_spec(&lab.host)?);
    }
    let supervisor = builder.start().await?;
    let start = began.elapsed();
    let each = lab::resident().saturating_sub(before) as f64 / count as f64;
    Ok(Many { supervisor, start, each })
}
