//! Reads as much of the end of a transcript as decides where it is resumed, and no more.
//!
//! It promises what the whole file would tell. The window at the end grows until [`Transcript::missing`] asks for
//! nothing, or only for words that do not stand before the window: looking for a few words is many times cheaper than
//! parsing. Where that fails the window ends up as the whole file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use memchr::{memchr, memmem};
use treewarden_core::resume_point::Transcript;

use super::{HINT, feed, scan};

/// By so much a window is greater than the one before.
const GROWTH: u64 = 8;

/// A window is held in memory; where this does not do, the whole file is streamed.
const MAX_WINDOW: u64 = 8 << 20;

/// What comes before the window is searched in pieces of this size.
const PIECE: usize = 256 << 10;

/// Reads the transcript as far as the question where these turns stand in it needs it, beginning with a window of `first`
/// bytes.
pub(super) fn read(path: &Path, turns: &[&str], first: u64) -> io::Result<Transcript> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut window = first;
    while window < len.min(MAX_WINDOW) {
        let (tree, before) = parse(&mut file, len - window)?;
        let decided = match tree.missing(turns, HINT) {
            Some(words) => holds_none(&mut file, before, &words.into_iter().collect::<Vec<_>>())?,
            None => false,
        };
        if decided {
            return Ok(tree);
        }
        window = window.saturating_mul(GROWTH);
    }
    let mut tree = Transcript::default();
    scan(path, |line| feed(&mut tree, line))?;
    Ok(tree)
}

/// The lines that begin behind `start`, which is in the file, and where the first of them does.
fn parse(file: &mut File, start: u64) -> io::Result<(Transcript, u64)> {
    let mut tree = Transcript::default();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut bytes)?;
    // A line that begins before the window counts as before it, whole.
    let skipped = memchr(b'\n', &bytes).map_or(bytes.len(), |end| end + 1);
    for line in bytes[skipped..].split(|byte| *byte == b'\n') {
        if let Ok(line) = serde_json::from_slice(line) {
            feed(&mut tree, line);
        }
    }
    Ok((tree, start + skipped as u64))
}

/// Tells whether none of the words stands in the first `len` bytes.
fn holds_none(file: &mut File, len: u64, words: &[&str]) -> io::Result<bool> {
    if words.is_empty() {
        return Ok(true);
    }
    let finders: Vec<_> = words.iter().map(|word| memmem::Finder::new(*word)).collect();
    // A word may lie across two pieces.
    let overlap = words.iter().map(|word| word.len()).max().unwrap_or(0).saturating_sub(1);
    file.seek(SeekFrom::Start(0))?;
    let mut rest = file.take(len);
    let mut piece = Vec::with_capacity(PIECE + overlap);
    loop {
        let kept = piece.len();
        if rest.by_ref().take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return Ok(true);
        }
        debug_assert!(kept <= overlap, "only what a word may begin with is kept");
        if finders.iter().any(|finder| finder.find(&piece).is_some()) {
            return Ok(false);
        }
        piece.drain(..piece.len().saturating_sub(overlap));
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;
    use treewarden_core::resume_point::{Lost, ResumePoint};

    use super::*;

    /// One line: its kind, its name, what it follows, its tool, and how much else stands in it.
    type Drawn = (u8, u8, u8, u8, u16);

    /// Names have one length, so that none is a part of another.
    fn name(of: usize) -> String {
        format!("entry-{of:03}")
    }

    fn text(drawn: &[Drawn], torn: bool) -> String {
        let mut text = String::new();
        for (at, &(kind, same, follows, tool, much)) in drawn.iter().enumerate() {
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
            let filler = match much {
                0 => HINT.to_owned(),
                1 => name(at / 3),
                2 => format!("tool-{tool:03}"),
                3 => "x".repeat(5_000),
                much => "x".repeat(usize::from(much % 200)),
            };
            let call = json!([{ "type": "tool_use", "id": format!("tool-{tool:03}") }]);
            let result = json!([{ "type": "tool_result", "tool_use_id": format!("tool-{tool:03}") }]);
            let said = json!([{ "type": "text", "text": "hello" }]);
            let (role, side, content) = match kind {
                0..=5 => ("user", false, said),
                6..=9 => ("assistant", false, said),
                10..=13 => ("assistant", false, call),
                14..=16 => ("user", false, result),
                17 => ("assistant", true, call),
                18 => ("user", true, result),
                19 => ("system", false, said),
                20 => {
                    let hint = json!({ "type": HINT, "leafUuid": parent });
                    writeln!(text, "{hint}").expect("a string takes whatever is written");
                    continue;
                }
                _ => {
                    text.push_str("{\"type\":\"assistant\",\"uu\n");
                    continue;
                }
            };
            // After a compaction the parent is a logical one.
            let key = if tool == 0 { "logicalParentUuid" } else { "parentUuid" };
            let line = json!({ "type": role, "uuid": uuid, key: parent, "isSidechain": side, "filler": filler,
                "message": { "role": role, "content": content } });
            writeln!(text, "{line}").expect("a string takes whatever is written");
        }
        if torn {
            text.truncate(text.len() - text.len().min(20));
        }
        text
    }

    /// All that is asked of a transcript.
    type Told = (bool, Result<ResumePoint, Lost>, bool);

    fn told(tree: &Transcript, settled: Option<&str>, open: &str) -> Told {
        let held = tree.leaf().is_some_and(|leaf| tree.descends(leaf, open));
        (tree.is_empty(), tree.resume_point(settled), held)
    }

    fn whole(path: &Path) -> Transcript {
        let mut tree = Transcript::default();
        scan(path, |line| feed(&mut tree, line)).expect("it can be read");
        tree
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn an_end_tells_what_the_whole_file_tells(
            drawn in vec((0..22_u8, 0..12_u8, 0..60_u8, 0..6_u8, 0..400_u16), 0..40),
            torn: bool,
            settled in proptest::option::of(0..41_usize),
            open in 0..41_usize,
            first in 1..3_000_u64,
        ) {
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            std::fs::write(file.path(), text(&drawn, torn)).expect("it can be written");
            let (settled, open) = (settled.map(name), name(open));
            let turns: Vec<&str> = settled.iter().chain([&open]).map(String::as_str).collect();
            let end = read(file.path(), &turns, first).expect("it can be read");
            let (end, whole) = (told(&end, settled.as_deref(), &open), told(&whole(file.path()), settled.as_deref(), &open));
            prop_assert_eq!(end, whole);
        }
    }

    #[test]
    fn of_a_long_conversation_the_last_turns_are_read_alone() {
        let drawn: Vec<Drawn> =
            (0..400).map(|at| if at % 2 == 0 { (0, 9, 50, 1, 50) } else { (6, 9, 50, 1, 50) }).collect();
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let entries = text(&drawn, false);
        std::fs::write(file.path(), &entries).expect("it can be written");
        let (settled, never) = (name(396), "a-turn-that-was-never-written");
        let end = read(file.path(), &[&settled, never], 4_000).expect("it can be read");
        assert_eq!(told(&end, Some(&settled), never).1.expect("it is there").leaf, name(399));
        assert!(!end.descends(&name(399), &name(0)), "the beginning was not read");
        assert!(end.descends(&name(399), &name(390)));
        let lost = read(file.path(), &[never], 4_000).expect("it can be read");
        assert!(matches!(lost.resume_point(Some(never)), Err(Lost::Settled { .. })));
    }
}
