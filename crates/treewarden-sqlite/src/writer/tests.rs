use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use treewarden_store::{CommitError, StoreErrorKind};

use crate::error::Fault;
use crate::transaction::Transaction;
use crate::{SqliteOptions, SqliteStore};

const LONG: Duration = Duration::from_secs(120);

fn open(dir: &Path, begin: Duration, answer: Duration) -> SqliteStore {
    SqliteStore::open(dir, SqliteOptions::default().limits(begin, answer)).expect("opened")
}

fn make(table: &str) -> impl FnMut(&Transaction<'_>) -> Result<(), Fault> + Send + 'static {
    let make = format!("CREATE TABLE {table} (a)");
    move |to| Ok(to.db().execute_batch(&make)?)
}

/// Which tables of those there are.
fn made(dir: &Path, tables: &[&str]) -> Vec<String> {
    let db = rusqlite::Connection::open(dir.join("treewarden.db")).expect("opened");
    let is_there = |table: &&&str| db.prepare(&format!("SELECT a FROM {table}")).is_ok();
    tables.iter().filter(is_there).map(|table| (*table).to_owned()).collect()
}

/// A job that runs until the sender is dropped, and says when it began.
fn stuck(
    store: &SqliteStore,
) -> (tokio::task::JoinHandle<Result<(), CommitError>>, Sender<()>, Receiver<()>) {
    let ((stuck, until), (began, is_stuck)) = (channel::<()>(), channel());
    let store = store.clone();
    let mut make = make("late");
    let job = tokio::spawn(async move {
        let op = move |to: &Transaction<'_>| {
            let _somebody_waits = began.send(());
            let _freed = until.recv();
            make(to)
        };
        store.inner.writer.ask(0, op).await
    });
    (job, stuck, is_stuck)
}

/// Comes back when whatever was spawned before has asked: this thread runs some dozens of tasks, and then us.
async fn all_asked() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Fails where a wait would be kept for ever.
async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, wait).await.expect("the wait has an end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_disk_that_does_not_answer_is_told_what_became_of_the_job() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), Duration::from_millis(50), Duration::from_millis(200));
    let (job, stuck, is_stuck) = stuck(&store);
    is_stuck.recv_timeout(LONG).expect("the writer takes it");
    // What has not begun is never run.
    let waits = in_time(store.inner.writer.ask(0, make("never"))).await.expect_err("nothing is stored");
    let CommitError::Failed { error, retryable: true } = waits else { panic!("{waits}") };
    assert_eq!(error.kind(), StoreErrorKind::Busy);
    assert!(error.to_string().contains("the disk has other writes to do"), "{error}");
    // What has begun may be stored, or still become so.
    let unknown = in_time(job).await.expect("no panic").expect_err("nobody knows");
    assert!(
        matches!(&unknown, CommitError::Unknown(error) if error.kind() == StoreErrorKind::Unknown),
        "{unknown}"
    );
    drop(stuck);
    drop(store);
    assert_eq!(made(dir.path(), &["late", "never"]), ["late"]);
}

#[tokio::test]
async fn a_job_that_panics_or_fails_takes_no_other_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), LONG, LONG);
    let writer = &store.inner.writer;
    let panics = writer.ask(0, |to| -> Result<(), Fault> {
        to.db().execute_batch("CREATE TABLE half (a)")?;
        panic!("by a fault of ours")
    });
    let fails = writer.ask(0, |to| Ok(to.db().execute_batch("CREATE TABLE other (a); no SQL")?));
    let (stuck_job, stuck, _) = stuck(&store);
    all_asked().await;
    let all =
        async { tokio::join!(writer.ask(0, make("before")), panics, fails, writer.ask(0, make("after"))) };
    let free = async { drop(stuck) };
    let ((before, panics, fails, after), ()) = tokio::join!(all, free);
    before.expect("stored");
    after.expect("stored");
    let said = panics.expect_err("it panicked");
    assert!(matches!(said, CommitError::Failed { retryable: false, .. }), "{said}");
    assert!(said.to_string().contains("by a fault of ours"), "{said}");
    let said = fails.expect_err("it failed");
    assert!(matches!(said, CommitError::Failed { retryable: false, .. }), "{said}");
    in_time(stuck_job).await.expect("no panic").expect("stored");
    assert_eq!(made(dir.path(), &["half", "other", "before", "after", "late"]), ["before", "after", "late"]);
    writer.ask(0, make("later")).await.expect("the writer goes on");
}

