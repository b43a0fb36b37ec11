//! The tail of the journal: its segments, what damages it, and what is never stored.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::RawValue;
use support::name;
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{Durability, ProblemKind, Settled, Store, StoreOptions, TurnRow, TurnState};

fn open(dir: &Path, durability: Durability) -> Store {
    Store::open(dir, StoreOptions::default().durability(durability)).unwrap()
}

fn row(prompt: &str) -> TurnRow {
    TurnRow::new(TurnId::new(), name("a"), SessionId::random(), prompt.into(), false)
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

fn segments(dir: &Path) -> Vec<String> {
    let names = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".log")).collect()
}

fn append(dir: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(dir.join("turns-1.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn two_stores_that_write_through_many_segments_settle_each_turn_once() {
    for durability in [Durability::Process, Durability::Power] {
        let dir = tempfile::tempdir().unwrap();
        let stores = [open(dir.path(), Durability::Process), open(dir.path(), durability)];
        let (counted, seen) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // Some 12 MB, so that segments of 2 MiB are sealed under the other's hands.
        let prompt = "x".repeat(20_000);
        std::thread::scope(|scope| {
            for (at, own) in stores.iter().enumerate() {
                let (stores, prompt, counted, seen) = (&stores, &prompt, &counted, &seen);
                scope.spawn(move || {
                    for n in 0..300 {
                        let row = row(prompt);
                        own.open_turn(&row).unwrap();
                        let outcome = |store: usize| raw(&format!("\"{at} {n} {store}\""));
                        let both = std::thread::scope(|scope| {
                            let settle =
                                |store: usize| stores[store].settle(row.turn, &outcome(store)).unwrap();
                            let other = scope.spawn(move || settle(1 - at));
                            [settle(at), other.join().unwrap()]
                        });
                        let now = both.iter().filter(|settled| matches!(settled, Settled::Now)).count();
                        counted.fetch_add(now, Ordering::Relaxed);
                        // Both know the one that stands.
                        let stands = own.settle(row.turn, &raw("0")).unwrap();
                        let Settled::Already(stands) = stands else { panic!("it was settled twice") };
                        for settled in &both {
                            if let Settled::Already(first) = settled {
                                assert_eq!(first.get(), stands.get());
                            }
                        }
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((counted.into_inner(), seen.into_inner()), (600, 600));
        let turns = stores[1].turns(&name("a"), 1000).unwrap();
        assert_eq!(turns.len(), 600);
        assert!(turns.iter().all(|row| row.state == TurnState::Settled && row.prompt == *prompt));
        assert!(segments(dir.path()).len() <= 3, "{:?}", segments(dir.path()));
        drop(stores);
        assert_eq!(segments(dir.path()), Vec::<String>::new());
        assert_eq!(open(dir.path(), durability).turns(&name("a"), 1000).unwrap(), turns);
    }
}

#[test]
fn a_line_that_was_cut_short_hides_no_other_and_is_no_problem() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Durability::Process);
    let rows: Vec<_> = (0..3).map(|_| row("a\nprompt")).collect();
    store.open_turn(&rows[0]).unwrap();
    for (torn, row) in [r#"00000100 00000000 {"opened":{"turn":"#, "0000"].iter().zip(&rows[1..]) {
        append(dir.path(), &format!("\n{torn}"));
        // Not even while nothing stands behind it.
        assert!(!store.turns(&name("a"), 9).unwrap().is_empty());
        store.open_turn(row).unwrap();
    }
    let turns: Vec<_> = store.open_turns(&name("a")).unwrap().iter().map(|row| row.turn).collect();
    assert_eq!(turns, [0, 1, 2].map(|n: usize| rows[n].turn));
    assert_eq!(store.problems().unwrap(), []);
}

#[test]
fn a_damaged_line_is_set_aside_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Durability::Process);
    let rows: Vec<_> = (0..2).map(|_| row("a prompt")).collect();
    store.open_turn(&rows[0]).unwrap();
    append(dir.path(), "\n00000009 00000000 {\"sent\":1}\nno fact at all, and long enough to tell");
    store.open_turn(&rows[1]).unwrap();
    assert_eq!(store.open_turns(&name("a")).unwrap().len(), 2);
    let problems = store.problems().unwrap();
    assert_eq!(problems.iter().map(|problem| problem.kind).collect::<Vec<_>>(), [ProblemKind::Turn; 2]);
    assert!(problems[0].key.starts_with("turns-1.log:"), "{}", problems[0].key);
    drop(store);
    // They are reported once.
    assert_eq!(open(dir.path(), Durability::Process).problems().unwrap(), problems);
}

#[test]
fn an_outcome_with_line_ends_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Durability::Process);
    let row = row("a prompt");
    store.open_turn(&row).unwrap();
    store.settle(row.turn, &raw("{\n  \"outcome\": \"completed\"\n}")).unwrap();
    let outcome = store.turn(row.turn).unwrap().unwrap().outcome.unwrap();
    assert_eq!(outcome, serde_json::json!({ "outcome": "completed" }));
}

#[test]
fn interruptions_are_counted_over_the_tail_and_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Durability::Process);
    let row = row("a prompt");
    store.open_turn(&row).unwrap();
    store.mark_sent(row.turn).unwrap();
    assert_eq!(store.turn(row.turn).unwrap().unwrap().state, TurnState::Sent);
    for n in 1..=3 {
        store.mark_interrupted(row.turn).unwrap();
        assert_eq!(store.turn(row.turn).unwrap().unwrap().interruptions, n);
    }
}

