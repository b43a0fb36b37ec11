//! What the journal adds to a turn: opened, sent and settled, without a session around it.

use anyhow::Result;
use tokio::runtime::Runtime;
use treewarden::{SessionId, SessionName, TurnId};
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{Backend, Change, Durability, NewTurn, Settle};

use crate::floor;
use crate::rounds::medians;
use crate::row::{Figure, Row};

/// The modes, and how many turns are measured in each.
const MODES: [(&str, Durability, u32); 2] =
    [("survives kill -9", Durability::Process, 3000), ("survives power loss", Durability::Power, 100)];

/// A turn in the journal, in each mode, beside the two appends that are the least it can be.
pub(crate) fn turn(runtime: &Runtime) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, durability, turns) in MODES {
        let dir = tempfile::tempdir()?;
        let store = SqliteStore::open(dir.path(), SqliteOptions::default().durability(durability))?;
        let append = match durability {
            Durability::Power => floor::append_and_sync,
            _ => floor::append_only,
        };
        let [bare, ours] = medians(
            5,
            [&mut || Ok(2.0 * append(dir.path(), turns)?.as_secs_f64()), &mut || {
                runtime.block_on(each(&store, turns))
            }],
        )?;
        rows.push(
            Row::new(format!("journal: a turn, {name}; floor: two appends"), Figure::Time(ours))
                .floor(Figure::Time(bare)),
        );
    }
    Ok(rows)
}

async fn each(store: &SqliteStore, turns: u32) -> Result<f64> {
    let store = store.clone();
    let name = SessionName::new("assistant")?;
    let id = SessionId::random();
    let each = tokio::spawn(async move {
        let mut tenure = store.take(name.clone()).await?.tenure;
        let began = std::time::Instant::now();
        for _ in 0..turns {
            let turn = TurnId::new();
            store
                .open(NewTurn {
                    turn,
                    name: name.clone(),
                    session_id: id,
                    prompt: r#""What is my name?""#.into(),
                    at_most_once: false,
                    opened_at: 1,
                })
                .await?;
            let outcome = r#"{"outcome":"completed","text":"Your name is Alice."}"#.into();
            let settle = vec![Settle { turn, outcome, answered_in: None, at: 1 }];
            tenure = store.commit(tenure, Change { settle, ..Change::default() }).await?.next;
        }
        anyhow::Ok(began.elapsed() / turns)
    });
    Ok(each.await??.as_secs_f64())
}
