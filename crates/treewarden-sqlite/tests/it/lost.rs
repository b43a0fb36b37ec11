//! A database that is gone, older than it was, or another one: what is missing is told, and no name begins blank.

use std::fs;
use std::path::Path;

use treewarden_proto::SessionId;
use treewarden_sqlite::SqliteStore;
use treewarden_store::{Backend, Holder, Lease, Problem, ProblemKind, StoreErrorKind, Told, lock};

use crate::support::{
    Role, my_role, name, new_turn, of_record, open, options, record, say, settles, tenure, wait_for_the_end,
};

/// Stores a record under a lease, as a session does.
async fn store_record(dir: &Path, store: &SqliteStore, session: &str) -> SessionId {
    let record = record(session);
    let holder = Holder::this_process(&name(session));
    drop(Lease::acquire(&dir.join("config"), dir, record.session_id, &holder).unwrap());
    let tenure = tenure(store, session).await;
    store.commit(tenure, of_record(&record)).await.unwrap();
    record.session_id
}

async fn told(store: &SqliteStore, session: &str) -> Told {
    let told = store.record(name(session)).await.unwrap();
    assert_eq!(store.take(name(session)).await.unwrap().told, told);
    told
}

fn is_lost(told: &Told, id: Option<SessionId>) -> bool {
    matches!(told, Told::Lost { session_id, .. } if *session_id == id)
}

async fn problems(store: &SqliteStore) -> Vec<Problem> {
    store.problems().await.unwrap()
}

async fn kinds(store: &SqliteStore) -> Vec<ProblemKind> {
    problems(store).await.iter().map(|problem| problem.kind).collect()
}

fn remove(dir: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        fs::remove_file(dir.join(format!("treewarden.db{suffix}"))).unwrap();
    }
}

/// Has the witness say something else, as one that was written so.
fn change_witness(dir: &Path, from: &str, to: &str) {
    let path = dir.join("treewarden.commits");
    let text = fs::read_to_string(&path).unwrap();
    let (said, _) = text.trim_end().rsplit_once(" sum=").unwrap();
    assert!(said.contains(from), "{said}");
    let said = said.replace(from, to);
    let sum = crc32fast::hash(said.as_bytes());
    fs::write(path, format!("{:<191}\n", format!("{said} sum={sum:08x}"))).unwrap();
}

fn on_another_boot(dir: &Path) {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    change_witness(dir, boot.trim(), "11111111-2222-3333-4444-555555555555");
}

#[tokio::test]
async fn a_database_that_was_removed_makes_no_name_blank_that_a_lease_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = (store_record(dir.path(), &store, "a").await, store_record(dir.path(), &store, "b").await);
    drop(store);
    remove(dir.path(), &[""]);
    let store = open(dir.path());
    assert!(is_lost(&told(&store, "a").await, Some(a)));
    assert_eq!(told(&store, "c").await, Told::Never, "it never had a record");
    let lost = store.lost().await.unwrap();
    assert_eq!((lost.names, lost.others), (vec![(name("a"), Some(a)), (name("b"), Some(b))], None));
    let [problem] = &*problems(&store).await else { panic!("one problem") };
    assert_eq!(problem.kind, ProblemKind::Removed);
    assert!(problem.reason.contains("was removed") && problem.key.ends_with("treewarden.db"), "{problem:?}");
    // A record ends it, for that name; and all end it by a word.
    let tenure = tenure(&store, "a").await;
    store.commit(tenure, of_record(&record("a"))).await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert!(matches!(told(&store, "a").await, Told::Record(_)));
    assert!(is_lost(&told(&store, "b").await, Some(b)), "at the next opening as well");
    assert_eq!(store.forgive_lost().await.unwrap(), 1);
    assert_eq!(told(&store, "b").await, Told::Never);
    assert_eq!(kinds(&store).await, [], "and with it all that was to be told is over");
}

#[tokio::test]
async fn a_record_that_has_no_lease_file_is_not_begun_blank_either() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tenure = tenure(&store, "a").await;
    store.commit(tenure, of_record(&record("a"))).await.unwrap();
    drop(store);
    remove(dir.path(), &[""]);
    let store = open(dir.path());
    assert!(is_lost(&told(&store, "a").await, None), "nobody knows which names there were");
    assert!(store.lost().await.unwrap().others.unwrap().contains("do not say which names"));
    store.forgive_lost().await.unwrap();
    assert_eq!(told(&store, "b").await, Told::Never);
    assert_eq!(store.lost().await.unwrap().others, None);
    drop(store);
    assert_eq!(told(&open(dir.path()), "b").await, Told::Never);
}

