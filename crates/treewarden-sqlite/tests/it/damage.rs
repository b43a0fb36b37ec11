//! What cannot be read is set aside and reported, and stops nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use treewarden_proto::SessionId;
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{Backend, Holder, Lease, ProblemKind, StoreErrorKind, Told};

use crate::support::{
    Role, my_role, name, new_turn, of_record, open, record, say, settles, sql, tenure, wait_for_the_end,
};

fn bytes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let all = files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path));
    all.filter(|(name, _)| name != "treewarden.db.lock")
        .map(|(n, path)| (n, fs::read(path).unwrap()))
        .collect()
}

async fn put(store: &SqliteStore, session: &str) -> SessionId {
    let record = record(session);
    store.commit(tenure(store, session).await, of_record(&record)).await.unwrap();
    record.session_id
}

async fn told(store: &SqliteStore, session: &str) -> Told {
    store.record(name(session)).await.unwrap()
}

#[test]
#[ignore = "a role of other tests"]
fn role_user() {
    let Some((dir, _)) = my_role() else { return };
    let _store = open(&dir);
    say("open");
    wait_for_the_end();
}

/// Each cell of a name, changed by somebody who knows no checksums, while the store is open and while it is not.
#[tokio::test]
async fn a_name_of_which_any_cell_is_damaged_is_lost_and_never_blank() {
    for change in [
        "name = 'aa'",
        "epoch = epoch + 1",
        "seq = seq + 1",
        "last = last + 1",
        "lost_id = x'00'",
        "watermark = x'00'",
        "sum = sum + 1",
        "lost = 'gone'",
        "record = replace(record, '\"model\":null', '\"model\":\"x\"')",
        "record = NULL",
        "record = CAST(record AS BLOB)",
    ] {
        for is_open in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path());
            let id = put(&store, "a").await;
            put(&store, "b").await;
            let before = store.take(name("a")).await.unwrap().tenure;
            let store = if is_open {
                sql(dir.path(), &format!("UPDATE names SET {change} WHERE name = 'a'"));
                store
            } else {
                drop(store);
                sql(dir.path(), &format!("UPDATE names SET {change} WHERE name = 'a'"));
                open(dir.path())
            };
            let records = store.records().await.unwrap();
            assert_eq!(
                records.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(),
                ["b"],
                "{change}"
            );
            let Told::Lost { session_id, .. } = told(&store, "a").await else { panic!("{change}") };
            assert!(session_id.is_none_or(|told| told == id));
            let problems = store.problems().await.unwrap();
            assert_eq!(problems.len(), 1, "{change}: {problems:?}");
            assert!(problems[0].kind == ProblemKind::Record && problems[0].key.contains('a'), "{problems:?}");
            // Whoever wrote it before may not go on, and a record ends it.
            let taken = store.take(name("a")).await.unwrap();
            assert!(matches!(taken.told, Told::Lost { .. }) && taken.tenure.epoch > before.epoch);
            store.commit(before, of_record(&record("a"))).await.unwrap_err();
            store.commit(taken.tenure, of_record(&record("a"))).await.unwrap();
            assert!(matches!(told(&store, "a").await, Told::Record(_)));
            // With the other name that it may have been, if that is known.
            store.forgive_lost().await.unwrap();
            assert_eq!(store.problems().await.unwrap(), [], "{change}");
            drop(store);
            assert_eq!(open(dir.path()).problems().await.unwrap(), [], "{change}");
        }
    }
}

