//! What cannot be read is set aside and reported, and stops nothing else.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::value::RawValue;
use support::{Role, my_role, name, say, wait_for_the_end};
use treewarden_proto::{SessionId, TurnId};
use treewarden_store::{ProblemKind, SessionRecord, Settled, Store, StoreErrorKind, StoreOptions, TurnRow};

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).unwrap()
}

fn sql(dir: &Path, text: &str) {
    Connection::open(dir.join("treewarden.db")).unwrap().execute_batch(text).unwrap();
}

fn row(session: &str) -> TurnRow {
    TurnRow::new(TurnId::new(), name(session), SessionId::random(), "a prompt".into(), false)
}

fn bytes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let all = files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path));
    all.filter(|(name, _)| name != "treewarden.db.lock")
        .map(|(n, path)| (n, fs::read(path).unwrap()))
        .collect()
}

fn last_completed(store: &Store, id: SessionId) -> Option<TurnId> {
    store.completed(id).unwrap().first().map(|completed| completed.turn)
}

#[test]
#[ignore = "a role of other tests"]
fn role_user() {
    let Some((dir, _)) = my_role() else { return };
    let _store = open(&dir);
    say("open");
    wait_for_the_end();
}

#[test]
fn a_bad_record_is_set_aside_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for session in ["a", "b", "c", "d"] {
        store.put(&SessionRecord::new(name(session), SessionId::random())).unwrap();
    }
    sql(dir.path(), "UPDATE sessions SET record = '{\"name\":' WHERE name = 'a'");
    sql(dir.path(), "UPDATE sessions SET record = x'ff00' WHERE name = 'b'");
    sql(
        dir.path(),
        "UPDATE sessions SET record = (SELECT record FROM sessions WHERE name = 'd') WHERE name = 'c'",
    );
    assert_eq!(store.record(&name("a")).unwrap(), None);
    let names: Vec<_> = store.all().unwrap().into_iter().map(|record| record.name).collect();
    assert_eq!(names, [name("d")]);
    let problems = store.problems().unwrap();
    let seen: Vec<_> = problems.iter().map(|problem| (problem.kind, problem.key.as_str())).collect();
    assert_eq!(seen, ["a", "b", "c"].map(|key| (ProblemKind::Record, key)));
    assert!(problems[0].reason.contains("EOF"), "{}", problems[0].reason);
    // It is reported once, and the name can be used again.
    store.put(&SessionRecord::new(name("a"), SessionId::random())).unwrap();
    assert!(store.record(&name("a")).unwrap().is_some());
    assert_eq!(open(dir.path()).problems().unwrap(), problems);
}

#[test]
fn a_bad_turn_is_set_aside_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let rows: Vec<_> = (0..4).map(|_| row("a")).collect();
    rows.iter().for_each(|row| store.open_turn(row).unwrap());
    // Asked once, so that the database and not the tail holds them.
    assert_eq!(store.open_turns(&name("a")).unwrap().len(), 4);
    sql(
        dir.path(),
        "UPDATE turns SET prompt = 'no JSON' WHERE seq = 1; UPDATE turns SET sent = 'x' WHERE seq = 2",
    );
    sql(dir.path(), "UPDATE turns SET turn = 'no id' WHERE seq = 3");
    let open_turns: Vec<_> = store.open_turns(&name("a")).unwrap().into_iter().map(|row| row.turn).collect();
    assert_eq!(open_turns, [rows[3].turn]);
    let keys: Vec<_> =
        store.problems().unwrap().into_iter().map(|problem| (problem.kind, problem.key)).collect();
    let expected = [rows[0].turn.to_string(), rows[1].turn.to_string(), "no id".to_owned()];
    assert_eq!(keys, expected.map(|key| (ProblemKind::Turn, key)));
}

#[test]
fn a_bad_outcome_does_not_hide_the_last_completed_turn() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (good, mut bad) = (row("a"), row("a"));
    bad.session_id = good.session_id;
    let completed = RawValue::from_string(r#"{"outcome":"completed"}"#.into()).unwrap();
    for row in [&good, &bad] {
        store.open_turn(row).unwrap();
        assert!(matches!(store.settle(row.turn, &completed).unwrap(), Settled::Now));
    }
    assert_eq!(last_completed(&store, good.session_id), Some(bad.turn));
    sql(dir.path(), "UPDATE turns SET outcome = 'no JSON' WHERE seq = 2");
    assert_eq!(last_completed(&store, good.session_id), Some(good.turn));
}

#[test]
fn a_damaged_database_is_set_aside_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("treewarden.db");
    for n in 1..=2 {
        fs::write(&file, format!("this is no database {n}")).unwrap();
        let store = open(dir.path());
        let aside = dir.path().join(format!("treewarden.db.corrupt-{n}"));
        assert_eq!(fs::read_to_string(&aside).unwrap(), format!("this is no database {n}"));
        let problem = store.problems().unwrap().pop().unwrap();
        assert_eq!((problem.kind, problem.key), (ProblemKind::Database, aside.display().to_string()));
        store.open_turn(&row("a")).unwrap();
    }
}

