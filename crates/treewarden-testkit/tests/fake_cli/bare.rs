//! The bare fake CLI: a firehose of frames as the real CLI's, and nothing else.

use serde_json::json;
use treewarden_testkit::fake_cli::FakeCli;

use super::running::{Fake, ID, names};

fn bare() -> (tempfile::TempDir, Fake) {
    let home = tempfile::tempdir().expect("a directory");
    let (key, value) = FakeCli::new().bare().env();
    let fake = Fake::start(home.path(), &["--session-id", ID], &[(&key, &value)]);
    (home, fake)
}

#[test]
fn a_firehose_is_counted_and_each_frame_has_257_bytes() {
    let (home, mut fake) = bare();
    fake.prompt("a", "N=1000");
    let mut frames = fake.until(|frame| frame["type"] == "result");
    let deltas = frames.extract_if(.., |frame| frame["type"] == "stream_event");
    let sizes: Vec<_> = deltas.map(|frame| frame.to_string().len() + 1).collect();
    assert_eq!(sizes, [257; 1000]);
    assert_eq!(names(&frames), ["init", "assistant", "result"]);
    assert_eq!(fake.close(), Some(0));
    assert_eq!(std::fs::read_dir(home.path()).expect("readable").count(), 0, "no transcript");
}

#[test]
fn a_long_frame_is_about_as_long_as_it_is_asked_to_be() {
    let (_home, mut fake) = bare();
    fake.prompt("a", "HUGE=1000000");
    let frames = fake.until(|frame| frame["type"] == "result");
    let sizes: Vec<_> =
        frames.iter().filter(|frame| frame["type"] == "user").map(|frame| frame.to_string().len()).collect();
    assert!(matches!(sizes[..], [900_000..1_100_000]), "{sizes:?}");
}

#[test]
fn it_answers_control_requests_and_ends_when_it_is_asked_to() {
    let (_home, mut fake) = bare();
    fake.control(&json!({ "subtype": "initialize" }));
    let answer = fake.next().expect("an answer");
    assert_eq!(
        (&answer["response"]["subtype"], &answer["response"]["request_id"]),
        (&"success".into(), &"r".into())
    );
    fake.control(&json!({ "subtype": "end_session" }));
    assert_eq!(fake.ends(super::running::LIMIT).and_then(|status| status.code()), Some(0));
}
