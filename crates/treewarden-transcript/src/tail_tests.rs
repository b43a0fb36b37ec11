//! An end tells what the whole file tells, whatever the file holds.

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::line::HINT;
use crate::resume::{Missing, OpenPrompt, Point, point};

/// One line: its kind, its name, what it follows, how odd it is, and how much else stands in it.
type Drawn = (u8, u8, u8, u8, u16);

/// Names have one length, so that none is a part of another.
fn name(of: usize) -> String {
    format!("00000000-0000-4000-8000-{of:012}")
}

fn turn(of: usize) -> TurnId {
    name(of).parse().expect("a UUID")
}

/// The turn whose prompt is woven in by the entry at this place.
const WOVEN: usize = 100;

fn entry(kind: u8, at: usize, uuid: &str, parent: Option<&str>) -> Option<Value> {
    let said = json!([{ "type": "text", "text": "hello \u{1f600}" }]);
    let call = json!([{ "type": "tool_use", "id": "t1" }]);
    let result = json!([{ "type": "tool_result", "tool_use_id": "t1" }]);
    let message = |role: &str, side: bool, content: &Value| {
        json!({ "type": role, "uuid": uuid, "parentUuid": parent, "isSidechain": side,
            "message": { "role": role, "content": content } })
    };
    Some(match kind {
        0..=5 => message("user", false, &said),
        6..=9 => message("assistant", false, &said),
        10..=12 => message("assistant", false, &call),
        13..=15 => message("user", false, &result),
        16 => message("assistant", true, &call),
        17 => message("user", true, &result),
        18 => message("system", false, &said),
        19 => json!({ "type": HINT, "leafUuid": parent }),
        20 | 21 => json!({ "type": "attachment", "uuid": uuid, "parentUuid": parent,
            "attachment": { "type": "queued_command", "source_uuid": name(WOVEN + at) } }),
        // A compaction goes on from a logical parent.
        22 => json!({ "type": "system", "uuid": uuid, "parentUuid": null, "logicalParentUuid": parent }),
        23 => json!({ "type": "user", "uuid": uuid, "parentUuid": parent, "isMeta": true,
            "message": { "role": "user", "content": "Continue from where you left off." } }),
        _ => return None,
    })
}

fn text(drawn: &[Drawn], torn: bool) -> Vec<u8> {
    let mut lines: Vec<String> = Vec::new();
    for (at, &(kind, same, follows, odd, much)) in drawn.iter().enumerate() {
        // Most follow the one before; the others an earlier one, a later one, one that is not there, or nothing.
        let parent = match follows {
            0 => None,
            1 => Some(name(at + 1)),
            2 => Some(name(at)),
            3 => Some(name(999)),
            4..=9 => Some(name(at * usize::from(follows) / 10)),
            _ => at.checked_sub(1).map(name),
        };
        // Some come a second time.
        let uuid = if same == 0 { name(at / 2) } else { name(at) };
        let Some(mut entry) = entry(kind, at, &uuid, parent.as_deref()) else {
            lines.push("{\"type\":\"assistant\",\"uu".to_owned());
            continue;
        };
        entry["filler"] = match much {
            0 => HINT.into(),
            1 => name(at / 3).into(),
            2 => name(WOVEN + at / 2).into(),
            3 => "x".repeat(5_000).into(),
            much => "x".repeat(usize::from(much % 200)).into(),
        };
        let line = entry.to_string();
        match odd {
            0 => lines.push(line + "\r"),
            1 => lines.push(format!("\0\0{line}")),
            2 => lines.push(line.replacen("-4000-", "-40\u{0}00-", 1)),
            3 => lines.push(line.replacen("{", r#"{"n":1e999,"cut \ud83d":"\udc00","#, 1)),
            4 => lines.extend([line.clone(), String::new(), line]),
            5 => lines.push(format!("\u{feff}{line}")),
            _ => lines.push(line),
        }
    }
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{line}").expect("a string takes whatever is written");
    }
    let mut bytes = text.into_bytes();
    if torn {
        bytes.truncate(bytes.len() - bytes.len().min(20));
    }
    bytes
}

/// All that is asked of a transcript.
fn told(tree: &Tree, settled: &[Settled], open: Option<TurnId>) -> Result<Option<Point>, Missing> {
    point(tree, settled, open)
}

fn a_turn() -> impl Strategy<Value = TurnId> {
    prop_oneof![3 => 0..41_usize, 1 => WOVEN..WOVEN + 41].prop_map(turn)
}

fn a_settled() -> impl Strategy<Value = Settled> {
    (a_turn(), any::<bool>(), any::<bool>()).prop_map(|(turn, written, answered)| Settled {
        turn,
        written,
        answered,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_end_tells_what_the_whole_file_tells(
        drawn in vec((0..25_u8, 0..12_u8, 0..60_u8, 0..24_u8, 0..400_u16), 0..40),
        torn: bool,
        settled in vec(a_settled(), 0..3),
        open in proptest::option::of(a_turn()),
        first in 1..3_000_u64,
    ) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text(&drawn, torn)).expect("it can be written");
        let end = read_from(file.path(), &settled, open, first).expect("it can be read");
        let whole = whole(file.path()).expect("it can be read");
        prop_assert_eq!(told(&end, &settled, open), told(&whole, &settled, open));
    }
}

fn conversation(entries: usize) -> Vec<Drawn> {
    (0..entries).map(|at| if at % 2 == 0 { (0, 9, 50, 9, 50) } else { (6, 9, 50, 9, 50) }).collect()
}

#[test]
fn of_a_long_conversation_the_last_turns_are_read_alone() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text(&conversation(400), false)).expect("it can be written");
    let settled = Settled { turn: turn(396), written: true, answered: true };
    let helped = Settled { turn: TurnId::new(), written: false, answered: true };
    let open = Some(TurnId::new());
    let end = read_from(file.path(), &[helped, settled], open, 4_000).expect("it can be read");
    assert_eq!(
        told(&end, &[helped, settled], open),
        Ok(Some(Point { leaf: turn(399).into(), hint: true, open: OpenPrompt::Absent, anchored: true }))
    );
    assert!(end.places(turn(0)).is_empty(), "the beginning was not read");
    assert!(!end.places(turn(390)).is_empty());
    let never = Settled { turn: TurnId::new(), ..settled };
    let lost = read_from(file.path(), &[never], None, 4_000).expect("it can be read");
    assert_eq!(told(&lost, &[never], None), Err(Missing::Turn(never.turn)));
}
