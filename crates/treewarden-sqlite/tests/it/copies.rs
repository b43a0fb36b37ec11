//! Copies of a store: made while it is in use, opened, and put back.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use treewarden_proto::SessionId;
use treewarden_sqlite::{Restore, RestoreError, SqliteOptions, SqliteStore, restore};
use treewarden_store::{Backend, Change, Holder, Lease, NewTurn, StoreErrorKind, StoredTurn, Told};

use crate::support::{name, new_turn, of_record, open, record, settles, sql, tenure};

const PLAIN: Restore = Restore { replace: false, damaged: false };
const REPLACE: Restore = Restore { replace: true, damaged: false };
const DAMAGED: Restore = Restore { replace: false, damaged: true };

fn files(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
    files.sort();
    files
}

/// Changes a text wherever it stands in the database of a directory.
fn exchange(dir: &Path, from: &[u8], to: &[u8]) -> usize {
    let path = dir.join("treewarden.db");
    let mut bytes = fs::read(&path).unwrap();
    let places: Vec<_> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    for at in &places {
        bytes[*at..at + to.len()].copy_from_slice(to);
    }
    fs::write(path, bytes).unwrap();
    places.len()
}

fn generation(dir: &Path) -> Vec<u8> {
    let db = Connection::open(dir.join("treewarden.db")).unwrap();
    db.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0)).unwrap()
}

/// A store with a record, an open turn and a settled one.
async fn used(dir: &Path) -> (SqliteStore, NewTurn, NewTurn) {
    let store = open(dir);
    let (waits, done) = (new_turn("a"), new_turn("a"));
    store.open(waits.clone()).await.unwrap();
    store.open(done.clone()).await.unwrap();
    let change = Change { record: Some(record("a")), ..settles(done.turn, r#"{"outcome":"completed"}"#) };
    store.commit(tenure(&store, "a").await, change).await.unwrap();
    (store, waits, done)
}

#[tokio::test]
async fn a_copy_opens_and_has_all_that_was_there() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, waits, done) = used(dir.path()).await;
    let to = place.path().join("below/copy");
    store.backup(to.clone()).await.unwrap();
    let later = new_turn("a");
    store.open(later.clone()).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&to), mode(&to.join("treewarden.db"))), (0o700, 0o600));
    let files: Vec<_> = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["treewarden.db"], "it is one file");
    let copy = open(&to);
    assert_eq!(copy.records().await.unwrap(), store.records().await.unwrap());
    assert_eq!(copy.turn(done.turn).await.unwrap(), store.turn(done.turn).await.unwrap());
    let open_turns = copy.open_turns(name("a")).await.unwrap();
    assert_eq!(open_turns.iter().map(|row| row.turn).collect::<Vec<_>>(), [waits.turn]);
    assert_eq!(copy.turn(later.turn).await.unwrap(), None);
    assert_eq!(copy.problems().await.unwrap(), []);
}

