//! Lines of transcripts: appended with a commit, read in order.
//!
//! A store takes them as texts: it parts none and looks into none. The numbers are those of the flushes, begin with 0, and are given by the writer.

use treewarden_proto::SessionId;
use treewarden_store::{Change, Lines};

use super::setup::{Hand, Place, refused};

/// One flush: its conversation, its path within that (empty for the main transcript), its number, its text.
fn lines(conversation: SessionId, subpath: &str, seq: u64, entries: &str) -> Lines {
    Lines { conversation, subpath: subpath.to_owned(), seq, entries: entries.into() }
}

/// By conversation and path within it, from a number on, at most so many; texts with NUL, without an end or of a megabyte come back as they are.
pub(super) async fn lines_come_in_order_from_where_they_are_asked(place: Place) {
    let store = place.store().await;
    let (one, other) = (SessionId::random(), SessionId::random());
    let long = "x".repeat(1 << 20);
    let texts = ["{}\n", "\0\n{\"a\":\"\u{1f980}\"}\n", "", "no line end", &long, "cut \\ud83d\n"];
    let mut hand = Hand::take(&store, "a").await;
    for (n, text) in (0..).zip(texts) {
        let here =
            vec![lines(one, "", n, text), lines(one, "subagents/\u{1f980} x.jsonl", n, "of another file\n")];
        hand.commit(Change { lines: here, ..Change::default() }).await;
    }
    hand.commit(Change { lines: vec![lines(other, "", 0, "of another\n")], ..Change::default() }).await;
    let all: Vec<_> = (0..).zip(texts).map(|(n, text)| lines(one, "", n, text)).collect();
    let read = async |from, limit| store.lines(one, String::new(), from, limit).await.expect("read");
    assert!(read(0, 100).await == all);
    assert!(read(2, 3).await == all[2..5]);
    assert!(read(6, 3).await.is_empty());
    let subagent = store.lines(one, "subagents/\u{1f980} x.jsonl".into(), 0, 100).await.expect("read");
    assert_eq!(subagent.len(), texts.len());
    assert!(store.lines(other, "x".into(), 0, 100).await.expect("read").is_empty());
}

/// A second text for one number is refused with its whole change, unless it is the same commit asked again. The transcript of a conversation would
/// else have two pasts.
pub(super) async fn a_place_among_the_lines_is_taken_once(place: Place) {
    let store = place.store().await;
    let id = SessionId::random();
    let mut hand = Hand::take(&store, "a").await;
    let first = Change { lines: vec![lines(id, "", 0, "first\n")], ..Change::default() };
    let tenure = hand.tenure.clone();
    hand.commit(first.clone()).await;
    store.commit(tenure, first).await.expect("the same commit, asked again");
    let mut other = Hand::take(&store, "b").await;
    let another = Change { lines: vec![lines(id, "", 0, "another\n")], ..Change::default() };
    refused(store.commit(other.tenure.clone(), another).await);
    other.commit(Change { lines: vec![lines(id, "", 1, "next\n")], ..Change::default() }).await;
    let read = store.lines(id, String::new(), 0, 10).await.expect("read");
    assert_eq!(read, [lines(id, "", 0, "first\n"), lines(id, "", 1, "next\n")]);
}
