//! One bit of the file flips while nobody has it open: each time something was there it is told as it was, or as lost.

use std::fs;

use treewarden_store::{Backend, SessionRecord, Told};

use crate::support::{name, new_turn, of_record, open, record, settles, tenure};

/// All places of a text in a file.
fn places(bytes: &[u8], text: &[u8]) -> Vec<usize> {
    bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text).map(|(at, _)| at).collect()
}

#[tokio::test]
async fn a_flip_in_a_name_or_an_id_wherever_it_stands_makes_nothing_blank_or_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut session = record("needle");
    session.extra.insert("text".to_owned(), "x".repeat(300).into());
    for other in ["aaa", "mmm", "nnn", "zzz"] {
        store.commit(tenure(&store, other).await, of_record(&record(other))).await.unwrap();
    }
    store.commit(tenure(&store, "needle").await, of_record(&session)).await.unwrap();
    let turn = new_turn("needle");
    let settled = new_turn("needle");
    for turn in [new_turn("aaa"), turn.clone(), settled.clone(), new_turn("zzz")] {
        store.open(turn).await.unwrap();
    }
    store.commit(tenure(&store, "needle").await, settles(settled.turn, "1")).await.unwrap();
    drop(store);
    let file = dir.path().join("treewarden.db");
    let whole = fs::read(&file).unwrap();
    let ids: Vec<_> =
        [turn.turn, settled.turn].iter().flat_map(|turn| places(&whole, turn.as_uuid().as_bytes())).collect();
    let names = places(&whole, b"needle");
    // In the rows of the name and of the turn, in the record, and in three indexes of two tables.
    assert!(names.len() >= 5 && ids.len() >= 4, "{names:?} {ids:?}");
    let flips = names
        .iter()
        .flat_map(|at| (0..6).map(move |n| at + n))
        .chain(ids.iter().flat_map(|at| (0..16).map(move |n| at + n)));
    for (n, at) in flips.enumerate() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (n % 8);
        fs::write(&file, flipped).unwrap();
        let opened = open(dir.path());
        let store = &opened;
        match store.record(name("needle")).await.unwrap() {
            Told::Record(found) => {
                assert_eq!(*found, SessionRecord { updated_at: found.updated_at, ..session.clone() })
            }
            Told::Lost { .. } => {}
            Told::Never => panic!("byte {at}: the name is blank"),
        }
        let open_turns = store.open_turns(name("needle")).await.unwrap();
        // One that is damaged is told as that.
        let is_known = |turn| async move { store.turn(turn).await.map_or(true, |turn| turn.is_some()) };
        let is_told = !store.problems().await.unwrap().is_empty();
        assert!(
            open_turns.iter().any(|row| row.turn == turn.turn) || is_told,
            "byte {at}: a turn is forgotten"
        );
        assert!(
            is_known(turn.turn).await && is_known(settled.turn).await || is_told,
            "byte {at}: a turn is unknown"
        );
        assert!(open_turns.iter().all(|row| row.turn == turn.turn && row.prompt == "a prompt"));
        drop(opened);
        for left in ["treewarden.db-wal", "treewarden.db-shm", "treewarden.db.damaged"] {
            let _none = fs::remove_file(dir.path().join(left));
        }
    }
}
