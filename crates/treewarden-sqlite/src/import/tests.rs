//! Directories of earlier versions, carried over as they were left, at once or after a kill at each step.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_store::{
    Backend, Problem, ProblemKind, SessionRecord, StoreErrorKind, StoredTurn, Told, TurnRow, TurnState,
    lease_files, newest_of_each,
};

use crate::{SqliteOptions, SqliteStore};

const KILL_AT: &str = "TREEWARDEN_TEST_KILL_AT";
const DIR: &str = "TREEWARDEN_TEST_DIR";
/// The steps at which a process can be killed.
const STEPS: std::ops::RangeInclusive<u32> = 1..=7;

/// Kills this process at the step that it was told.
pub(super) fn step(number: u32) {
    if std::env::var(KILL_AT).is_ok_and(|at| at == number.to_string()) {
        let _killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// A copy of a directory that an earlier version left.
fn left_by(version: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version), dir.path());
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            fs::create_dir(&to).expect("made");
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> =
        fs::read_dir(dir).expect("listed").map(|entry| entry.expect("listed").path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
}

fn segments(dir: &Path) -> usize {
    super::segment::numbers(dir).expect("listed").len()
}

fn name(text: &str) -> SessionName {
    SessionName::new(text).expect("a valid name")
}

fn conversation(number: u32) -> SessionId {
    format!("5e550000-0000-4000-8000-{number:012x}").parse().expect("an id")
}

fn turn(number: u32) -> TurnId {
    format!("019a0000-{number:04x}-7000-8000-{number:012x}").parse().expect("an id")
}

fn number(turn: TurnId) -> u32 {
    (1..100).find(|number| self::turn(*number) == turn).expect("one of ours")
}

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, SqliteOptions::default()).expect("opened")
}

/// What the store holds that was carried over.
struct Carried {
    records: Vec<SessionRecord>,
    lost: Vec<(SessionName, Option<SessionId>)>,
    turns: Vec<TurnRow>,
    problems: Vec<Problem>,
}

async fn carried(store: &SqliteStore) -> Carried {
    let mut turns = Vec::new();
    for session in ["alice", "bob", "carol", "erin", "visitor"] {
        let mut of_one = store.turns(name(session), 100).await.expect("read");
        of_one.reverse();
        let open: Vec<_> =
            store.open_turns(name(session)).await.expect("read").iter().map(|row| row.turn).collect();
        let expected: Vec<_> =
            of_one.iter().filter(|row| row.state != TurnState::Settled).map(|row| row.turn).collect();
        assert_eq!(open, expected, "{session}");
        turns.extend(of_one);
    }
    let lost = store.lost().await.expect("read");
    assert_eq!(lost.others, None);
    Carried {
        records: store.records().await.expect("read"),
        lost: lost.names,
        turns,
        problems: store.problems().await.expect("read"),
    }
}