#[tokio::test]
async fn a_job_that_loses_the_transaction_is_alone_with_that() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), LONG, LONG);
    let writer = &store.inner.writer;
    // As SQLite does it by itself when the disk is full.
    let loses = || writer.ask(0, |to| Ok(to.db().execute_batch("CREATE TABLE half (a); ROLLBACK")?));
    let (stuck_job, stuck, _) = stuck(&store);
    all_asked().await;
    let tables: Vec<_> = (0..5).map(|n| format!("table_{n}")).collect();
    let all = async {
        tokio::join!(
            writer.ask(0, make(&tables[0])),
            loses(),
            writer.ask(0, make(&tables[1])),
            writer.ask(0, make(&tables[2])),
            loses(),
            writer.ask(0, make(&tables[3])),
            writer.ask(0, make(&tables[4])),
        )
    };
    let ((a, x, b, c, y, d, e), ()) = tokio::join!(all, async { drop(stuck) });
    for stored in [a, b, c, d, e] {
        stored.expect("stored");
    }
    for lost in [x, y] {
        let lost = lost.expect_err("nothing of it is stored");
        assert!(matches!(lost, CommitError::Failed { retryable: true, .. }), "{lost}");
    }
    in_time(stuck_job).await.expect("no panic").expect("stored");
    let names: Vec<_> = tables.iter().map(String::as_str).chain(["half"]).collect();
    assert_eq!(made(dir.path(), &names), tables);
}

#[tokio::test]
async fn whoever_finds_no_place_in_the_queue_is_told_at_once() {
    for (jobs, bytes) in [(1024, 0), (3, 30 << 20)] {
        let dir = tempfile::tempdir().expect("a folder");
        let store = open(dir.path(), LONG, LONG);
        let (stuck_job, stuck, is_stuck) = stuck(&store);
        all_asked().await;
        is_stuck.recv_timeout(LONG).expect("the writer takes it");
        let asked: Vec<_> = (0..jobs)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.inner.writer.ask(bytes, |_| Ok(())).await })
            })
            .collect();
        all_asked().await;
        let refused =
            in_time(store.inner.writer.ask(30 << 20, |_| Ok(()))).await.expect_err("there is no place");
        assert!(matches!(refused, CommitError::Failed { retryable: true, .. }), "{refused}");
        assert!(refused.to_string().contains("too many writes"), "{refused}");
        drop(stuck);
        let mut ended = Vec::new();
        for asked in asked {
            ended.push(in_time(asked).await.expect("no panic").is_ok());
        }
        // Of three that hold much two have room.
        let stored = ended.iter().filter(|stored| **stored).count();
        assert_eq!(stored, if bytes == 0 { jobs } else { 2 });
        in_time(stuck_job).await.expect("no panic").expect("stored");
    }
}

#[test]
fn what_a_commit_that_failed_left_is_known_by_its_code() {
    let of = |code| Fault::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    use rusqlite::ffi;
    for nothing in [ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_READONLY, ffi::SQLITE_IOERR_WRITE] {
        assert!(of(nothing).is_of_nothing_stored(), "{nothing}");
    }
    for nobody_knows in
        [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_SHMMAP, ffi::SQLITE_CORRUPT, ffi::SQLITE_NOMEM]
    {
        assert!(!of(nobody_knows).is_of_nothing_stored(), "{nobody_knows}");
    }
}
