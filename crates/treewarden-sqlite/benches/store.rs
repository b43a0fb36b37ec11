//! What a turn costs in the store, beside the least that SQLite can do for it, and what a start with many records costs.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use rusqlite::{Connection, params};
use tokio::runtime::Runtime;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{Backend, Change, Durability, NewTurn, SessionRecord, Settle, Tenure};

const CALLERS: u64 = 64;
const OUTCOME: &str = r#"{"outcome":"completed","text":"Your name is Alice."}"#;

fn name(n: u64) -> SessionName {
    SessionName::new(&format!("tenant-{n}/assistant")).expect("a name")
}

fn open(dir: &Path, durability: Durability) -> SqliteStore {
    SqliteStore::open(dir, SqliteOptions::default().durability(durability)).expect("a store")
}

/// Opens a turn, and settles it with the record that it changes.
async fn open_and_settle(store: &SqliteStore, tenure: Tenure, record: &SessionRecord) -> Tenure {
    let turn = TurnId::new();
    let new = NewTurn {
        turn,
        name: tenure.name.clone(),
        session_id: record.session_id,
        prompt: "\"What is my name?\"".into(),
        at_most_once: false,
        opened_at: 7,
    };
    store.open(new).await.expect("stored");
    let settle = Settle { turn, outcome: OUTCOME.into(), answered_in: None, at: 9 };
    let change = Change { record: Some(record.clone()), settle: vec![settle], ..Change::default() };
    store.commit(tenure, change).await.expect("stored").next
}

/// The same two transactions by hand: no checksum, no tenure, one index.
struct Floor(Connection);

impl Floor {
    fn new(dir: &Path, synchronous: &str) -> Self {
        let db = Connection::open(dir.join("floor.db")).expect("opened");
        db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).expect("a log");
        db.pragma_update(None, "synchronous", synchronous).expect("set");
        db.execute_batch(
            "CREATE TABLE names(name TEXT PRIMARY KEY, record TEXT);
             CREATE TABLE turns(seq INTEGER PRIMARY KEY, turn BLOB UNIQUE, prompt TEXT, outcome TEXT)",
        )
        .expect("made");
        Self(db)
    }

    fn open_and_settle(&self, record: &str) {
        let (turn, db) = (TurnId::new(), &self.0);
        let turn = turn.as_uuid().as_bytes().as_slice();
        db.prepare_cached("INSERT INTO turns(turn, prompt) VALUES (?, '\"What is my name?\"')")
            .and_then(|mut insert| insert.execute([turn]))
            .expect("stored");
        db.execute_batch("BEGIN IMMEDIATE").expect("begun");
        db.prepare_cached("UPDATE turns SET outcome = ? WHERE turn = ?")
            .and_then(|mut update| update.execute(params![OUTCOME, turn]))
            .expect("stored");
        db.prepare_cached("INSERT OR REPLACE INTO names VALUES ('assistant', ?)")
            .and_then(|mut put| put.execute([record]))
            .expect("stored");
        db.execute_batch("COMMIT").expect("stored");
    }
}

fn turns(c: &mut Criterion) {
    let mut group = c.benchmark_group("open_and_settle");
    let runtime = Runtime::new().expect("a runtime");
    for (what, durability, synchronous) in
        [("process", Durability::Process, "NORMAL"), ("power", Durability::Power, "FULL")]
    {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path(), durability);
        let record = SessionRecord::new(name(0), SessionId::random());
        group.bench_function(format!("{what}, alone"), |b| {
            b.iter_custom(|turns| {
                runtime.block_on(async {
                    let mut tenure = store.take(name(0)).await.expect("taken").tenure;
                    let begun = Instant::now();
                    for _ in 0..turns {
                        tenure = open_and_settle(&store, tenure, &record).await;
                    }
                    begun.elapsed()
                })
            });
        });
        group.bench_function(format!("{what}, one of 64 callers"), |b| {
            b.iter_custom(|turns| {
                let each = turns.div_ceil(CALLERS);
                let begun = Instant::now();
                runtime.block_on(async {
                    let callers: Vec<_> = (0..CALLERS)
                        .map(|n| {
                            let store = store.clone();
                            tokio::spawn(async move {
                                let record = SessionRecord::new(name(n), SessionId::random());
                                let mut tenure = store.take(name(n)).await.expect("taken").tenure;
                                for _ in 0..each {
                                    tenure = open_and_settle(&store, tenure, &record).await;
                                }
                            })
                        })
                        .collect();
                    for caller in callers {
                        caller.await.expect("no panic");
                    }
                });
                begun.elapsed().mul_f64(turns as f64 / (each * CALLERS) as f64)
            });
        });
        let floor = Floor::new(dir.path(), synchronous);
        let record = serde_json::to_string(&record).expect("JSON");
        group.bench_function(format!("{what}, SQLite by hand"), |b| {
            b.iter(|| floor.open_and_settle(&record));
        });
    }
    group.finish();
}

fn load(c: &mut Criterion) {
    let (dir, runtime) = (tempfile::tempdir().expect("a folder"), Runtime::new().expect("a runtime"));
    let store = open(dir.path(), Durability::Process);
    runtime.block_on(async {
        // Many at a time, so that they share commits.
        for first in (0..100_000).step_by(500) {
            let callers: Vec<_> = (first..first + 500)
                .map(|n| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        let record = SessionRecord::new(name(n), SessionId::random());
                        let tenure = store.take(name(n)).await.expect("taken").tenure;
                        let tenure = open_and_settle(&store, tenure, &record).await;
                        open_and_settle(&store, tenure, &record).await;
                    })
                })
                .collect();
            for caller in callers {
                caller.await.expect("no panic");
            }
        }
    });
    drop(store);
    let mut group = c.benchmark_group("open a store of 100,000 records and 200,000 turns");
    group.bench_function("open", |b| b.iter(|| open(dir.path(), Durability::Process)));
    group.bench_function("open and read all records", |b| {
        b.iter(|| {
            let store = open(dir.path(), Durability::Process);
            black_box(runtime.block_on(store.records()).expect("read")).len()
        });
    });
    let db = Connection::open(dir.path().join("treewarden.db")).expect("opened");
    for check in ["quick_check", "quick_check('names')", "integrity_check('names')", "integrity_check"] {
        group.bench_function(format!("PRAGMA {check}"), |b| {
            b.iter(|| {
                db.query_row(&format!("PRAGMA {check}"), [], |row| row.get::<_, String>(0)).expect("looked")
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1));
    targets = turns, load
}
criterion_main!(benches);