#[tokio::test]
async fn a_folder_that_is_used_takes_no_copy_and_stays_as_it_is() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    fs::write(place.path().join("of another"), "").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for to in [place.path(), dir.path()] {
        let error = store.backup(to.to_owned()).await.unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
    }
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o755);
    let error = store.backup(place.path().join("of another")).await.unwrap_err();
    assert!(error.to_string().contains("of another"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_are_stored_while_a_copy_is_made_and_each_copy_is_of_one_moment() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    let copies: Vec<_> = (0..4).map(|n| place.path().join(n.to_string())).collect();
    let making = tokio::spawn({
        let (store, copies) = (store.clone(), copies.clone());
        async move {
            for copy in copies {
                store.backup(copy).await.unwrap();
            }
        }
    });
    // Each commit counts one up in the record and settles its turn: a copy has both or neither.
    let mut held = tenure(&store, "b").await;
    let mut settled = 0_u64;
    while !making.is_finished() || settled < 20 {
        let turn = new_turn("b");
        store.open(turn.clone()).await.unwrap();
        settled += 1;
        let mut record = record("b");
        record.created_at = settled;
        let change = Change { record: Some(record), ..settles(turn.turn, "1") };
        held = store.commit(held, change).await.unwrap().next;
    }
    making.await.unwrap();
    for copy in copies {
        let copy = open(&copy);
        let count = match copy.record(name("b")).await.unwrap() {
            Told::Record(record) => record.created_at,
            _ => 0,
        };
        let turns = copy.turns(name("b"), 100_000).await.unwrap();
        assert_eq!(turns.iter().filter(|row| row.outcome.is_some()).count() as u64, count);
    }
}

#[tokio::test]
async fn a_copy_is_put_back_as_a_new_generation_and_what_was_there_is_set_aside() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, waits, done) = used(dir.path()).await;
    let copy = place.path().join("copy");
    store.backup(copy.clone()).await.unwrap();
    let later = new_turn("a");
    store.open(later.clone()).await.unwrap();
    store.commit(tenure(&store, "b").await, of_record(&record("b"))).await.unwrap();
    let error = restore(&copy, dir.path(), REPLACE).unwrap_err();
    assert!(matches!(error, RestoreError::InUse(_)), "{error}");
    drop(store);
    let error = restore(&copy, dir.path(), PLAIN).unwrap_err();
    assert!(matches!(error, RestoreError::Occupied(_)), "{error}");
    assert_eq!(open(dir.path()).records().await.unwrap().len(), 2, "nothing was changed");
    let before = generation(dir.path());
    let aside = restore(&copy, dir.path(), REPLACE).unwrap().aside.unwrap();
    assert_ne!(generation(dir.path()), before);
    assert_eq!(generation(&copy), before);
    let store = open(dir.path());
    assert_eq!(store.records().await.unwrap().len(), 1);
    assert!(matches!(store.turn(done.turn).await.unwrap(), Some(StoredTurn::Held(_))));
    assert_eq!(store.turn(later.turn).await.unwrap(), None);
    // It goes on from there: the open turn is settled, and new ones come.
    let held = tenure(&store, "a").await;
    store.commit(held, settles(waits.turn, "1")).await.unwrap();
    store.open(new_turn("a")).await.unwrap();
    let old = open(&aside);
    assert_eq!(old.records().await.unwrap().len(), 2);
    assert!(old.turn(later.turn).await.unwrap().is_some());
    // Once more, and under another number.
    drop(store);
    assert_ne!(restore(&copy, dir.path(), REPLACE).unwrap().aside.unwrap(), aside);
}

#[tokio::test]
async fn a_copy_is_put_into_a_directory_that_has_nothing() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    let (copy, to) = (place.path().join("copy"), place.path().join("below/new"));
    store.backup(copy.clone()).await.unwrap();
    let restored = restore(&copy, &to, PLAIN).unwrap();
    assert_eq!((restored.aside, restored.damaged, restored.in_use_by), (None, None, None));
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(open(&to).records().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_copy_is_not_put_back_and_what_is_there_stays() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    let copy = |name: &str| place.path().join(name);
    for name in ["newer", "older", "damaged", "cut"] {
        store.backup(copy(name)).await.unwrap();
    }
    drop(store);
    sql(&copy("newer"), "PRAGMA user_version = 99");
    sql(&copy("older"), "PRAGMA user_version = 3");
    let damaged = copy("damaged").join("treewarden.db");
    let mut bytes = fs::read(&damaged).unwrap();
    let page = bytes.len() / 2 / 4096 * 4096;
    bytes[page..page + 4096].fill(0xa5);
    fs::write(&damaged, bytes).unwrap();
    fs::write(copy("cut").join("treewarden.db"), "no database").unwrap();
    fs::create_dir(copy("empty")).unwrap();
    fs::write(copy("file"), "").unwrap();
    for name in ["newer", "older", "damaged", "cut", "empty", "file", "nowhere"] {
        let error = restore(&copy(name), dir.path(), REPLACE).unwrap_err();
        let is_damaged = matches!(error, RestoreError::Damaged { .. });
        assert!(
            matches!(error, RestoreError::Failed(_)) || is_damaged && name == "damaged",
            "{name}: {error}"
        );
        if let (RestoreError::Failed(error), "newer") = (&error, name) {
            assert_eq!(error.kind(), StoreErrorKind::NewerSchema);
        }
        let files: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(files.iter().all(|file| !file.to_string_lossy().contains("restored")), "{name}: {files:?}");
    }
    let store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
    assert_eq!(store.records().await.unwrap().len(), 1);
    assert_eq!(store.problems().await.unwrap(), []);
}

