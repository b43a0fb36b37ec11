//! Lines of a transcript that are damaged, or cannot be found any more, are no transcript.

use std::fs;
use std::path::Path;

use treewarden_proto::SessionId;
use treewarden_sqlite::SqliteStore;
use treewarden_store::{Backend, Lines, ProblemKind, StoreErrorKind};

use crate::support::{open, sql, tenure};

async fn put(store: &SqliteStore, conversation: SessionId, seqs: std::ops::Range<u64>) {
    let lines = seqs
        .map(|seq| Lines {
            conversation,
            subpath: String::new(),
            seq,
            entries: format!("{{\"n\":{seq}}}\n").into(),
        })
        .collect();
    let change = treewarden_store::Change { lines, ..Default::default() };
    store.commit(tenure(store, "a").await, change).await.unwrap();
}

#[tokio::test]
async fn lines_with_damage_among_them_are_an_error_and_no_transcript() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let conversation = SessionId::random();
    put(&store, conversation, 0..3).await;
    sql(dir.path(), "UPDATE lines SET entries = '[]' WHERE seq = 1");
    let refused = store.lines(conversation, String::new(), 0, 9).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Corrupt);
    assert!(refused.to_string().contains(&conversation.to_string()), "{refused}");
    assert_eq!(store.lines(conversation, String::new(), 2, 9).await.unwrap().len(), 1);
}

/// Each bit of each key of a row that stands in the file.
fn keys(file: &[u8], conversation: SessionId) -> Vec<usize> {
    let id = conversation.as_uuid();
    let places = file.windows(16).enumerate().filter(|(_, window)| *window == id.as_bytes());
    places.flat_map(|(at, _)| at..at + 16).collect()
}

/// Looks at all lines of the conversation: they are as they were, or it is an error.
async fn told(dir: &Path, conversation: SessionId, of: usize) -> Result<(), String> {
    let store = open(dir);
    match store.lines(conversation, String::new(), 0, 99).await {
        Ok(lines) if lines.len() == of => Ok(()),
        Ok(lines) => Err(format!("{} of {of} lines without a word", lines.len())),
        Err(error) => {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
            let told = store.problems().await.unwrap();
            assert!(told.iter().any(|problem| problem.kind == ProblemKind::Database), "{told:?}");
            Ok(())
        }
    }
}

#[tokio::test]
async fn a_flip_in_the_key_of_a_line_wherever_it_stands_hides_none_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (conversation, other) = (SessionId::random(), SessionId::random());
    for id in [conversation, other] {
        put(&store, id, 0..6).await;
    }
    drop(store);
    let file = dir.path().join("treewarden.db");
    let whole = fs::read(&file).unwrap();
    let keys = keys(&whole, conversation);
    assert!(keys.len() >= 6 * 16, "{}", keys.len());
    for (n, at) in keys.into_iter().enumerate() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (n % 8);
        fs::write(&file, flipped).unwrap();
        if let Err(silent) = told(dir.path(), conversation, 6).await {
            panic!("byte {at}: {silent}");
        }
        for left in ["treewarden.db-wal", "treewarden.db-shm", "treewarden.db.damaged"] {
            let _none = fs::remove_file(dir.path().join(left));
        }
    }
}

#[tokio::test]
async fn lines_that_are_gone_are_missed_at_the_beginning_amid_and_at_the_end() {
    for gone in [0, 2, 4] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let conversation = SessionId::random();
        put(&store, conversation, 0..3).await;
        put(&store, conversation, 3..5).await;
        sql(dir.path(), &format!("DELETE FROM lines WHERE seq = {gone}"));
        let refused = store.lines(conversation, String::new(), 0, 9).await.unwrap_err();
        assert!(refused.to_string().contains("5 flushes of it were stored"), "{refused}");
        let page = store.lines(conversation, String::new(), 1, 2).await;
        assert_eq!(page.is_err(), gone == 2, "{gone}: {page:?}");
    }
}

/// A database of a build that did not count: what is there is counted with the next line.
#[tokio::test]
async fn lines_that_were_stored_without_a_count_are_read_and_counted_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let conversation = SessionId::random();
    put(&store, conversation, 0..3).await;
    sql(dir.path(), "DELETE FROM meta WHERE key LIKE 'lines:%'");
    assert_eq!(store.lines(conversation, String::new(), 0, 9).await.unwrap().len(), 3);
    put(&store, conversation, 3..4).await;
    assert_eq!(store.lines(conversation, String::new(), 0, 9).await.unwrap().len(), 4);
    sql(dir.path(), "DELETE FROM lines WHERE seq = 3");
    store.lines(conversation, String::new(), 0, 9).await.unwrap_err();
}
