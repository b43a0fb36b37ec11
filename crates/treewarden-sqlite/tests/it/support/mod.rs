//! What the tests of the store have in common.

use std::path::Path;

use rusqlite::Connection;
use treewarden_proto::{SessionId, SessionName, TurnId};
use treewarden_sqlite::{SqliteOptions, SqliteStore};
use treewarden_store::{
    Backend, Change, Durability, NewTurn, SessionRecord, Settle, StoredTurn, Tenure, TurnRow,
};

pub(crate) use treewarden_testkit::role::{Role, my_role, say, wait_for_the_end};

pub(crate) fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

pub(crate) fn options(durability: &str) -> SqliteOptions {
    SqliteOptions::default().durability(match durability {
        "power" => Durability::Power,
        "nothing" => Durability::Nothing,
        _ => Durability::Process,
    })
}

pub(crate) fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, SqliteOptions::default()).unwrap()
}

pub(crate) fn new_turn(session: &str) -> NewTurn {
    NewTurn {
        turn: TurnId::new(),
        name: name(session),
        session_id: SessionId::random(),
        prompt: "\"a prompt\"".into(),
        at_most_once: false,
        opened_at: 7,
    }
}

pub(crate) fn record(session: &str) -> SessionRecord {
    SessionRecord::new(name(session), SessionId::random())
}

pub(crate) fn of_record(record: &SessionRecord) -> Change {
    Change { record: Some(record.clone()), ..Change::default() }
}

pub(crate) fn settles(turn: TurnId, outcome: &str) -> Change {
    let settle = Settle { turn, outcome: outcome.into(), answered_in: None, at: 9 };
    Change { settle: vec![settle], ..Change::default() }
}

pub(crate) async fn tenure(store: &SqliteStore, session: &str) -> Tenure {
    store.take(name(session)).await.unwrap().tenure
}

/// Has the database of a directory changed by another program.
pub(crate) fn sql(dir: &Path, text: &str) {
    Connection::open(dir.join("treewarden.db")).unwrap().execute_batch(text).unwrap();
}

pub(crate) async fn held(store: &SqliteStore, turn: TurnId) -> TurnRow {
    match store.turn(turn).await.unwrap() {
        Some(StoredTurn::Held(row)) => *row,
        other => panic!("{other:?}"),
    }
}

/// How many transactions were stored.
pub(crate) fn commits(dir: &Path) -> i64 {
    let db = Connection::open(dir.join("treewarden.db")).unwrap();
    db.query_row("SELECT value FROM meta WHERE key = 'commits'", [], |row| row.get(0)).unwrap()
}