#[tokio::test]
async fn a_copy_with_a_bit_that_flipped_is_refused_by_what_it_was_and_the_rest_can_be_put_back() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, waits, done) = used(dir.path()).await;
    store.commit(tenure(&store, "b").await, of_record(&record("b"))).await.unwrap();
    let copy = place.path().join("copy");
    let id = |session: &str| store.record(name(session));
    let Told::Record(of_a) = id("a").await.unwrap() else { panic!("it has a record") };
    store.backup(copy.clone()).await.unwrap();
    drop(store);
    // In a record, and in the outcome of a turn that is settled, which no opening reads.
    let session_id = of_a.session_id.to_string();
    let other = session_id.replacen(|c: char| c.is_ascii_digit(), "x", 1);
    assert!(exchange(&copy, session_id.as_bytes(), other.as_bytes()) > 0);
    assert!(exchange(&copy, br#"{"outcome":"completed"}"#, br#"{"outcome":"complexed"}"#) > 0);
    let before = (fs::read(copy.join("treewarden.db")).unwrap(), generation(dir.path()));
    let error = restore(&copy, dir.path(), REPLACE).unwrap_err();
    assert!(matches!(error, RestoreError::Damaged { .. }), "{error}");
    let said = error.to_string();
    for part in [
        "1 of 2 names and 1 of 2 turns are damaged",
        "the record of a cannot be read",
        &done.turn.to_string(),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!files(dir.path()).iter().any(|file| file.contains("restored")), "{said}");
    assert_eq!(generation(dir.path()), before.1, "nothing was changed");

    let into = place.path().join("into");
    let restored = restore(&copy, &into, DAMAGED).unwrap();
    assert!(said.ends_with(&restored.damaged.unwrap()), "{said}");
    assert_eq!(fs::read(copy.join("treewarden.db")).unwrap(), before.0, "the copy stays as it was");
    let store = open(&into);
    assert!(matches!(store.record(name("a")).await.unwrap(), Told::Lost { .. }));
    assert!(matches!(store.record(name("b")).await.unwrap(), Told::Record(_)));
    let left: Vec<_> = store.turns(name("a"), 10).await.unwrap().iter().map(|row| row.turn).collect();
    assert_eq!(left, [waits.turn]);
    let told = store.problems().await.unwrap();
    assert!(told.iter().any(|problem| problem.concern.turns() == [done.turn]), "{told:?}");
    assert!(told.iter().any(|problem| problem.concern.names() == [name("a")]), "{told:?}");
}

/// Also where it was put back elsewhere, without lease files, and comes to them by hand.
#[tokio::test]
async fn of_a_damaged_copy_that_is_put_back_the_lease_files_say_which_conversation_each_name_had() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    let Told::Record(record) = store.record(name("a")).await.unwrap() else { panic!("it was stored") };
    let holder = Holder::this_process(&name("a"));
    drop(Lease::acquire(&dir.path().join("config"), dir.path(), record.session_id, &holder).unwrap());
    let copy = place.path().join("copy");
    store.backup(copy.clone()).await.unwrap();
    drop(store);
    let (id, wrong) = (record.session_id.to_string(), SessionId::random().to_string());
    assert!(exchange(&copy, id.as_bytes(), wrong.as_bytes()) > 0);
    let said = restore(&copy, dir.path(), Restore { replace: true, damaged: true }).unwrap().damaged;
    assert!(said.is_some_and(|said| !said.contains(&wrong)), "a lease file says otherwise");
    let elsewhere = place.path().join("elsewhere");
    let said = restore(&copy, &elsewhere, DAMAGED).unwrap().damaged;
    assert!(said.is_some_and(|said| said.contains(&wrong)), "nothing else says which one it was");
    for by_hand in [false, true] {
        if by_hand {
            fs::rename(elsewhere.join("treewarden.db"), dir.path().join("treewarden.db")).unwrap();
        }
        let told = open(dir.path()).record(name("a")).await.unwrap();
        assert!(
            matches!(told, Told::Lost { session_id: Some(id), .. } if id == record.session_id),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn of_a_copy_with_damaged_pages_it_is_said_how_much_can_be_read_and_that_can_be_put_back() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    for _ in 0..200 {
        store.open(new_turn("c")).await.unwrap();
    }
    let copy = place.path().join("copy");
    store.backup(copy.clone()).await.unwrap();
    drop(store);
    let page = Connection::open(copy.join("treewarden.db")).unwrap();
    // A leaf of the turns.
    let (at, size): (i64, i64) = page
        .query_row(
            "SELECT max(rootpage), (SELECT page_size FROM pragma_page_size) FROM sqlite_schema",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    drop(page);
    let path = copy.join("treewarden.db");
    let mut bytes = fs::read(&path).unwrap();
    let (at, size) = (usize::try_from(at + 1).unwrap(), usize::try_from(size).unwrap());
    bytes[at * size..(at + 1) * size].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let into = place.path().join("into");
    let error = restore(&copy, &into, PLAIN).unwrap_err();
    assert!(
        matches!(&error, RestoreError::Damaged { why, .. } if why.contains("turns of it could be read")),
        "{error}"
    );
    let restored = restore(&copy, &into, DAMAGED).unwrap();
    assert!(restored.damaged.is_some_and(|why| error.to_string().ends_with(&why)), "{error}");
    let store = open(&into);
    assert!(!store.turns(name("c"), 1000).await.unwrap().is_empty());
    assert!(store.problems().await.unwrap().iter().any(|problem| problem.reason.contains("a damaged copy")));
}

#[tokio::test]
async fn a_copy_of_which_a_file_is_no_file_is_refused_by_what_it_is_and_nobody_waits() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    let into = place.path().join("into");
    for file in ["treewarden.db", "treewarden.db-wal", "treewarden.db-shm", "treewarden.db-journal"] {
        for kind in ["a named pipe", "a folder", "a socket", "a device"] {
            let copy = place.path().join(format!("{file} {kind}"));
            store.backup(copy.clone()).await.unwrap();
            let at = copy.join(file);
            let _none = fs::remove_file(&at);
            let _listener = match kind {
                "a folder" => fs::create_dir(&at).map(|()| None),
                "a socket" => UnixListener::bind(&at).map(Some),
                "a device" => symlink("/dev/zero", &at).map(|()| None),
                _ => Command::new("mkfifo").arg(&at).status().map(|made| {
                    assert!(made.success());
                    None
                }),
            };
            let said = restore(&copy, &into, PLAIN).unwrap_err().to_string();
            assert!(said.contains(file) || kind == "a device", "{file}: {said}");
            assert!(said.contains(kind), "{file}: {said}");
        }
    }
    // Nor in what is to be replaced.
    drop(store);
    let copy = place.path().join("copy");
    open(dir.path()).backup(copy.clone()).await.unwrap();
    fs::create_dir_all(&into).unwrap();
    let made = Command::new("mkfifo").arg(into.join("treewarden.db")).status().unwrap();
    assert!(made.success());
    let said = restore(&copy, &into, REPLACE).unwrap_err().to_string();
    assert!(said.contains("a named pipe"), "{said}");
    let said = SqliteStore::open(&into, SqliteOptions::default()).unwrap_err().to_string();
    assert!(said.contains("a named pipe"), "{said}");
}

#[tokio::test]
async fn what_a_restore_copies_is_not_written_even_if_it_was_in_use_once() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    drop(store);
    // As `cp -a` makes one of a directory that nobody has open.
    let copy = place.path().join("copy % ?#");
    fs::create_dir(&copy).unwrap();
    fs::copy(dir.path().join("treewarden.db"), copy.join("treewarden.db")).unwrap();
    let into = place.path().join("into");
    restore(&copy, &into, PLAIN).unwrap();
    assert_eq!(files(&copy), ["treewarden.db"]);
    assert_eq!(open(&into).records().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_link_to_the_database_stays_one_when_a_copy_is_put_back_and_when_a_damaged_one_is_set_aside() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (disk, link) = (place.path().join("disk"), dir.path().join("treewarden.db"));
    fs::create_dir(&disk).unwrap();
    let (store, ..) = used(dir.path()).await;
    drop(store);
    fs::rename(&link, disk.join("large")).unwrap();
    symlink(disk.join("large"), &link).unwrap();
    let copy = place.path().join("copy");
    let store = open(dir.path());
    store.backup(copy.clone()).await.unwrap();
    store.commit(tenure(&store, "b").await, of_record(&record("b"))).await.unwrap();
    // Its log lies beside the file: killed, it would stay there.
    let log = fs::read(disk.join("large-wal")).unwrap();
    drop(store);
    fs::write(disk.join("large-wal"), &log).unwrap();
    let aside = restore(&copy, dir.path(), REPLACE).unwrap().aside.unwrap();
    assert_eq!(aside, disk.join("replaced-1"));
    let is_link = || fs::read_link(&link).unwrap() == disk.join("large");
    assert!(is_link() && !disk.join("large-wal").exists());
    let records = async |dir: &Path| open(dir).records().await.unwrap().len();
    assert_eq!((records(dir.path()).await, records(&aside).await), (1, 2));
    assert!(is_link());
    fs::write(disk.join("large"), "no database").unwrap();
    assert_eq!(records(dir.path()).await, 0);
    assert!(is_link());
    assert!(files(&disk).iter().any(|file| file.contains("corrupt-1")), "{:?}", files(&disk));
    // Where the disk is away, nothing is put on this one.
    fs::rename(&disk, place.path().join("away")).unwrap();
    for said in [
        restore(&copy, dir.path(), REPLACE).unwrap_err().to_string(),
        SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap_err().to_string(),
    ] {
        assert!(said.contains("is a link to") && said.contains("large"), "{said}");
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[tokio::test]
async fn a_copy_that_cannot_be_written_leaves_nothing_and_a_link_to_nowhere_is_named() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    let link = place.path().join("link");
    symlink(place.path().join("away"), &link).unwrap();
    for to in [link.clone(), link.join("below/copy")] {
        let said = store.backup(to).await.unwrap_err().to_string();
        assert!(said.contains("link is a link to") && said.contains("away"), "{said}");
    }
    fs::write(place.path().join("file"), "").unwrap();
    let said = store.backup(place.path().join("file/copy")).await.unwrap_err().to_string();
    assert!(said.contains("file/copy"), "{said}");
    // A name that is too long fails behind the folders that are made for it.
    let long: PathBuf = place.path().join("one/two").join("x".repeat(300));
    store.backup(long).await.unwrap_err();
    assert_eq!(files(place.path()), ["file", "link"]);
}

#[tokio::test]
async fn another_program_that_reads_or_writes_what_is_replaced_is_named_and_keeps_what_it_has() {
    let (dir, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, ..) = used(dir.path()).await;
    let copy = place.path().join("copy");
    store.backup(copy.clone()).await.unwrap();
    drop(store);
    let foreign = Connection::open(dir.path().join("treewarden.db")).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let restored = restore(&copy, dir.path(), REPLACE).unwrap();
    let aside = restored.aside.unwrap();
    foreign.execute_batch("CREATE TABLE foreign_one(a); COMMIT").unwrap();
    drop(foreign);
    let of = |dir: &Path| {
        let db = Connection::open(dir.join("treewarden.db")).unwrap();
        db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'foreign_one'").unwrap().exists([]).unwrap()
    };
    assert!(of(&aside) && !of(dir.path()));
    assert_eq!(open(dir.path()).problems().await.unwrap().len(), 1, "that it is another one");
    assert_eq!(open(dir.path()).records().await.unwrap().len(), 1);
}