/// Which conversation it had is what its lease file says; without one, what the record says is told as that, and not as true.
#[tokio::test]
async fn a_damaged_record_is_not_believed_where_a_lease_file_says_something_and_told_as_damaged_elsewhere() {
    for (has_lease, is_open) in [(true, true), (true, false), (false, true), (false, false)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let (id, wrong) = (put(&store, "a").await, SessionId::random());
        if has_lease {
            let holder = Holder::this_process(&name("a"));
            drop(Lease::acquire(&dir.path().join("config"), dir.path(), id, &holder).unwrap());
        }
        let change = format!("UPDATE names SET record = replace(record, '{id}', '{wrong}') WHERE name = 'a'");
        let store = if is_open {
            sql(dir.path(), &change);
            store
        } else {
            drop(store);
            sql(dir.path(), &change);
            open(dir.path())
        };
        let Told::Lost { why, session_id } = told(&store, "a").await else { panic!("it is damaged") };
        assert_eq!(session_id, has_lease.then_some(id), "{why}");
        let reason = store.problems().await.unwrap().remove(0).reason;
        for said in [why, reason] {
            assert_eq!(said.contains(&wrong.to_string()), !has_lease, "{said}");
            assert_eq!(said.contains("the damaged record says, and may be wrong"), !has_lease, "{said}");
        }
        assert_eq!(store.lost().await.unwrap().names, [(name("a"), has_lease.then_some(id))]);
    }
}

#[tokio::test]
async fn a_record_in_the_place_of_another_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for session in ["a", "b"] {
        put(&store, session).await;
    }
    sql(
        dir.path(),
        "UPDATE names SET (epoch, seq, last, lost_id, watermark, sum, lost, record) =
           (SELECT epoch, seq, last, lost_id, watermark, sum, lost, record FROM names WHERE name = 'b') WHERE name = 'a'",
    );
    assert!(matches!(told(&store, "a").await, Told::Lost { .. }));
    assert!(matches!(told(&store, "b").await, Told::Record(_)));
}

#[tokio::test]
async fn a_turn_of_which_any_cell_is_damaged_is_set_aside_and_the_others_are_read() {
    for change in [
        "turn = x'0193b4c0000070008000000000000001'",
        "name = 'a', at_most_once = 1",
        "session_id = x'00'",
        "at_most_once = 1",
        "sent = 1",
        "interruptions = 7",
        "opened_at = 8",
        "settled_at = 9",
        "sum = sum + 1",
        "prompt = '\"another\"'",
        "outcome = '1'",
    ] {
        for is_open in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let mut store = open(dir.path());
            let (bad, good) = (new_turn("a"), new_turn("a"));
            for turn in [&bad, &good] {
                store.open(turn.clone()).await.unwrap();
            }
            if !is_open {
                drop(store);
                sql(
                    dir.path(),
                    &format!("UPDATE turns SET {change} WHERE seq = (SELECT min(seq) FROM turns)"),
                );
                store = open(dir.path());
            } else {
                sql(
                    dir.path(),
                    &format!("UPDATE turns SET {change} WHERE seq = (SELECT min(seq) FROM turns)"),
                );
            }
            let turns: Vec<_> =
                store.turns(name("a"), 9).await.unwrap().into_iter().map(|row| row.turn).collect();
            assert_eq!(turns, [good.turn], "{change}");
            let open_turns: Vec<_> =
                store.open_turns(name("a")).await.unwrap().into_iter().map(|row| row.turn).collect();
            assert_eq!(open_turns, [good.turn], "{change}");
            // Where the id was changed with its index, nobody knows it any more.
            if change.starts_with("turn") {
                assert_eq!(store.turn(bad.turn).await.unwrap(), None);
            } else {
                let damaged = store.turn(bad.turn).await.unwrap_err();
                assert_eq!(damaged.kind(), StoreErrorKind::Corrupt);
                let said = damaged.to_string();
                assert!(said.contains("a turn of a (id") && said.contains(&bad.turn.to_string()), "{said}");
            }
            let problems = store.problems().await.unwrap();
            assert_eq!(problems.len(), 1, "{change}: {problems:?}");
            assert_eq!(problems[0].kind, ProblemKind::Turn);
            assert!(change.starts_with("turn") || problems[0].key == bad.turn.to_string(), "{problems:?}");
        }
    }
}

#[tokio::test]
async fn a_damaged_turn_is_not_settled_and_its_damage_gets_no_sum_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let turn = new_turn("a");
    store.open(turn.clone()).await.unwrap();
    sql(dir.path(), "UPDATE turns SET prompt = '\"another\"'");
    let committed = store.commit(tenure(&store, "a").await, settles(turn.turn, "1")).await.unwrap();
    assert_eq!(committed.unknown, [turn.turn]);
    assert_eq!(store.problems().await.unwrap()[0].key, turn.turn.to_string());
}

