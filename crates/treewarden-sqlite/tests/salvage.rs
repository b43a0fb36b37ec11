//! One damaged page costs what stands in it, and nothing of what stands in the others.

#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{
    Backend, Change, Holder, Lease, Lines, NewTurn, ProblemKind, SessionRecord, Settle, StoredTurn, Told,
};

const DATABASE: &str = "treewarden.db";
const PAGE: usize = 2048;

fn wait<T>(answer: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(answer)
}

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, SqliteOptions::default()).unwrap()
}

fn name(n: usize) -> SessionName {
    SessionName::new(&format!("session-{n}")).unwrap()
}

/// So many names with a record, lines and settled turns each, in a file without a log; returns their turns, by their names.
fn filled(dir: &Path, names: usize, turns: usize) -> Vec<Vec<(TurnId, SessionId)>> {
    let store = open(dir);
    let all = wait(async {
        let mut all = Vec::new();
        for n in 0..names {
            let mut tenure = store.take(name(n)).await.unwrap().tenure;
            let mut record = SessionRecord::new(name(n), SessionId::random());
            record.model = Some("m".repeat(300));
            let session_id = record.session_id;
            // As a session has one: from then on whatever no lease file names, and no row, is a name that never was.
            let holder = Holder::this_process(&name(n));
            drop(Lease::acquire(&dir.join("config"), dir, session_id, &holder).unwrap());
            let entries = "a line".into();
            let lines = vec![Lines { conversation: session_id, subpath: String::new(), seq: 0, entries }];
            let change = Change { record: Some(record), lines, ..Change::default() };
            tenure = store.commit(tenure, change).await.unwrap().next;
            let mut asked = Vec::new();
            for _ in 0..turns {
                let turn = TurnId::new();
                let prompt = format!("\"{}\"", "p".repeat(500)).into();
                let new =
                    NewTurn { turn, name: name(n), session_id, prompt, at_most_once: false, opened_at: 1 };
                store.open(new).await.unwrap();
                let outcome = r#"{"outcome":"completed"}"#.into();
                let settle = vec![Settle { turn, outcome, answered_in: None, at: 2 }];
                tenure = store.commit(tenure, Change { settle, ..Change::default() }).await.unwrap().next;
                asked.push((turn, session_id));
            }
            all.push(asked);
        }
        all
    });
    drop(store);
    all
}

/// The pages of a table or index, leaves only.
fn pages(dir: &Path, of: &str) -> Vec<usize> {
    let db = Connection::open(dir.join(DATABASE)).unwrap();
    let mut query =
        db.prepare("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path").unwrap();
    let pages = query.query_map([of], |row| row.get::<_, i64>(0)).unwrap();
    pages.map(|page| usize::try_from(page.unwrap()).unwrap()).collect()
}

/// Destroys a page, and has the next opening read all of the file.
fn destroy(dir: &Path, page: usize) {
    let file = dir.join(DATABASE);
    let mut bytes = fs::read(&file).unwrap();
    bytes[(page - 1) * PAGE..page * PAGE].fill(0x5a);
    fs::write(file, bytes).unwrap();
    fs::write(dir.join("treewarden.db.damaged"), "").unwrap();
}

#[test]
fn a_damaged_page_of_turns_costs_its_turns_and_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), 20, 10);
    let pages = pages(dir.path(), "turns");
    destroy(dir.path(), pages[pages.len() / 2]);
    let damaged = fs::read(dir.path().join(DATABASE)).unwrap();
    let store = open(dir.path());
    wait(async {
        let mut missing = 0;
        for (n, turns) in all.iter().enumerate() {
            let Told::Record(record) = store.record(name(n)).await.unwrap() else {
                panic!("{n}: it is lost")
            };
            assert_eq!(record.session_id, turns[0].1);
            assert_eq!(store.lines(record.session_id, String::new(), 0, 9).await.unwrap().len(), 1);
            for (turn, _) in turns {
                match store.turn(*turn).await.unwrap() {
                    Some(StoredTurn::Held(row)) => assert!(row.outcome.is_some()),
                    _ => missing += 1,
                }
            }
        }
        // A page holds six or seven of them.
        assert!((1..10).contains(&missing), "{missing}");
        let problems = store.problems().await.unwrap();
        assert_eq!((problems.len(), problems[0].kind), (1, ProblemKind::Database));
        let aside = dir.path().join("treewarden.db.corrupt-1");
        assert_eq!(problems[0].key, aside.display().to_string());
        assert!(problems[0].reason.contains("20 records"), "{}", problems[0].reason);
        // What was set aside is as it was: there may be more in it than we can read.
        assert!(fs::read(aside).unwrap() == damaged);
    });
}

#[test]
fn a_name_whose_row_is_in_a_damaged_page_is_lost_with_the_conversation_of_its_turns() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), 60, 1);
    let epoch = wait(async { open(dir.path()).take(name(0)).await.unwrap().tenure.epoch });
    let pages = pages(dir.path(), "names");
    assert!(pages.len() > 2, "{pages:?}");
    destroy(dir.path(), pages[1]);
    let store = open(dir.path());
    wait(async {
        let mut lost = 0;
        for (n, turns) in all.iter().enumerate() {
            match store.record(name(n)).await.unwrap() {
                Told::Record(record) => assert_eq!(record.session_id, turns[0].1),
                Told::Lost { session_id, .. } => {
                    assert_eq!(session_id, Some(turns[0].1));
                    lost += 1;
                }
                Told::Never => panic!("{n}: it would begin blank"),
            }
            let again = store.take(name(n)).await.unwrap().tenure.epoch;
            assert!(again > epoch, "{n}: the epoch {again} may have been given before");
        }
        assert!(lost > 0 && lost < 30, "{lost} of {pages:?}");
        // A name that never was begins as ever.
        assert_eq!(store.record(name(99)).await.unwrap(), Told::Never);
    });
}

#[test]
fn a_file_of_which_nothing_can_be_read_is_set_aside_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join(DATABASE), "this is no database").unwrap();
    let store = open(dir.path());
    wait(async {
        let problems = store.problems().await.unwrap();
        assert!(problems[0].reason.contains("0 records"), "{}", problems[0].reason);
        assert_eq!(store.records().await.unwrap(), []);
    });
}