#[tokio::test]
async fn a_damaged_database_that_is_set_aside_loses_its_names_and_begins_none_blank() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let a = store_record(dir.path(), &store, "a").await;
    drop(store);
    fs::write(dir.path().join("treewarden.db"), "no database at all").unwrap();
    let store = open(dir.path());
    assert!(is_lost(&told(&store, "a").await, Some(a)));
    assert_eq!(kinds(&store).await, [ProblemKind::Database]);
}

#[tokio::test]
async fn an_older_copy_of_the_database_is_told_and_its_records_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("treewarden.db"), dir.path().join("copy"));
    let store = open(dir.path());
    store_record(dir.path(), &store, "a").await;
    drop(store);
    fs::copy(&path, &copy).unwrap();
    let store = open(dir.path());
    let b = store_record(dir.path(), &store, "b").await;
    drop(store);
    fs::copy(&copy, &path).unwrap();
    for _ in 0..2 {
        let store = open(dir.path());
        assert!(matches!(told(&store, "a").await, Told::Record(_)));
        assert!(is_lost(&told(&store, "b").await, Some(b)));
        assert_eq!(told(&store, "c").await, Told::Never);
        let [problem] = &*problems(&store).await else { panic!("one problem") };
        assert_eq!(problem.kind, ProblemKind::Older);
        assert!(problem.reason.contains("2 commits"), "a name that was taken, and its record: {problem:?}");
    }
}

#[tokio::test]
async fn a_database_of_another_directory_is_told() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&dir, &other] {
        let store = open(dir.path());
        store_record(dir.path(), &store, "a").await;
    }
    fs::copy(other.path().join("treewarden.db"), dir.path().join("treewarden.db")).unwrap();
    let store = open(dir.path());
    let [problem] = &*problems(&store).await else { panic!("one problem") };
    assert_eq!(problem.kind, ProblemKind::Older);
    assert!(problem.reason.contains("another one"), "{problem:?}");
}

/// Stores a record and a turn, says so, and waits.
#[tokio::test]
#[ignore = "a role of the tests below"]
async fn stores_and_stays() {
    let Some((dir, session)) = my_role() else { return };
    let store = open(&dir);
    store_record(&dir, &store, &session).await;
    let turn = new_turn(&session);
    store.open(turn.clone()).await.unwrap();
    let tenure = tenure(&store, &session).await;
    store.commit(tenure, settles(turn.turn, "{}")).await.unwrap();
    say("stored");
    wait_for_the_end();
}

#[tokio::test]
async fn a_log_that_was_removed_after_a_kill_is_told_and_no_name_of_it_is_blank() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let role = Role::start("lost::stores_and_stays", dir.path(), "a");
    assert_eq!(role.said(), "stored");
    role.kill();
    remove(dir.path(), &["-wal", "-shm"]);
    let store = open(dir.path());
    assert!(matches!(told(&store, "a").await, Told::Lost { session_id: Some(_), .. }));
    assert_eq!(kinds(&store).await, [ProblemKind::Older]);
}

#[tokio::test]
async fn a_database_and_its_log_that_were_removed_after_a_kill_are_told_once_and_nothing_of_them_is_mixed_in()
{
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let role = Role::start("lost::stores_and_stays", dir.path(), "a");
    assert_eq!(role.said(), "stored");
    role.kill();
    remove(dir.path(), &[""]);
    let store = open(dir.path());
    assert!(matches!(told(&store, "a").await, Told::Lost { session_id: Some(_), .. }));
    assert_eq!(kinds(&store).await, [ProblemKind::Removed]);
    assert!(
        dir.path().join("treewarden.db.removed-1-wal").exists(),
        "the log may be needed if its database comes back"
    );
}