#[test]
fn a_database_that_was_removed_while_nobody_ran_is_refused_and_never_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (file, record) =
        (dir.path().join("treewarden.db"), SessionRecord::new(name("a"), SessionId::random()));
    let store = open(dir.path());
    store.put(&record).unwrap();
    drop(store);
    let backup = fs::read(&file).unwrap();
    let refused = |how: &str| {
        let error = Store::open(dir.path(), StoreOptions::default()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Removed, "{error}");
        for said in [how, &file.display().to_string(), "put a copy of it back", "or remove"] {
            assert!(error.to_string().contains(said), "{error}");
        }
    };
    fs::remove_file(&file).unwrap();
    refused("was removed");
    refused("was removed");
    assert!(!file.exists());
    fs::write(&file, "").unwrap();
    refused("is empty");
    fs::write(&file, backup).unwrap();
    assert_eq!(open(dir.path()).record(&name("a")).unwrap().unwrap().session_id, record.session_id);
    // What the reason says for the other wish.
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(open(dir.path()).record(&name("a")).unwrap().is_none());
}

#[test]
fn a_first_opening_that_was_cut_short_leaves_a_directory_that_can_be_used() {
    // All that is there before the database is, and the database before anything is in it.
    for left in [vec![], vec!["treewarden.db.lock"], vec!["treewarden.db.lock", "treewarden.db"]] {
        let dir = tempfile::tempdir().unwrap();
        left.iter().for_each(|file| fs::write(dir.path().join(file), "").unwrap());
        open(dir.path()).open_turn(&row("a")).unwrap();
    }
}

#[test]
fn the_directory_of_a_version_that_made_no_id_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.open_turn(&row("a")).unwrap();
    drop(store);
    fs::remove_file(dir.path().join("host-id")).unwrap();
    fs::create_dir_all(dir.path().join("leases")).unwrap();
    fs::write(dir.path().join(format!("leases/{}.lock", SessionId::random())), "{}").unwrap();
    assert_eq!(open(dir.path()).open_turns(&name("a")).unwrap().len(), 1);
}

#[test]
fn whoever_is_killed_while_a_damaged_database_is_set_aside_leaves_one_that_can_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("treewarden.db");
    drop(open(dir.path()));
    // The new one was not whole yet.
    fs::write(&file, "this is no database").unwrap();
    fs::write(dir.path().join("treewarden.db.new"), "half of one").unwrap();
    assert_eq!(open(dir.path()).problems().unwrap().len(), 1);
    assert!(!dir.path().join("treewarden.db.new").exists());
    // The old one had its second name already.
    fs::write(&file, "this is no database either").unwrap();
    fs::hard_link(&file, dir.path().join("treewarden.db.corrupt-2")).unwrap();
    let problems = open(dir.path()).problems().unwrap();
    assert_eq!(problems[0].key, dir.path().join("treewarden.db.corrupt-3").display().to_string());
}

#[test]
fn a_database_with_a_damaged_page_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (0..200).for_each(|_| store.open_turn(&row("a")).unwrap());
    drop(store);
    let file = dir.path().join("treewarden.db");
    let mut damaged = fs::read(&file).unwrap();
    let len = damaged.len();
    damaged[8192..len / 2].fill(0x5a);
    fs::write(&file, damaged).unwrap();
    let store = open(dir.path());
    assert_eq!(store.problems().unwrap()[0].kind, ProblemKind::Database);
}

#[test]
fn a_damaged_database_that_another_process_has_open_is_not_moved() {
    let dir = tempfile::tempdir().unwrap();
    // Closed once, so that the file and not the log holds the pages.
    drop(open(dir.path()));
    let user = Role::start("role_user", dir.path(), "");
    assert_eq!(user.said(), "open");
    fs::write(dir.path().join("treewarden.db"), "this is no database").unwrap();
    let error = Store::open(dir.path(), StoreOptions::default()).unwrap_err();
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
        let error = Store::open(dir.path(), StoreOptions::default()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NewerSchema);
        assert!(error.to_string().contains("schema 99 is newer than 3; use a newer treewarden"), "{error}");
        let mut after = bytes(dir.path());
        // The shared memory is an index that each reader makes anew.
        before.remove("treewarden.db-shm");
        after.remove("treewarden.db-shm");
        assert!(before == after, "a file was touched");
    }
}

#[test]
fn schema_1_is_migrated_with_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    sql(
        dir.path(),
        "CREATE TABLE sessions(name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE turns(seq INTEGER PRIMARY KEY AUTOINCREMENT, turn TEXT NOT NULL UNIQUE,
           name TEXT NOT NULL, session_id TEXT NOT NULL, prompt TEXT NOT NULL, at_most_once INTEGER NOT NULL,
           sent INTEGER NOT NULL DEFAULT 0, interruptions INTEGER NOT NULL DEFAULT 0, outcome TEXT,
           opened_at INTEGER NOT NULL, settled_at INTEGER);
         INSERT INTO turns(turn, name, session_id, prompt, at_most_once, opened_at) VALUES
           ('11111111-2222-4333-8444-555555555555', 'a', '11111111-2222-4333-8444-555555555556', '\"p\"', 0, 7);
         PRAGMA user_version = 1;",
    );
    let store = open(dir.path());
    let turns = store.turns(&name("a"), 9).unwrap();
    assert_eq!((turns.len(), turns[0].opened_at), (1, 7));
    assert_eq!(store.problems().unwrap(), []);
}

