//! What an empty turn costs, by what its journal survives.

use std::time::Instant;

use anyhow::Result;
use tokio::runtime::Runtime;
use treewarden::{Durability, Session};

use crate::floor;
use crate::lab::{self, Lab};
use crate::rounds::medians;
use crate::row::{Figure, Must, Row};

const ROUNDS: usize = 5;

/// The modes that need no sync, with what a turn must cost in each.
const UNSYNCED: [(&str, Durability, Must); 2] = [
    ("off", Durability::Nothing, Must::TimesAtMost(1.5)),
    ("on, survives kill -9", Durability::Process, Must::Shown),
];

/// Empty turns in each mode, beside a blocking pipe and a bare sync.
pub(crate) fn empty(runtime: &Runtime) -> Result<Vec<Row>> {
    let cli = lab::bare_cli()?;
    let mut rows = Vec::new();
    for (name, durability, must) in UNSYNCED {
        let lab = Lab::with(durability)?;
        let session = runtime.block_on(lab.start(lab.bare()))?;
        let [bare, ours] = medians(
            ROUNDS,
            [&mut || Ok(floor::turn(&cli, 3000)?.as_secs_f64()), &mut || {
                runtime.block_on(each(&session, 3000))
            }],
        )?;
        runtime.block_on(session.stop())?;
        rows.push(
            Row::new(format!("empty turn: journal {name}"), Figure::Time(ours))
                .floor(Figure::Time(bare))
                .must(must),
        );
    }
    let lab = Lab::with(Durability::Power)?;
    let session = runtime.block_on(lab.start(lab.bare()))?;
    let [sync, ours] = medians(
        ROUNDS,
        [&mut || Ok(floor::append_and_sync(lab.path(), 100)?.as_secs_f64()), &mut || {
            runtime.block_on(each(&session, 100))
        }],
    )?;
    runtime.block_on(session.stop())?;
    rows.push(
        Row::new("empty turn: journal on, survives power loss; floor: one `fdatasync`", Figure::Time(ours))
            .floor(Figure::Time(sync)),
    );
    Ok(rows)
}

/// The time of an empty turn, in seconds.
pub(crate) async fn each(session: &Session, turns: u32) -> Result<f64> {
    let session = session.clone();
    // In a task of its own, as in a service: `block_on` adds a wake-up to every turn.
    let each = tokio::spawn(async move {
        let began = Instant::now();
        for _ in 0..turns {
            session.query("N=0").await?;
        }
        Ok::<_, treewarden::session::QueryError>(began.elapsed() / turns)
    });
    Ok(each.await??.as_secs_f64())
}