#[tokio::test]
async fn a_database_that_is_removed_while_another_process_has_it_open_is_not_begun_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let role = Role::start("lost::stores_and_stays", dir.path(), "a");
    assert_eq!(role.said(), "stored");
    remove(dir.path(), &[""]);
    let refused = SqliteStore::open(dir.path(), options("process")).unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Removed, "{refused}");
    assert!(!dir.path().join("treewarden.db").exists());
    role.kill();
    assert!(matches!(told(&open(dir.path()), "a").await, Told::Lost { .. }));
}

#[tokio::test]
async fn a_machine_that_went_down_under_the_database_is_told_and_names_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let role = Role::start("lost::stores_and_stays", dir.path(), "a");
    assert_eq!(role.said(), "stored");
    role.kill();
    on_another_boot(dir.path());
    let store = open(dir.path());
    assert!(matches!(told(&store, "a").await, Told::Record(_)));
    let [problem] = &*problems(&store).await else { panic!("one problem") };
    assert_eq!(problem.kind, ProblemKind::Cut);
    assert!(problem.reason.contains("may be missing"), "{problem:?}");
    drop(store);
    // Ended in order: another boot is nothing then.
    on_another_boot(dir.path());
    assert_eq!(kinds(&open(dir.path())).await, [ProblemKind::Cut]);
    // What the machine took with it is counted as far as it is known.
    change_witness(dir.path(), "commits=0000000000", "commits=0000000007");
    change_witness(dir.path(), "state=done", "state=open");
    on_another_boot(dir.path());
    let store = open(dir.path());
    let problems = problems(&store).await;
    assert!(
        problems[1].kind == ProblemKind::Cut
            && problems[1].reason.contains("commits that were made by then are missing")
    );
    assert!(matches!(told(&store, "a").await, Told::Record(_)));
}

#[tokio::test]
async fn a_name_whose_record_went_with_the_machine_is_lost_and_not_blank() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let role = Role::start("lost::stores_and_stays", dir.path(), "a");
    assert_eq!(role.said(), "stored");
    role.kill();
    // What was not synced is gone. Of the lease, which was, a longer text was on its way: its length is there, and it is not.
    remove(dir.path(), &["-wal", "-shm"]);
    let lease = fs::read_dir(dir.path().join("leases")).unwrap().next().unwrap().unwrap().path();
    let mut text = fs::read(&lease).unwrap();
    text.extend([0; 16]);
    fs::write(&lease, text).unwrap();
    on_another_boot(dir.path());
    let store = open(dir.path());
    assert_eq!(kinds(&store).await, [ProblemKind::Cut]);
    assert!(matches!(told(&store, "a").await, Told::Lost { session_id: Some(_), .. }));
    assert_eq!(told(&store, "b").await, Told::Never);
}

#[tokio::test]
async fn kills_and_several_processes_are_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let roles: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|session| Role::start("lost::stores_and_stays", dir.path(), session))
        .collect();
    for role in &roles {
        assert_eq!(role.said(), "stored");
    }
    store_record(dir.path(), &store, "c").await;
    for role in roles {
        role.kill();
    }
    assert_eq!(kinds(&open(dir.path())).await, []);
    drop(store);
    for durability in ["power", "nothing", "process"] {
        let store = SqliteStore::open(dir.path(), options(durability)).unwrap();
        assert_eq!(kinds(&store).await, []);
        store_record(dir.path(), &store, durability).await;
    }
    let store = open(dir.path());
    assert_eq!(kinds(&store).await, []);
    assert_eq!(store.records().await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_witness_that_was_removed_or_damaged_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("treewarden.commits");
    let store = open(dir.path());
    store_record(dir.path(), &store, "a").await;
    fs::remove_file(&witness).unwrap();
    assert_eq!(store.look_again().unwrap().as_deref(), Some(&*witness));
    assert_eq!(store.look_again().unwrap(), None);
    drop(store);
    assert_eq!(kinds(&open(dir.path())).await, []);
    fs::remove_file(&witness).unwrap();
    assert_eq!(kinds(&open(dir.path())).await, [], "how far it was is not known, and the database is there");
    fs::write(&witness, "else").unwrap();
    assert_eq!(kinds(&open(dir.path())).await, [ProblemKind::Older]);
    assert_eq!(kinds(&open(dir.path())).await, [ProblemKind::Older], "it is told once");
    drop(lock::open(&witness).unwrap());
}