#[test]
fn a_tail_outlives_a_database_that_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, lost) = (row("a prompt"), open(dir.path(), Durability::Process));
    lost.open_turn(&kept).unwrap();
    let tail = std::fs::read(dir.path().join("turns-1.log")).unwrap();
    drop(lost);
    std::fs::write(dir.path().join("treewarden.db"), "this is no database").unwrap();
    std::fs::write(dir.path().join("turns-7.log"), tail).unwrap();
    let store = open(dir.path(), Durability::Process);
    assert_eq!(store.problems().unwrap()[0].kind, ProblemKind::Database);
    assert_eq!(store.open_turns(&name("a")).unwrap()[0].turn, kept.turn);
}

#[test]
fn nothing_is_stored_of_turns_that_need_survive_nothing_but_older_ones_are_settled() {
    let dir = tempfile::tempdir().unwrap();
    let old = row("an old prompt");
    open(dir.path(), Durability::Process).open_turn(&old).unwrap();
    let store = open(dir.path(), Durability::Nothing);
    let new = row("a prompt");
    store.open_turn(&new).unwrap();
    store.mark_sent(new.turn).unwrap();
    store.mark_interrupted(new.turn).unwrap();
    assert!(matches!(store.settle(new.turn, &raw("1")).unwrap(), Settled::Now));
    assert_eq!(segments(dir.path()), Vec::<String>::new());
    assert_eq!(store.open_turns(&name("a")).unwrap()[0].turn, old.turn);
    store.mark_interrupted(old.turn).unwrap();
    assert!(matches!(store.settle(old.turn, &raw("1")).unwrap(), Settled::Now));
    assert!(matches!(store.settle(old.turn, &raw("2")).unwrap(), Settled::Already(_)));
    drop(store);
    let turns = open(dir.path(), Durability::Process).turns(&name("a"), 9).unwrap();
    assert_eq!((turns.len(), turns[0].turn, turns[0].interruptions), (1, old.turn, 1));
    assert_eq!(turns[0].outcome, Some(1.into()));
}

#[test]
fn a_turn_is_opened_once_however_long_ago_that_was() {
    for durability in [Durability::Process, Durability::Power] {
        let dir = tempfile::tempdir().unwrap();
        let turns: Vec<_> = (0..3).map(|_| row("a prompt")).collect();
        let store = open(dir.path(), durability);
        let refused = |store: &Store, row: &TurnRow| {
            let error = store.open_turn(row).unwrap_err();
            assert!(error.to_string().contains("the journal holds it already"), "{error}");
        };
        for row in &turns[..2] {
            store.open_turn(row).unwrap();
        }
        store.settle(turns[0].turn, &raw("1")).unwrap();
        turns[..2].iter().for_each(|row| refused(&store, row));
        // More than a segment, so that the tail knows no more what was settled in it.
        for _ in 0..3 {
            let long = row(&"x".repeat(1 << 20));
            store.open_turn(&long).unwrap();
            store.settle(long.turn, &raw("1")).unwrap();
        }
        let other = open(dir.path(), Durability::Process);
        for store in [&store, &other] {
            turns[..2].iter().for_each(|row| refused(store, row));
        }
        // An id that is older than what is there is no reason to refuse a turn.
        store.open_turn(&turns[2]).unwrap();
        drop((store, other));
        let store = open(dir.path(), durability);
        turns.iter().for_each(|row| refused(&store, row));
        assert!(
            matches!(store.settle(turns[0].turn, &raw("2")).unwrap(), Settled::Already(first) if first.get() == "1")
        );
    }
}

#[test]
fn a_segment_that_outlives_its_fold_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let (settled, open_still) = (row("a prompt"), row("another"));
    let store = open(dir.path(), Durability::Process);
    for row in [&settled, &open_still] {
        store.open_turn(row).unwrap();
        store.mark_interrupted(row.turn).unwrap();
    }
    store.settle(settled.turn, &raw("1")).unwrap();
    // The same file, with its seal, as if the process had died between the commit of the fold and the removal.
    let (segment, kept) = (dir.path().join("turns-1.log"), dir.path().join("kept"));
    std::fs::hard_link(&segment, &kept).unwrap();
    drop(store);
    assert!(!segment.exists());
    std::fs::rename(&kept, &segment).unwrap();
    let store = open(dir.path(), Durability::Process);
    let turns = store.turns(&name("a"), 9).unwrap();
    let interruptions: Vec<_> = turns.iter().map(|row| (row.turn, row.interruptions)).collect();
    assert_eq!(interruptions, [(open_still.turn, 1), (settled.turn, 1)]);
    assert_eq!(store.open_turns(&name("a")).unwrap().len(), 1);
    // What comes next goes to the next segment, and both are gone in the end.
    assert!(
        matches!(store.settle(settled.turn, &raw("2")).unwrap(), Settled::Already(first) if first.get() == "1")
    );
    assert!(matches!(store.settle(open_still.turn, &raw("3")).unwrap(), Settled::Now));
    let next = row("a third");
    store.open_turn(&next).unwrap();
    assert_eq!(segments(dir.path()).len(), 2);
    drop(store);
    assert_eq!(segments(dir.path()), Vec::<String>::new());
    let turns = open(dir.path(), Durability::Process).turns(&name("a"), 9).unwrap();
    let outcomes: Vec<_> = turns.iter().map(|row| (row.turn, row.outcome.clone())).collect();
    assert_eq!(
        outcomes,
        [(next.turn, None), (open_still.turn, Some(3.into())), (settled.turn, Some(1.into()))]
    );
}
