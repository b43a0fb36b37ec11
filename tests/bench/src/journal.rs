//! What the journal adds to a turn: opened, sent and settled, without a session around it.

use anyhow::Result;
use serde_json::value::RawValue;
use tokio::runtime::Runtime;
use treewarden::{SessionId, SessionName, TurnId};
use treewarden_store::{Durability, Store, StoreOptions, TurnRow};

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
        let store = Store::open(dir.path(), StoreOptions::default().durability(durability))?;
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

async fn each(store: &Store, turns: u32) -> Result<f64> {
    let store = store.clone();
    let name = SessionName::new("assistant")?;
    let outcome = RawValue::from_string(r#"{"outcome":"completed","text":"Your name is Alice."}"#.into())?;
    let id = SessionId::random();
    let each = tokio::spawn(async move {
        let began = std::time::Instant::now();
        for _ in 0..turns {
            let row = TurnRow::new(TurnId::new(), name.clone(), id, "What is my name?".into(), false);
            store.open_turn_durable(&row).await?;
            store.settle_durable(row.turn, &outcome).await?;
        }
        anyhow::Ok(began.elapsed() / turns)
    });
    Ok(each.await??.as_secs_f64())
}
