//! Records: one for each name that has one.
//!
//! It is not for what the fields mean: a store keeps them, and changes `updated_at` alone.

use std::path::PathBuf;

use serde_json::json;
use treewarden_proto::SessionId;
use treewarden_proto::frame::Spent;
use treewarden_store::{Change, Seen, SessionRecord, Told};

use super::setup::{Hand, Place, name, new, plain, saying};

/// A record with its fields set, to values that are hard to keep: a sum that is no short decimal, the largest count, texts with NUL and line ends.
fn full(of: &str) -> SessionRecord {
    let mut record = SessionRecord::new(name(of), SessionId::random());
    record.earlier_ids = vec![SessionId::random(), SessionId::random()];
    record.cwd = Some(PathBuf::from("/a folder/\u{1f980}\n"));
    record.config_dir = Some(PathBuf::from("/b"));
    record.persisted = true;
    record.seen = Some(Seen { session_id: record.session_id, first: "first".into() });
    record.model = Some("a \0 model \"'\u{202e}".into());
    record.permission_mode = Some(String::new());
    record.stopped = true;
    record.template = Some(name("template"));
    let mut spent = Spent::default();
    (spent.cost_usd, spent.usage.input_tokens) = (0.1 + 0.2, u64::MAX);
    record.spent = Some(spent);
    let newer =
        json!({ "a_field": { "of": [1, 2.5, null] }, "another": "x".repeat(100_000), "\0": "\u{1f980}" });
    record.extra = newer.as_object().expect("an object").clone();
    record
}

/// A record with its fields set, paths and texts of odd letters, and fields that this version does not know comes back the same; names are told apart
/// by case, and may be as long as they can be.
pub(super) async fn a_record_is_kept_with_what_a_newer_version_wrote(place: Place) {
    let store = place.store().await;
    let longest = format!("a/{}", "b".repeat(126));
    for of in ["a", "-rf", "tenant-7/reviewer", "A", longest.as_str()] {
        let record = full(of);
        let mut hand = Hand::take(&store, of).await;
        hand.commit(Change { record: Some(record.clone()), ..Change::default() }).await;
        let taken = store.take(name(of)).await.expect("taken").told;
        for told in [store.record(name(of)).await.expect("read"), taken] {
            let Told::Record(told) = told else { panic!("a record is to be there, and there is {told:?}") };
            assert_eq!(plain(*told), plain(record.clone()));
        }
    }
    assert_eq!(store.records().await.expect("read").len(), 5);
}

/// A new record leaves nothing of the old one, and a change without one leaves the old one as it is.
pub(super) async fn a_record_is_replaced_as_a_whole(place: Place) {
    let store = place.store().await;
    let mut hand = Hand::take(&store, "a").await;
    hand.commit(Change { record: Some(full("a")), ..Change::default() }).await;
    let next = saying("a", "next");
    hand.commit(next.clone()).await;
    // A change without a record leaves it.
    hand.commit(Change::default()).await;
    let Told::Record(told) = store.record(name("a")).await.expect("read") else {
        panic!("a record was stored")
    };
    assert_eq!(Some(plain(*told)), next.record.map(plain));
}

/// Sorted by the bytes of the name. A name that was only taken, or has turns and no record, is not among them.
pub(super) async fn records_come_by_name_and_only_where_there_is_one(place: Place) {
    let store = place.store().await;
    assert_eq!(store.records().await.expect("read"), []);
    store.open(new("opened", SessionId::random())).await.expect("opened");
    let _taken = Hand::take(&store, "taken").await;
    for of in ["c", "a/b", "b", "a", "B"] {
        Hand::take(&store, of).await.commit(saying(of, of)).await;
    }
    let records = store.records().await.expect("read");
    let names: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(names, ["B", "a", "a/b", "b", "c"]);
    assert!(records.iter().all(|record| record.model.as_deref() == Some(record.name.as_str())));
    for of in ["opened", "taken", "d"] {
        assert_eq!(store.record(name(of)).await.expect("read"), Told::Never, "{of}");
    }
}