/// Looks at all that the seven processes left.
async fn look_at_all(dir: &Path, store: &SqliteStore) {
    let Carried { records, lost, turns, problems } = carried(store).await;
    let had: Vec<_> = records.iter().map(|record| (record.name.as_str(), record.session_id)).collect();
    let expected =
        [("alice", 1), ("bob", 2), ("carol", 4), ("erin", 5)].map(|(name, id)| (name, conversation(id)));
    assert_eq!(had, expected);
    assert_eq!(
        (records[0].cwd.as_deref(), records[0].model.as_deref()),
        (Some(Path::new("/home/alice")), Some("sonnet"))
    );
    assert_eq!(records[1].extra["of_tomorrow"], serde_json::json!({ "a": [1, "é"], "b": null }));
    assert_eq!((records[2].stopped, &*records[2].earlier_ids), (true, &[conversation(3)][..]));
    assert_eq!(records[0].created_at, 1_780_000_000_000);
    // One that an earlier version had set aside, and one that cannot be read now.
    assert_eq!(lost, [(name("dora"), None), (name("frank"), None)]);
    assert!(matches!(store.take(name("frank")).await.expect("taken").told, Told::Lost { .. }));

    use TurnState::{Queued, Sent, Settled};
    let state: Vec<_> =
        turns.iter().map(|row| (number(row.turn), row.state, row.interruptions, row.session_id)).collect();
    let of = |number, state, interruptions, id| (number, state, interruptions, conversation(id));
    assert_eq!(
        state,
        [
            of(1, Settled, 0, 1),
            of(2, Settled, 0, 1),
            of(6, Sent, 1, 1),
            of(8, Settled, 0, 1),
            of(10, Settled, 0, 1),
            of(13, Settled, 0, 6),
            of(3, Settled, 1, 2),
            of(4, Settled, 0, 9),
            of(7, Settled, 0, 2),
            of(9, Sent, 1, 2),
            of(5, Queued, 0, 4),
            of(14, Settled, 1, 4),
            of(11, Queued, 0, 5),
            of(15, Queued, 0, 5),
        ]
    );
    let row = |number| turns.iter().find(|row| row.turn == turn(number)).expect("it is there");
    let text =
        |number| row(number).outcome.as_ref().expect("settled")["text"].as_str().expect("a text").to_owned();
    assert_eq!(
        [text(1), text(4), text(8), text(10)],
        ["Hello, Alice.", "four", "eight", "ten"].map(str::to_owned)
    );
    assert_eq!(
        [text(2), text(13)],
        ["\u{fffd}", "\u{fffd} half"].map(str::to_owned),
        "half of a pair is kept as it came"
    );
    assert_eq!(row(15).prompt, serde_json::json!([{ "type": "text", "text": "the last one" }]));
    assert_eq!((row(9).at_most_once, row(15).at_most_once, row(1).at_most_once), (true, true, false));
    assert_eq!(
        (row(1).opened_at, row(1).settled_at),
        (1_780_000_000_001, Some(row(1).settled_at.expect("settled")))
    );
    assert!(store.turn(turn(12)).await.expect("read").is_none(), "its line was damaged");
    assert!(matches!(store.turn(turn(6)).await.expect("read"), Some(StoredTurn::Held(_))));

    let told: Vec<_> = problems.iter().map(|problem| (problem.kind, problem.key.as_str())).collect();
    let sorted = |mut told: Vec<(ProblemKind, &str)>| {
        told.sort_by_key(|(kind, key)| (kind.as_str(), key.to_string()));
        told.into_iter().map(|(kind, key)| (kind, key.to_owned())).collect::<Vec<_>>()
    };
    let damaged = problems.iter().find(|problem| problem.key.starts_with("turns-4.log:")).expect("told");
    assert!(damaged.reason.contains("checksum"), "{damaged:?}");
    let bad_turn = "019a0000-0000-7000-8000-000000000063";
    assert_eq!(
        sorted(told),
        sorted(vec![
            (ProblemKind::Record, "dora"),
            (ProblemKind::Record, "frank"),
            (ProblemKind::Turn, bad_turn),
            (ProblemKind::Turn, &damaged.key),
        ])
    );
    let dora = problems.iter().find(|problem| problem.key == "dora").expect("told");
    assert!(dora.at < 1_796_060_000_000, "when it was set aside, and not when it was carried over: {dora:?}");
    assert_eq!(segments(dir), 0);
    let named = newest_of_each(&lease_files(dir).expect("read"));
    let expected =
        [("alice", 1), ("bob", 2), ("carol", 4), ("erin", 5)].map(|(n, id)| (name(n), conversation(id)));
    assert_eq!(named.into_iter().collect::<Vec<_>>(), expected, "a lease names its session from now on");
}

#[tokio::test]
async fn all_that_an_earlier_version_left_is_carried_over_once() {
    let dir = left_by("schema-3");
    for _ in 0..3 {
        let store = open(dir.path());
        look_at_all(dir.path(), &store).await;
        drop(store);
    }
    let db = Connection::open(dir.path().join("treewarden.db")).expect("opened");
    let left: i64 = db
        .query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'old_%' OR name = 'folded'",
            [],
            |row| row.get(0),
        )
        .expect("asked");
    assert_eq!(left, 0, "no old table is left");
    let gives_back: i64 = db.query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).expect("asked");
    assert_eq!(gives_back, 2, "it gives free pages back in steps");
}

