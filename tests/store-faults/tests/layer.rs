//! The layer below, on SQLite alone: what a power cut may do to it is seen, and what it may not do is not.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use treewarden_store_faults::{Chance, Cut, Disk, Entry, Op, Tape, cuts, register, seed, write_down};

/// Writes so many rows, each in a transaction of its own, and tells what was done to the files.
fn written(dir: &Path, layer: &str, synchronous: &str, rows: usize) -> (Disk, Arc<Tape>) {
    let (start, tape) = (Disk::of(dir).unwrap(), Tape::new(dir, &[]));
    register(layer, tape.clone());
    let db = Connection::open_with_flags_and_vfs(dir.join("db"), OpenFlags::default(), layer).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.pragma_update(None, "synchronous", synchronous).unwrap();
    // Many checkpoints in few rows.
    db.pragma_update(None, "wal_autocheckpoint", 20).unwrap();
    db.execute_batch("CREATE TABLE rows(n INTEGER PRIMARY KEY, body TEXT NOT NULL)").unwrap();
    for n in 1..=rows {
        tape.begun(n);
        db.execute("INSERT INTO rows VALUES(?, ?)", (n as i64, "x".repeat(100 * (n % 40)))).unwrap();
        tape.acknowledged(n);
    }
    drop(db);
    (start, tape)
}

/// How many rows are there; `None` if they are no prefix of those that were written, or cannot be read.
fn there(cut: &Cut) -> Option<usize> {
    let dir = tempfile::tempdir().unwrap();
    write_down(&cut.image, dir.path()).unwrap();
    let db = Connection::open(dir.path().join("db")).unwrap();
    let sound = db.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    if sound.ok()? != "ok" {
        return None;
    }
    let is_made = "SELECT count(*) FROM sqlite_schema WHERE name = 'rows'";
    if db.query_row(is_made, [], |row| row.get::<_, i64>(0)).unwrap() == 0 {
        return Some(0);
    }
    let whole =
        "SELECT count(*), coalesce(max(n), 0), coalesce(sum(length(body) = 100 * (n % 40)), 0) FROM rows";
    let numbers = |row: &rusqlite::Row<'_>| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?]);
    let [count, last, right] = db.query_row(whole, [], numbers).unwrap();
    (count == last && count == right).then(|| usize::try_from(count).unwrap())
}

#[test]
fn nothing_that_sqlite_synced_is_lost_and_what_it_did_not_sync_is_a_prefix() {
    let mut chance = Chance::new(seed());
    for (synchronous, layer) in [("FULL", "layer-full"), ("NORMAL", "layer-normal")] {
        let dir = tempfile::tempdir().unwrap();
        let (start, tape) = written(dir.path(), layer, synchronous, 60);
        let mut lost = 0;
        let shown = cuts(&start, &tape.entries(), 300, &mut chance, |cut| {
            let there = there(&cut).unwrap_or_else(|| panic!("{synchronous}, {}: damaged", cut.how));
            assert!(there <= cut.begun, "{}", cut.how);
            lost += usize::from(there < cut.acknowledged);
        });
        println!("{synchronous}: {shown} states, {lost} without something that was acknowledged");
        assert!(shown > 150);
        if synchronous == "FULL" {
            assert_eq!(lost, 0);
        } else {
            assert!(lost > 0, "a suffix is lost by some cut: else the cuts are too mild to show anything");
        }
    }
}

#[test]
fn a_database_that_syncs_nothing_is_seen_to_break() {
    let dir = tempfile::tempdir().unwrap();
    let (start, tape) = written(dir.path(), "layer-off", "OFF", 60);
    let mut damaged = 0;
    let shown = cuts(&start, &tape.entries(), 300, &mut Chance::new(seed()), |cut| {
        damaged += usize::from(there(&cut).is_none());
    });
    println!("OFF: {shown} states, {damaged} damaged");
    assert!(damaged > 0);
}

#[test]
fn the_last_image_of_a_tape_is_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (mut disk, tape) = written(dir.path(), "layer-last", "NORMAL", 30);
    let entries = tape.entries();
    assert!(entries.iter().any(|entry| matches!(entry, Entry::Op(Op::Sync { .. }))));
    for entry in &entries {
        if let Entry::Op(op) = entry {
            disk.change(op);
        }
    }
    let kept = disk.image(|_| treewarden_store_faults::Fate::Kept);
    assert_eq!(
        kept.keys().collect::<Vec<_>>(),
        [Path::new("db")],
        "the log is removed with the last connection"
    );
    assert!(kept[Path::new("db")] == std::fs::read(dir.path().join("db")).unwrap());
}

#[test]
fn a_file_that_is_not_written_through_sqlite_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let tape = Tape::new(dir.path(), &["counter"]);
    std::fs::write(dir.path().join("counter"), "12").unwrap();
    tape.acknowledged(1);
    std::fs::write(dir.path().join("counter"), "3").unwrap();
    tape.acknowledged(2);
    std::fs::remove_file(dir.path().join("counter")).unwrap();
    let path = || "counter".into();
    let write = |bytes: &str| Op::Write { path: path(), at: 0, bytes: bytes.into() };
    let expected = [
        Entry::Op(Op::Create { path: path() }),
        Entry::Op(write("12")),
        Entry::Acknowledged(1),
        Entry::Op(Op::Truncate { path: path(), len: 1 }),
        Entry::Op(write("3")),
        Entry::Acknowledged(2),
        Entry::Op(Op::Delete { path: path(), folder: false }),
    ];
    assert_eq!(tape.entries(), expected);
}
