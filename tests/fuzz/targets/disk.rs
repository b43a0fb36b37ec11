//! A transcript in a folder of this process, and what must hold of it whatever it says.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use treewarden_proto::{SessionId, TurnId};
use treewarden_transcript::{Known, Resumable, Settled, answer_to, holds, look, prepare};

/// The ids that a transcript is asked for; seeds name them.
pub(crate) const ID: &str = "33333333-3333-4333-8333-333333333333";
pub(crate) const SETTLED: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const OPEN: &str = "22222222-2222-4222-8222-222222222222";

static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();

fn parse(id: &str) -> TurnId {
    id.parse().expect("it is one")
}

/// Writes the transcript, asks all that is asked of one, and gives the leaf at which it would be resumed.
pub(crate) fn check(data: &[u8]) -> Option<String> {
    let dir = DIR.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path();
    let id: SessionId = ID.parse().expect("it is one");
    // What was kept of the last one would be put in the place of this.
    drop(fs::remove_dir_all(dir.join("treewarden")));
    let file: PathBuf = dir.join(format!("projects/x/{ID}.jsonl"));
    fs::create_dir_all(dir.join("projects/x")).expect("a folder");
    drop(fs::remove_file(&file));
    fs::write(&file, data).expect("written");
    let settled = Settled { turn: parse(SETTLED), written: true, answered: true };
    let known = Known { settled: vec![settled], first: None };
    for turn in [SETTLED, OPEN].map(parse) {
        answer_to(dir, id, turn).expect("it can be read");
    }
    let saved = holds(dir, id, &known).expect("it can be read");
    let looked = look(dir, id, &known).expect("it can be read");
    let _shown = format!("{saved:?} {looked:?}");
    assert_eq!(fs::read(&file).expect("there"), data, "to look changes nothing");
    let once = prepare(dir, id, &known, Some(parse(OPEN))).expect("it can be read");
    assert!(fs::read(&file).expect("there").starts_with(data), "a line was changed");
    let twice = prepare(dir, id, &known, Some(parse(OPEN))).expect("it can be read");
    match (once, twice) {
        (Resumable::At { leaf, .. }, Resumable::At { leaf: again, hint_written, mended, .. }) => {
            assert_eq!((&leaf, false, 0), (&again, hint_written, mended), "what is ready stays as it is");
            Some(leaf)
        }
        (Resumable::At { leaf, .. }, other) => panic!("ready at {leaf}, and then {other:?}"),
        _ => None,
    }
}