#[tokio::test]
async fn a_directory_that_was_ended_in_order_is_carried_over_with_its_templates() {
    let dir = left_by("schema-3-template");
    let Carried { records, lost, turns, problems } = carried(&open(dir.path())).await;
    let [record] = &*records else { panic!("{records:?}") };
    assert_eq!(
        (record.name.as_str(), record.template.as_ref().map(SessionName::as_str)),
        ("visitor", Some("chat"))
    );
    assert_eq!(record.first_message(), Some("5e550000-0000-4000-8000-0000000000ff"));
    assert_eq!(record.spent, None, "nothing is known of what it took");
    assert_eq!((lost.len(), problems.len()), (0, 0));
    let state: Vec<_> = turns.iter().map(|row| (number(row.turn), row.state)).collect();
    assert_eq!(state, [(1, TurnState::Settled), (2, TurnState::Queued)]);
}

/// What a process does that is killed: called by the test below, in a process of its own.
#[test]
fn is_killed_at_a_step() {
    if let Ok(dir) = std::env::var(DIR) {
        drop(SqliteStore::open(Path::new(&dir), SqliteOptions::default()));
        panic!("it was to be killed");
    }
}

#[tokio::test]
async fn whoever_is_killed_at_any_step_has_lost_and_doubled_nothing() {
    for at in STEPS {
        let dir = left_by("schema-3");
        // Once more on what it left, where the same step comes again.
        for _ in 0..2 {
            let mut process = Command::new(std::env::current_exe().expect("a path"));
            process.args(["--exact", "import::tests::is_killed_at_a_step", "--nocapture"]);
            let ended = process.env(KILL_AT, at.to_string()).env(DIR, dir.path()).output().expect("it ran");
            assert_eq!(ended.status.signal(), Some(9), "step {at}: {ended:?}");
        }
        let left = segments(dir.path());
        assert!(if at < 7 { left == 4 } else { left < 4 }, "step {at}: {left} segments are left");
        look_at_all(dir.path(), &open(dir.path())).await;
    }
}

#[test]
fn a_directory_that_an_older_program_has_open_is_refused_and_nothing_is_touched() {
    let dir = left_by("schema-3");
    let lock = fs::File::open(dir.path().join("treewarden.db.lock")).expect("opened");
    lock.lock_shared().expect("locked");
    // As an older program has it: the shared memory of the log is there.
    let older = Connection::open(dir.path().join("treewarden.db")).expect("opened");
    older.query_row("SELECT count(*) FROM turns", [], |_| Ok(())).expect("asked");
    let before = files(dir.path());
    let refused = SqliteStore::open(dir.path(), SqliteOptions::default()).expect_err("refused");
    assert_eq!(refused.kind(), StoreErrorKind::Busy, "{refused}");
    assert!(refused.to_string().contains("older treewarden"), "{refused}");
    let unchanged = |files: &[(PathBuf, Vec<u8>)]| {
        files
            .iter()
            .filter(|(path, _)| !path.to_string_lossy().ends_with("-shm"))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(unchanged(&files(dir.path())), unchanged(&before));
}

#[tokio::test]
async fn databases_of_the_first_schemas_are_carried_over() {
    let first = "CREATE TABLE sessions(name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE turns(seq INTEGER PRIMARY KEY AUTOINCREMENT, turn TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
          session_id TEXT NOT NULL, prompt TEXT NOT NULL, at_most_once INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0,
          interruptions INTEGER NOT NULL DEFAULT 0, outcome TEXT, opened_at INTEGER NOT NULL, settled_at INTEGER);
        CREATE INDEX open_turns ON turns(name, seq) WHERE outcome IS NULL;
        CREATE INDEX turns_of ON turns(session_id);";
    let second = "CREATE TABLE quarantine(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL,
          reason TEXT NOT NULL, body TEXT NOT NULL, at INTEGER NOT NULL);
        CREATE INDEX turns_by_name ON turns(name);";
    for schema in 1..=2 {
        let dir = tempfile::tempdir().expect("a folder");
        let db = Connection::open(dir.path().join("treewarden.db")).expect("opened");
        db.execute_batch(first).expect("made");
        if schema == 2 {
            db.execute_batch(second).expect("made");
        }
        let record =
            serde_json::to_string(&SessionRecord::new(name("alice"), conversation(1))).expect("JSON");
        db.execute("INSERT INTO sessions VALUES ('alice', ?)", [record]).expect("put");
        db.execute(
            "INSERT INTO turns(turn, name, session_id, prompt, at_most_once, opened_at) VALUES (?, 'alice', ?, '\"x\"', 1, 7)",
            [turn(1).to_string(), conversation(1).to_string()],
        )
        .expect("put");
        db.pragma_update(None, "user_version", schema).expect("set");
        drop(db);
        let Carried { records, lost, turns, problems } = carried(&open(dir.path())).await;
        assert_eq!((records.len(), lost.len(), problems.len()), (1, 0, 0), "schema {schema}");
        assert_eq!((turns.len(), turns[0].state, turns[0].at_most_once), (1, TurnState::Queued, true));
    }
}