#[test]
fn schema_2_is_migrated_with_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let turn = |n: u32| format!("0193b4c0-0000-7000-8000-00000000000{n}");
    let rows: Vec<String> = [(1, "NULL"), (2, "'{\"outcome\":\"completed\"}'")]
        .iter()
        .map(|(n, outcome)| {
            format!(
                "('{}', 'a', '11111111-2222-4333-8444-555555555556', '\"p\"', 0, {n}, {outcome})",
                turn(*n)
            )
        })
        .collect();
    sql(
        dir.path(),
        &format!(
            "CREATE TABLE sessions(name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
             CREATE TABLE turns(seq INTEGER PRIMARY KEY AUTOINCREMENT, turn TEXT NOT NULL UNIQUE,
               name TEXT NOT NULL, session_id TEXT NOT NULL, prompt TEXT NOT NULL, at_most_once INTEGER NOT NULL,
               sent INTEGER NOT NULL DEFAULT 0, interruptions INTEGER NOT NULL DEFAULT 0, outcome TEXT,
               opened_at INTEGER NOT NULL, settled_at INTEGER);
             CREATE INDEX open_turns ON turns(name, seq) WHERE outcome IS NULL;
             CREATE INDEX turns_of ON turns(session_id);
             CREATE TABLE quarantine(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL,
               reason TEXT NOT NULL, body TEXT NOT NULL, at INTEGER NOT NULL);
             CREATE INDEX turns_by_name ON turns(name);
             INSERT INTO turns(turn, name, session_id, prompt, at_most_once, opened_at, outcome) VALUES {};
             INSERT INTO quarantine(kind, key, reason, body, at) VALUES ('session', 'b', 'bad', '', 1);
             PRAGMA user_version = 2;",
            rows.join(", ")
        ),
    );
    let store = open(dir.path());
    assert_eq!(store.problems().unwrap().len(), 1);
    let open_turns = store.open_turns(&name("a")).unwrap();
    assert_eq!(open_turns.iter().map(|row| row.turn.to_string()).collect::<Vec<_>>(), [turn(1)]);
    // A turn of then is settled by what is new since, and new ones come behind it.
    let outcome = RawValue::from_string("1".into()).unwrap();
    assert!(matches!(store.settle(open_turns[0].turn, &outcome).unwrap(), Settled::Now));
    store.open_turn(&row("a")).unwrap();
    drop(store);
    let turns = open(dir.path()).turns(&name("a"), 9).unwrap();
    let outcomes: Vec<_> = turns.iter().map(|row| row.outcome.is_some()).collect();
    assert_eq!(outcomes, [false, true, true]);
    let db = Connection::open(dir.path().join("treewarden.db")).unwrap();
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 3);
}

#[test]
fn fields_of_a_newer_version_survive_get_and_put() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.put(&SessionRecord::new(name("a"), SessionId::random())).unwrap();
    sql(
        dir.path(),
        r#"UPDATE sessions SET record = json_set(record, '$.colour', json('{"deep":[1,null]}'))"#,
    );
    let mut record = store.record(&name("a")).unwrap().unwrap();
    record.model = Some("sonnet".to_owned());
    store.put(&record).unwrap();
    let again = store.record(&name("a")).unwrap().unwrap();
    assert_eq!(again.extra["colour"], serde_json::json!({ "deep": [1, null] }));
    assert_eq!(again.model.as_deref(), Some("sonnet"));
}

#[test]
fn the_template_of_a_record_survives_a_version_that_does_not_know_it() {
    // As the version before templates wrote it, and as it reads it.
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Before {
        name: String,
        session_id: SessionId,
        stopped: bool,
        #[serde(flatten)]
        extra: serde_json::Map<String, serde_json::Value>,
    }
    const WRITTEN: &str = r#"{"name":"a","session_id":"d4568e9c-06bf-4cb9-ae53-cf5aa5ddea0f","earlier_ids":[],"cwd":"/srv",
      "config_dir":"/home/a/.claude","persisted":true,"seen":null,"model":null,"permission_mode":null,"stopped":true,
      "created_at":1,"updated_at":2}"#;
    let mut record: SessionRecord = serde_json::from_str(WRITTEN).unwrap();
    assert_eq!((record.template.as_ref(), record.stopped, record.persisted), (None, true, true));
    assert!(!serde_json::to_string(&record).unwrap().contains("template"), "it is written as it was");
    record.template = Some(name("chat"));
    let mut before: Before = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
    before.stopped = false;
    let after: SessionRecord = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
    assert_eq!((after.template, after.stopped), (Some(name("chat")), false));
    assert_eq!((after.cwd, after.created_at), (record.cwd, 1));
}