#[tokio::test]
async fn a_damaged_outcome_does_not_hide_the_completed_turn_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (good, mut bad) = (new_turn("a"), new_turn("a"));
    bad.session_id = good.session_id;
    let mut tenure = tenure(&store, "a").await;
    for turn in [&good, &bad] {
        store.open(turn.clone()).await.unwrap();
        tenure = store.commit(tenure, settles(turn.turn, r#"{"outcome":"completed"}"#)).await.unwrap().next;
    }
    assert_eq!(store.completed(good.session_id).await.unwrap()[0].turn, bad.turn);
    sql(dir.path(), "UPDATE turns SET outcome = 'no JSON' WHERE seq = (SELECT max(seq) FROM turns)");
    assert_eq!(store.completed(good.session_id).await.unwrap()[0].turn, good.turn);
    assert_eq!(store.problems().await.unwrap().len(), 1);
}

#[tokio::test]
async fn counts_that_cannot_be_read_go_on_further_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = tenure(&store, "a").await;
    store.open(new_turn("a")).await.unwrap();
    sql(dir.path(), "UPDATE meta SET value = 0");
    let after = tenure(&store, "a").await;
    assert!(after.epoch > before.epoch);
    store.open(new_turn("a")).await.unwrap();
    assert!(tenure(&store, "a").await.epoch > after.epoch);
    assert_eq!(store.open_turns(name("a")).await.unwrap().len(), 2);
}

/// Changes the table of the names, and leaves its index as it is.
fn behind_the_index(dir: &Path, change: &str) {
    let db = || {
        let db = Connection::open(dir.join("treewarden.db")).unwrap();
        db.execute_batch("PRAGMA writable_schema = ON").unwrap();
        db
    };
    let (root, index): (i64, String) = {
        let (db, index) = (db(), "FROM sqlite_schema WHERE name = 'names_by_name'");
        let kept =
            db.query_row(&format!("SELECT rootpage, sql {index}"), [], |row| Ok((row.get(0)?, row.get(1)?)));
        db.execute_batch(&format!("DELETE {index}")).unwrap();
        kept.unwrap()
    };
    let db = db();
    db.execute_batch(change).unwrap();
    let put_back = "INSERT INTO sqlite_schema VALUES ('index', 'names_by_name', 'names', ?, ?)";
    db.execute(put_back, rusqlite::params![root, index]).unwrap();
}

/// The row is gone, as with a page that lost it, or says another's name, and the index still has its own.
#[tokio::test]
async fn a_name_that_only_its_index_has_is_lost_and_never_blank() {
    for change in ["DELETE FROM names WHERE name = 'a'", "UPDATE names SET name = 'b' WHERE name = 'a'"] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for session in ["a", "b"] {
            put(&store, session).await;
        }
        drop(store);
        behind_the_index(dir.path(), change);
        let store = open(dir.path());
        assert!(matches!(told(&store, "a").await, Told::Lost { .. }), "{change}");
        assert!(matches!(told(&store, "b").await, Told::Record(_)), "{change}");
        put(&store, "a").await;
        drop(store);
        assert!(matches!(told(&open(dir.path()), "a").await, Told::Record(_)), "{change}");
    }
}

#[tokio::test]
async fn a_damaged_database_is_set_aside_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("treewarden.db");
    for n in 1..=2 {
        fs::write(&file, format!("this is no database {n}")).unwrap();
        let store = open(dir.path());
        let aside = dir.path().join(format!("treewarden.db.corrupt-{n}"));
        assert_eq!(fs::read_to_string(&aside).unwrap(), format!("this is no database {n}"));
        let problem = store.problems().await.unwrap().pop().unwrap();
        assert_eq!((problem.kind, problem.key), (ProblemKind::Database, aside.display().to_string()));
        store.open(new_turn("a")).await.unwrap();
    }
}

