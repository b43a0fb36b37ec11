//! What a turn costs in the journal, and what a start with many records costs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::value::RawValue;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{Durability, SessionRecord, Store, StoreOptions, TurnRow};
use uuid::Uuid;

const CALLERS: u32 = 64;
const CONVERSATION: Uuid = Uuid::from_u128(7);

/// A turn of the one conversation of the session.
fn row(name: &SessionName) -> TurnRow {
    TurnRow::new(
        TurnId::new(),
        name.clone(),
        SessionId::from_uuid(CONVERSATION),
        "What is my name?".into(),
        false,
    )
}

fn outcome() -> Box<RawValue> {
    RawValue::from_string(r#"{"outcome":"completed","text":"Your name is Alice."}"#.into()).expect("is JSON")
}

fn store(durability: Durability) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), StoreOptions::default().durability(durability)).expect("a store");
    (dir, store)
}

fn turn(c: &mut Criterion) {
    let mut group = c.benchmark_group("open and settle a turn");
    let (name, outcome) = (SessionName::new("assistant").expect("a name"), outcome());
    for (what, durability) in [("process", Durability::Process), ("power, alone", Durability::Power)] {
        let (_dir, store) = store(durability);
        group.bench_function(what, |b| {
            b.iter(|| {
                let row = row(&name);
                store.open_turn(&row).expect("stored");
                store.settle(row.turn, &outcome).expect("stored")
            });
        });
    }
    let (_dir, store) = store(Durability::Power);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    group.bench_function("power, one of 64 callers", |b| {
        b.iter_custom(|turns| {
            let each = turns.div_ceil(CALLERS.into());
            let begun = Instant::now();
            runtime.block_on(async {
                let callers: Vec<_> = (0..CALLERS)
                    .map(|_| {
                        let (store, name, outcome) = (store.clone(), name.clone(), outcome.clone());
                        tokio::spawn(async move {
                            for _ in 0..each {
                                let row = row(&name);
                                store.open_turn_durable(&row).await.expect("stored");
                                store.settle_durable(row.turn, &outcome).await.expect("stored");
                            }
                        })
                    })
                    .collect();
                for caller in callers {
                    caller.await.expect("ends");
                }
            });
            // The time of one turn, as if they had come one after the other.
            begun.elapsed().mul_f64(turns as f64 / (each * u64::from(CALLERS)) as f64)
        });
    });
}

fn load(c: &mut Criterion) {
    let (dir, store) = store(Durability::Process);
    for n in 0..100_000 {
        let name = SessionName::new(&format!("tenant-{n}/assistant")).expect("a name");
        store.put(&SessionRecord::new(name, SessionId::random())).expect("stored");
    }
    drop(store);
    c.bench_function("open a store and load 100,000 records", |b| {
        b.iter(|| {
            let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
            black_box(store.all().expect("loaded")).len()
        });
    });
    c.bench_function("open a store of 100,000 records", |b| {
        b.iter(|| Store::open(dir.path(), StoreOptions::default()).expect("a store"));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1));
    targets = turn, load
}
criterion_main!(benches);