#[tokio::test]
async fn a_segment_that_is_shorter_than_the_database_says_is_read_anew() {
    let dir = left_by("schema-3");
    // As after a power cut: the database has read up to 1,272 bytes of a file that has less, and was appended to since.
    let path = dir.path().join("turns-4.log");
    let fact = format!(
        r#"{{"opened":{{"turn":"{}","name":"alice","session_id":"{}","at_most_once":false,"at":1,"prompt":"after the cut"}}}}"#,
        turn(20),
        conversation(1)
    );
    fs::write(&path, format!("\n{:08x} {:08x} {fact}", fact.len(), crc32fast::hash(fact.as_bytes())))
        .expect("written");
    let store = open(dir.path());
    let Some(StoredTurn::Held(row)) = store.turn(turn(20)).await.expect("read") else {
        panic!("it is there")
    };
    assert_eq!((row.prompt, row.state), ("after the cut".into(), TurnState::Queued));
    let problems = store.problems().await.expect("read");
    let cut = problems.iter().find(|problem| problem.kind == ProblemKind::Cut).expect("told");
    assert!(cut.key.ends_with("turns-4.log") && cut.reason.contains("power cut"), "{cut:?}");
}

#[tokio::test]
async fn a_part_of_the_journal_that_is_gone_is_told_and_the_later_ones_are_taken() {
    let dir = left_by("schema-3");
    fs::remove_file(dir.path().join("turns-4.log")).expect("removed");
    let store = open(dir.path());
    let problems = store.problems().await.expect("read");
    let gone = problems.iter().find(|problem| problem.key.ends_with("turns-4.log")).expect("told");
    assert!(gone.reason.contains("gone"), "{gone:?}");
    assert!(matches!(store.turn(turn(15)).await.expect("read"), Some(StoredTurn::Held(_))));
}

#[tokio::test]
async fn the_last_part_of_the_journal_that_is_gone_is_told_with_the_sessions_that_may_have_turns_in_it() {
    let dir = left_by("schema-3");
    for gone in ["turns-4.log", "turns-5.log"] {
        fs::remove_file(dir.path().join(gone)).expect("removed");
    }
    for _ in 0..2 {
        let problems = open(dir.path()).problems().await.expect("read");
        let gone = problems.iter().find(|problem| problem.key.ends_with("turns-4.log")).expect("told");
        assert!(gone.reason.contains("first 1272 bytes"), "{gone:?}");
        assert!(gone.reason.contains("alice, bob, carol, dora, erin"), "{gone:?}");
    }
    // One that was ended in order has all in its database, and no part of the journal.
    assert_eq!(open(left_by("schema-3-template").path()).problems().await.expect("read"), []);
}

#[tokio::test]
async fn a_journal_without_its_database_is_taken_and_its_names_are_lost() {
    let dir = left_by("schema-3");
    for file in ["treewarden.db", "treewarden.db-wal"] {
        fs::remove_file(dir.path().join(file)).expect("removed");
    }
    let store = open(dir.path());
    assert_eq!(segments(dir.path()), 0);
    // Its leases name nobody but one session, so that nobody knows which names there were.
    for session in ["alice", "nobody"] {
        let told = store.record(name(session)).await.expect("read");
        assert!(matches!(told, Told::Lost { session_id: None, .. }), "{session}: {told:?}");
    }
    let told = store.record(name("erin")).await.expect("read");
    assert!(matches!(told, Told::Lost { session_id: Some(id), .. } if id == conversation(5)), "{told:?}");
    let open: Vec<_> =
        store.open_turns(name("erin")).await.expect("read").iter().map(|row| row.turn).collect();
    assert_eq!(open, [turn(11), turn(15)]);
}