#[tokio::test]
async fn tables_that_are_not_what_was_written_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    sql(dir.path(), "ALTER TABLE turns RENAME COLUMN outcome TO outcomf");
    assert_eq!(open(dir.path()).problems().await.unwrap()[0].kind, ProblemKind::Database);
    sql(dir.path(), "PRAGMA user_version = 0");
    assert_eq!(open(dir.path()).problems().await.unwrap()[0].kind, ProblemKind::Database);
}

#[tokio::test]
async fn a_first_opening_that_was_cut_short_leaves_a_directory_that_can_be_used() {
    // All that is there before the database is, and the database before anything is in it.
    for left in [vec![], vec!["treewarden.db.lock"], vec!["treewarden.db.lock", "treewarden.db"]] {
        let dir = tempfile::tempdir().unwrap();
        left.iter().for_each(|file| fs::write(dir.path().join(file), "").unwrap());
        open(dir.path()).open(new_turn("a")).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_is_killed_while_a_damaged_database_is_set_aside_leaves_one_that_can_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("treewarden.db");
    drop(open(dir.path()));
    // The new one was not whole yet.
    fs::write(&file, "this is no database").unwrap();
    fs::write(dir.path().join("treewarden.db.new"), "half of one").unwrap();
    assert_eq!(open(dir.path()).problems().await.unwrap().len(), 1);
    assert!(!dir.path().join("treewarden.db.new").exists());
    // The old one had its second name already.
    fs::write(&file, "this is no database either").unwrap();
    fs::hard_link(&file, dir.path().join("treewarden.db.corrupt-2")).unwrap();
    let problems = open(dir.path()).problems().await.unwrap();
    assert_eq!(problems[0].key, dir.path().join("treewarden.db.corrupt-3").display().to_string());
}

#[tokio::test]
async fn a_damaged_page_is_found_where_it_is_read_and_the_next_opening_sets_the_file_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut tenure = tenure(&store, "a").await;
    for _ in 0..200 {
        let turn = new_turn("a");
        store.open(turn.clone()).await.unwrap();
        tenure = store.commit(tenure, settles(turn.turn, "1")).await.unwrap().next;
    }
    drop(store);
    let file = dir.path().join("treewarden.db");
    let mut damaged = fs::read(&file).unwrap();
    let len = damaged.len();
    damaged[len / 2..].fill(0x5a);
    fs::write(&file, damaged).unwrap();
    let store = open(dir.path());
    // Which pages are damaged depends on where each table came to lie: one that is read at the opening has the file set
    // aside at once.
    let error = match store.problems().await {
        Ok(problems) if problems.is_empty() => Some(store.turns(name("a"), 500).await.unwrap_err()),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    if let Some(error) = error {
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    }
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.problems().await.unwrap()[0].kind, ProblemKind::Database);
    assert!(!dir.path().join("treewarden.db.damaged").exists());
}

#[test]
fn a_damaged_database_that_another_process_has_open_is_not_moved() {
    let dir = tempfile::tempdir().unwrap();
    // Closed once, so that the file and not the log holds the pages.
    drop(open(dir.path()));
    let user = Role::start("damage::role_user", dir.path(), "");
    assert_eq!(user.said(), "open");
    fs::write(dir.path().join("treewarden.db"), "this is no database").unwrap();
    let error = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    assert!(error.to_string().contains("while another process has it open"), "{error}");
    user.kill();
    open(dir.path());
}

#[test]
fn a_newer_schema_is_refused_and_no_file_is_touched() {
    for version_in_log in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        let db = Connection::open(dir.path().join("treewarden.db")).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        if version_in_log {
            // As after a crash: the version stands in the log and not yet in the file.
            db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        }
        drop(db);
        let mut before = bytes(dir.path());
        assert_eq!(before.contains_key("treewarden.db-wal"), version_in_log);
        let error = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NewerSchema);
        assert!(error.to_string().contains("schema 99 is newer than 4; use a newer treewarden"), "{error}");
        let mut after = bytes(dir.path());
        // The shared memory is an index that each reader makes anew.
        before.remove("treewarden.db-shm");
        after.remove("treewarden.db-shm");
        assert!(before == after, "a file was touched");
    }
}
